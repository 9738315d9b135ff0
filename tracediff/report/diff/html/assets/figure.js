// The figure: what the admitted modules add up to in each layer. plotly is read when the figure comes near the window.

const MOST_PANELS = 4;
let plotlyReady = false;
let drawn = null;

/** Inflate plotly.js from the page and run it. */
async function loadPlotly() {
  const bytes = Uint8Array.from(atob(document.getElementById("plotly").textContent), (letter) => letter.charCodeAt(0));
  const inflated = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const script = document.createElement("script");
  script.textContent = await new Response(inflated).text();
  document.body.append(script);
  plotlyReady = true;
}

/** What the figure can show: the two series of a module, and how modules of one layer come together. */
const MEASURES = {
  reduce: {
    title: "splitK-reduce kernels",
    names: data.sides,
    of: (module) => [data.groups.reduce_a[data.modules.group[module]], data.groups.reduce_b[data.modules.group[module]]],
    join: (a, b) => a + b,
  },
  ns: {
    title: "GPU time, µs",
    names: data.sides,
    of: (module) => [data.modules.ns_a[module] / 1e3, data.modules.ns_b[module] / 1e3],
    join: (a, b) => a + b,
  },
  ulp: {
    title: "largest difference, ULP",
    names: ["on equal inputs", "in the run"],
    of: (module) => [data.modules.ulp_isolated[module], data.modules.ulp_run[module]],
    join: (a, b) => Math.max(a ?? 0, b ?? 0),
  },
};

/** Per phase and layer: the admitted modules' two series, joined. */
function perLayer(found, measure) {
  const { groups, modules, strings } = data;
  const phases = new Map();
  for (const module of found) {
    const layer = modules.layer[module];
    const values = measure.of(module);
    if (layer === null || values.every((value) => value === null)) continue;
    const phase = strings[groups.phase[modules.group[module]]];
    if (!phases.has(phase)) phases.set(phase, new Map());
    const layers = phases.get(phase);
    layers.set(layer, (layers.get(layer) ?? [0, 0]).map((so_far, side) => measure.join(so_far, values[side])));
  }
  return phases;
}

function drawFigure(found, filter) {
  const place = document.getElementById("figure");
  if (!place) return;
  drawn = [found, filter];
  if (!plotlyReady) return;
  const measure = MEASURES[document.querySelector("#measure input:checked").value];
  const values = perLayer(found, measure);
  const wanted = filter.phase ? [filter.phase] : data.distinct_phases.map((code) => data.strings[code]);
  const phases = wanted.filter((phase) => values.has(phase)).slice(0, MOST_PANELS);
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const traces = phases.flatMap((phase, panel) => {
    const layers = [...values.get(phase).keys()].sort((a, b) => a - b);
    const axis = panel ? panel + 1 : "";
    return measure.names.map((name, side) => ({
      type: "bar",
      name: escapeMarkup(name),
      legendgroup: String(side),
      showlegend: panel === 0,
      x: layers,
      y: layers.map((layer) => values.get(phase).get(layer)[side]),
      xaxis: `x${axis}`,
      yaxis: `y${axis}`,
      marker: { color: colour(side ? "--side-b" : "--side-a") },
      hovertemplate: `layer %{x}: %{y}<extra>${escapeMarkup(name)}</extra>`,
    }));
  });
  const label = (text, y, size) => ({
    text, xref: "paper", yref: "paper", x: 0, y, xanchor: "left", yanchor: "bottom", showarrow: false, font: { size, color: colour("--quiet") },
  });
  const layout = {
    height: Math.max(1, phases.length) * 190 + 70,
    margin: { l: 44, r: 8, t: 34, b: 42 },
    barmode: "group",
    bargap: 0.25,
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: colour("--text") },
    hoverlabel: { bgcolor: colour("--raised"), font: { color: colour("--text") } },
    legend: { orientation: "h", x: 1, xanchor: "right", y: 1, yanchor: "bottom" },
    annotations: [],
  };
  phases.forEach((phase, panel) => {
    const axis = panel ? panel + 1 : "";
    const gap = 0.16 / phases.length;
    const top = 1 - panel / phases.length;
    const title = panel === phases.length - 1 ? { text: "layer" } : undefined;
    layout[`xaxis${axis}`] = { anchor: `y${axis}`, title, showgrid: false, zeroline: false, linecolor: colour("--line") };
    layout[`yaxis${axis}`] = {
      anchor: `x${axis}`,
      domain: [top - 1 / phases.length + gap, top - gap * 0.6],
      rangemode: "tozero",
      gridcolor: colour("--line"),
      zerolinecolor: colour("--line"),
      nticks: 5,
    };
    layout.annotations.push(label(escapeMarkup(`${phase}: ${measure.title}`), top - gap * 0.6, 12));
  });
  if (!phases.length) layout.annotations.push(label("No module in a numbered block, or none measured, matches the filter", 0.5, 14));
  const config = { displaylogo: false, responsive: true, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };
  Plotly.react(place, traces, layout, config);
  place.setAttribute("aria-label", `${measure.title} per layer; the tables on this page have the numbers`);
}

/** plotly reads tags and entities in its texts: a name from a trace must stay text. */
function escapeMarkup(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll("%{", "%\u200b{");
}

function setUpFigure() {
  const place = document.getElementById("figure");
  if (!place) return;
  const measure = document.getElementById("measure");
  measure.hidden = false;
  measure.addEventListener("change", () => drawFigure(...drawn));
  document.querySelector("figcaption details").open = false;
  const watcher = new IntersectionObserver(
    async (entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      watcher.disconnect();
      await loadPlotly();
      drawFigure(...drawn);
    },
    { rootMargin: "400px" },
  );
  watcher.observe(place);
}
