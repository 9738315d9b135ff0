// The strips by keyboard: one stop for Tab, arrows inside, and the stretch under focus or pointer read out below.
const readout = document.querySelector(".readout");
const strips = [...document.querySelectorAll(".strip[role=group]")].map((strip) => [...strip.querySelectorAll(".stretch")]);
const stretches = strips.flat();
for (const stretch of stretches) stretch.tabIndex = -1;
if (stretches.length) stretches[0].tabIndex = 0;

const middle = (stretch) => stretch.offsetLeft + stretch.offsetWidth / 2;
const nearest = (strip, to) => strip?.reduce((best, each) => (Math.abs(middle(each) - to) < Math.abs(middle(best) - to) ? each : best)) ?? null;

/** Return the stretch that `key` leads to from `stretch`; null where there is none. */
function next(stretch, key) {
  const y = strips.findIndex((strip) => strip.includes(stretch));
  if (y < 0) return null;
  const x = strips[y].indexOf(stretch);
  switch (key) {
    case "ArrowRight": return strips[y][x + 1] ?? null;
    case "ArrowLeft": return strips[y][x - 1] ?? null;
    case "ArrowDown": return nearest(strips[y + 1], middle(stretch));
    case "ArrowUp": return nearest(strips[y - 1], middle(stretch));
    case "Home": return strips[y][0];
    case "End": return strips[y].at(-1);
    default: return null;
  }
}

document.querySelector(".strips").addEventListener("keydown", (event) => {
  const to = next(document.activeElement, event.key);
  if (!to) return;
  event.preventDefault();
  for (const stretch of stretches) stretch.tabIndex = -1;
  to.tabIndex = 0;
  to.focus();
});
const read = (event) => {
  const stretch = event.target.closest(".stretch");
  if (stretch) readout.textContent = stretch.getAttribute("aria-label");
};
document.querySelector(".strips").addEventListener("focusin", read);
document.querySelector(".strips").addEventListener("pointerover", read);
