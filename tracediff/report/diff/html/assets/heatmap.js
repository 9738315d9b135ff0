// The map by keyboard: one stop for Tab, arrows inside, and the cell under focus or pointer read out below.

function setUpMaps() {
  const readout = document.querySelector(".readout");
  for (const table of document.querySelectorAll(".heat")) {
    const rows = [...table.querySelectorAll("tbody tr")].map((row) => [...row.querySelectorAll("td")].map((cell) => cell.querySelector("a")));
    const cells = rows.flat().filter(Boolean);
    for (const cell of cells) cell.tabIndex = -1;
    if (cells.length) cells[0].tabIndex = 0;
    table.addEventListener("keydown", (event) => {
      const to = nextCell(rows, document.activeElement, event.key);
      if (!to) return;
      event.preventDefault();
      for (const cell of cells) cell.tabIndex = -1;
      to.tabIndex = 0;
      to.focus();
    });
    const read = (event) => {
      const cell = event.target.closest("a.cell");
      if (!cell) return;
      readout.textContent = cell.title = cell.getAttribute("aria-label");
    };
    table.addEventListener("focusin", read);
    table.addEventListener("pointerover", read);
  }
}

/** Return the cell that `key` leads to from `cell`, skipping places without a module; null where there is none. */
function nextCell(rows, cell, key) {
  const y = rows.findIndex((row) => row.includes(cell));
  if (y < 0) return null;
  const x = rows[y].indexOf(cell);
  const rightmost = (row) => row.findLast(Boolean) ?? null;
  const walk = (cells) => cells.find(Boolean) ?? null;
  switch (key) {
    case "ArrowRight": return walk(rows[y].slice(x + 1));
    case "ArrowLeft": return walk(rows[y].slice(0, x).reverse());
    case "ArrowDown": return walk(rows.slice(y + 1).map((row) => row[Math.min(x, row.length - 1)]));
    case "ArrowUp": return walk(rows.slice(0, y).reverse().map((row) => row[Math.min(x, row.length - 1)]));
    case "Home": return walk(rows[y]);
    case "End": return rightmost(rows[y]);
    default: return null;
  }
}
