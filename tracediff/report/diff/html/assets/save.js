// What the reader takes away: the map as an SVG file, the result as Markdown.

const CELL = 18;

/** Draw one map as SVG text: every cell with the colours it has on the page, its words as a title. */
function mapAsSvg() {
  const parts = [];
  let y = 8;
  let width = 0;
  const style = getComputedStyle(document.body);
  const text = (x, at, words, size = 12) =>
    `<text x="${x}" y="${at}" font-size="${size}" fill="${style.color}">${escaped(words)}</text>`;
  for (const table of document.querySelectorAll(".heat")) {
    y += 16;
    parts.push(text(8, y, table.closest("[aria-label]").getAttribute("aria-label"), 14));
    y += 8;
    for (const row of table.querySelectorAll("tbody tr")) {
      parts.push(text(8, y + 13, row.querySelector("th").textContent.trim()));
      let x = 240;
      for (const cell of row.querySelectorAll("a.cell")) {
        const look = getComputedStyle(cell);
        const sign = cell.textContent.trim();
        parts.push(
          `<g><title>${escaped(cell.getAttribute("aria-label"))}</title>` +
            `<rect x="${x}" y="${y}" width="${CELL - 2}" height="${CELL - 2}" rx="2" fill="${look.backgroundColor}"/>` +
            `<text x="${x + CELL / 2 - 1}" y="${y + 12}" font-size="11" text-anchor="middle" fill="${look.color}">${escaped(sign)}</text></g>`,
        );
        x += CELL;
      }
      width = Math.max(width, x);
      y += CELL;
    }
  }
  const head = `<svg xmlns="http://www.w3.org/2000/svg" width="${width + 8}" height="${y + 8}" font-family="sans-serif">`;
  return `${head}<rect width="100%" height="100%" fill="${style.backgroundColor}"/>${parts.join("")}</svg>`;
}

function escaped(words) {
  return words.replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`);
}

function setUpSaving() {
  const save = document.getElementById("save-map");
  if (save) {
    save.parentElement.hidden = false;
    save.addEventListener("click", () => {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([mapAsSvg()], { type: "image/svg+xml" }));
      link.download = "tracediff-map.svg";
      link.click();
      URL.revokeObjectURL(link.href);
    });
  }
  const copy = document.getElementById("copy-markdown");
  copy.addEventListener("click", async () => {
    const markdown = document.getElementById("markdown").content.textContent;
    try {
      await navigator.clipboard.writeText(markdown);
      copy.textContent = "Copied";
    } catch {
      copy.textContent = "No clipboard here";
    }
    setTimeout(() => { copy.textContent = "Copy as Markdown"; }, 2000);
  });
}
