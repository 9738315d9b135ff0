"use strict";
// What the reader looks at, kept in the address: the filter, and the module opened last.

const NO_FILTER = { text: "", phase: "", kind: "", verdicts: null, changed: false };

/** Read the address: `#q=…&phase=…&at=ID`, or just `#ID`. */
function readAddress() {
  const hash = location.hash.slice(1);
  if (!hash.includes("=")) return { filter: { ...NO_FILTER }, at: decoded(hash) };
  const words = new URLSearchParams(hash);
  return {
    filter: {
      text: words.get("q") ?? "",
      phase: words.get("phase") ?? "",
      kind: words.get("module") ?? "",
      verdicts: words.has("verdict") ? words.get("verdict").split(",").filter(Boolean) : null,
      changed: words.get("changed") === "1",
    },
    at: words.get("at") ?? "",
  };
}

/** Undo percent-encoding; what somebody cut in the middle of a code leads nowhere. */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return "";
  }
}

/** Write filter and opened module into the address; a step that "back" should undo is a new entry of the history. */
function writeAddress(filter, at, isStep = false) {
  const words = new URLSearchParams();
  if (filter.text) words.set("q", filter.text);
  if (filter.phase) words.set("phase", filter.phase);
  if (filter.kind) words.set("module", filter.kind);
  if (filter.verdicts) words.set("verdict", filter.verdicts.join(","));
  if (filter.changed) words.set("changed", "1");
  const filtered = words.size > 0;
  if (at && filtered) words.set("at", at);
  const hash = filtered ? words.toString() : at;
  const address = hash ? `#${hash}` : location.pathname + location.search;
  if (isStep) history.pushState(null, "", address);
  else history.replaceState(null, "", address);
}
