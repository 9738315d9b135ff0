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

/** Per phase and layer: the sums over the admitted modules, for both sides. */
function layerSums(found, measure) {
  const { groups, modules, strings } = data;
  const phases = new Map();
  for (const module of found) {
    const layer = modules.layer[module];
    if (layer === null) continue;
    const group = modules.group[module];
    const phase = strings[groups.phase[group]];
    if (!phases.has(phase)) phases.set(phase, new Map());
    const layers = phases.get(phase);
    const sum = layers.get(layer) ?? [0, 0];
    sum[0] += measure === "ns" ? modules.ns_a[module] / 1e3 : groups.reduce_a[group];
    sum[1] += measure === "ns" ? modules.ns_b[module] / 1e3 : groups.reduce_b[group];
    layers.set(layer, sum);
  }
  return phases;
}

function drawFigure(found, filter) {
  const place = document.getElementById("figure");
  if (!place) return;
  drawn = [found, filter];
  if (!plotlyReady) return;
  const measure = document.querySelector("#measure input:checked").value;
  const sums = layerSums(found, measure);
  const wanted = filter.phase ? [filter.phase] : data.distinct_phases.map((code) => data.strings[code]);
  const phases = wanted.filter((phase) => sums.has(phase)).slice(0, MOST_PANELS);
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const unit = measure === "ns" ? "GPU time, µs" : "splitK-reduce kernels";
  const traces = phases.flatMap((phase, panel) => {
    const layers = [...sums.get(phase).keys()].sort((a, b) => a - b);
    const axis = panel ? panel + 1 : "";
    return [0, 1].map((side) => ({
      type: "bar",
      name: data.sides[side],
      legendgroup: String(side),
      showlegend: panel === 0,
      x: layers,
      y: layers.map((layer) => sums.get(phase).get(layer)[side]),
      xaxis: `x${axis}`,
      yaxis: `y${axis}`,
      marker: { color: colour(side ? "--side-b" : "--side-a") },
      hovertemplate: `layer %{x}: %{y}<extra>${escapeMarkup(data.sides[side])}</extra>`,
    }));
  });
  const layout = {
    height: Math.max(1, phases.length) * 190 + 70,
    margin: { l: 52, r: 12, t: 34, b: 42 },
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
    const last = panel === phases.length - 1;
    layout[`xaxis${axis}`] = { anchor: `y${axis}`, title: last ? { text: "layer" } : undefined, showgrid: false, zeroline: false, linecolor: colour("--line"), dtick: undefined };
    layout[`yaxis${axis}`] = { anchor: `x${axis}`, domain: [top - 1 / phases.length + gap, top - gap * 0.6], rangemode: "tozero", gridcolor: colour("--line"), zerolinecolor: colour("--line"), nticks: 5, tickformat: measure === "ns" ? "" : "d" };
    layout.annotations.push({ text: escapeMarkup(`${phase}: ${unit}`), xref: "paper", yref: "paper", x: 0, y: top - gap * 0.6, xanchor: "left", yanchor: "bottom", showarrow: false, font: { size: 12, color: colour("--quiet") } });
  });
  if (!phases.length) layout.annotations.push({ text: "No module in a numbered block matches the filter", xref: "paper", yref: "paper", x: 0.5, y: 0.5, showarrow: false });
  const config = { displaylogo: false, responsive: true, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };
  Plotly.react(place, traces, layout, config);
  place.setAttribute("aria-label", `${unit} per layer; the table below has the counts`);
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
