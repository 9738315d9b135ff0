// Which modules the filter admits, and what they add up to.

const data = JSON.parse(document.getElementById("payload").textContent);
const lowered = data.strings.map((text) => text.toLowerCase());
const loweredPaths = data.modules.path.map((path) => path.toLowerCase());

/** Return the indices of the modules that `filter` admits. */
function admitted(filter) {
  const { groups, modules, strings } = data;
  const words = filter.text.toLowerCase().split(/\s+/).filter(Boolean);
  const texts = new Map();
  const found = [];
  for (let module = 0; module < modules.anchor.length; module += 1) {
    const group = modules.group[module];
    if (filter.phase && strings[groups.phase[group]] !== filter.phase) continue;
    if (filter.kind && strings[groups.kind[group]] !== filter.kind) continue;
    if (filter.verdicts && !filter.verdicts.includes(strings[groups.verdict[group]])) continue;
    if (filter.changed && !groups.changed[group]) continue;
    if (words.length) {
      if (!texts.has(group)) texts.set(group, groups.texts[group].map((code) => lowered[code]));
      const among = texts.get(group);
      const here = (word) => loweredPaths[module].includes(word) || among.some((text) => text.includes(word));
      if (!words.every(here)) continue;
    }
    found.push(module);
  }
  return found;
}

/** Add up modules. */
function addUp(found) {
  const { groups, modules } = data;
  const sum = { modules: found.length, kernels: [0, 0], reduce: [0, 0], ns: [0, 0] };
  for (const module of found) {
    const group = modules.group[module];
    sum.kernels[0] += groups.kernels_a[group];
    sum.kernels[1] += groups.kernels_b[group];
    sum.reduce[0] += groups.reduce_a[group];
    sum.reduce[1] += groups.reduce_b[group];
    sum.ns[0] += modules.ns_a[module];
    sum.ns[1] += modules.ns_b[module];
  }
  return sum;
}

const count = (number) => number.toLocaleString("en-US");

/** Three digits that count, as everywhere in the report: `812 ns`, `4.29 µs`, `15.3 ms`. */
function duration(nanoseconds) {
  let value = nanoseconds;
  let unit = "ns";
  for (const larger of ["µs", "ms", "s"]) {
    if (value < 1000) break;
    value /= 1000;
    unit = larger;
  }
  return unit === "ns" ? `${value} ns` : `${value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0)} ${unit}`;
}

/** Say what the filter admits. */
function totalsInWords(found) {
  const sum = addUp(found);
  const all = data.modules.anchor.length;
  const both = ([a, b], words = count) => `${words(a)} → ${words(b)}`;
  const which = found.length === all ? `All ${count(all)} modules` : `${count(found.length)} of ${count(all)} modules`;
  return `${which}: kernels ${both(sum.kernels)}, split-K reductions ${both(sum.reduce)}, GPU time ${both(sum.ns, duration)}`;
}

/** Show the admitted modules and hide the others, on every level. */
function applyFilter(found, filter) {
  const shown = new Array(data.groups.anchor.length).fill(0);
  const visible = new Set(found);
  const every = new Array(shown.length).fill(0);
  for (const module of data.modules.anchor.keys()) {
    const group = data.modules.group[module];
    const here = visible.has(module);
    every[group] += 1;
    shown[group] += here;
    const row = document.getElementById(data.modules.anchor[module]);
    if (row.localName === "tr") row.hidden = !here;
    row.classList.toggle("filtered", !here);
  }
  for (const [group, anchor] of data.groups.anchor.entries()) {
    const details = document.getElementById(anchor);
    details.parentElement.hidden = shown[group] === 0;
    const layers = details.querySelector("summary .layers");
    if (layers) {
      const part = shown[group] < every[group] ? `${shown[group]} of ${every[group]}, ` : "";
      layers.textContent = part + layers.dataset.layers;
    }
  }
  const shownByPhase = new Map();
  for (const module of found) {
    const phase = data.strings[data.groups.phase[data.modules.group[module]]];
    shownByPhase.set(phase, (shownByPhase.get(phase) ?? 0) + 1);
  }
  for (const phase of document.querySelectorAll("details.phase")) {
    const lines = phase.querySelectorAll(".groups > li:not([hidden])").length;
    phase.hidden = lines === 0;
    const size = phase.querySelector("summary .size");
    const every = Number(size.dataset.modules);
    const here = shownByPhase.get(phase.dataset.phase) ?? 0;
    size.textContent = here === every ? size.dataset.all : `${count(here)} of ${count(every)} modules in ${lines === 1 ? "1 line" : `${count(lines)} lines`}`;
    if (phase.dataset.phase === filter.phase) phase.open = true;
  }
  for (const cell of document.querySelectorAll(".heat a.cell")) {
    const row = document.getElementById(decoded(cell.hash.slice(1)));
    cell.classList.toggle("faded", row.classList.contains("filtered"));
  }
  document.getElementById("nothing").hidden = found.length > 0;
  document.getElementById("filter-totals").textContent = totalsInWords(found);
}
