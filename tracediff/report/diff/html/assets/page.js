// What the reader does, joined with what the page shows.

const form = document.getElementById("filter");
const help = document.getElementById("help");
const theme = document.getElementById("theme");
let filter = { ...NO_FILTER };
let at = "";

function formToFilter() {
  const boxes = [...form.querySelectorAll("[name=verdict]")];
  const chosen = boxes.filter((box) => box.checked).map((box) => box.value);
  return {
    text: document.getElementById("filter-text").value.trim(),
    phase: document.getElementById("filter-phase").value,
    kind: document.getElementById("filter-kind").value,
    verdicts: chosen.length === boxes.length ? null : chosen,
    changed: document.getElementById("filter-changed").checked,
  };
}

function filterToForm() {
  document.getElementById("filter-text").value = filter.text;
  for (const [id, value] of [["filter-phase", filter.phase], ["filter-kind", filter.kind]]) {
    const select = document.getElementById(id);
    select.value = value;
    if (select.selectedIndex < 0) select.value = "";
  }
  for (const box of form.querySelectorAll("[name=verdict]")) box.checked = !filter.verdicts || filter.verdicts.includes(box.value);
  document.getElementById("filter-changed").checked = filter.changed;
}

function show() {
  const found = admitted(filter);
  applyFilter(found, filter);
}

function setFilter(next) {
  filter = next;
  writeAddress(filter, at);
  show();
}

function clearFilter() {
  setFilter({ ...NO_FILTER });
  filterToForm();
}

/** Open every fold around an element, and its own, then bring it into view. */
function reveal(id) {
  const target = id && document.getElementById(id);
  if (!target) return;
  if (target.closest("li[hidden], tr[hidden], details.phase[hidden]")) clearFilter();
  for (let node = target; node; node = node.parentElement) if (node.localName === "details") node.open = true;
  for (const before of document.querySelectorAll(".at")) before.classList.remove("at");
  target.classList.add("at");
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  // A layer's row is the last thing in its module: the module's head must stay in sight.
  const line = target.closest("li.group");
  (line ?? target).scrollIntoView({ behavior: calm ? "auto" : "smooth", block: "start" });
  line?.querySelector("summary").focus({ preventScroll: true });
}

function followAddress() {
  const address = readAddress();
  filter = address.filter;
  at = address.at;
  filterToForm();
  filter = formToFilter();
  show();
  reveal(at);
}

function setUpFilter() {
  form.hidden = false;
  form.addEventListener("input", () => setFilter(formToFilter()));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", (event) => {
    event.preventDefault();
    clearFilter();
  });
  document.getElementById("nothing-clear").addEventListener("click", () => {
    clearFilter();
    document.getElementById("filter-text").focus();
  });
}

function setUpLinks() {
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='#m:'], a[href^='#phase:']");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    at = decoded(link.hash.slice(1));
    reveal(at);
    writeAddress(filter, at, true);
  });
  for (const details of document.querySelectorAll("li.group > details")) {
    details.querySelector("summary").addEventListener("click", () => {
      at = details.open ? "" : details.id;
      writeAddress(filter, at);
    });
  }
  addEventListener("hashchange", followAddress);
  addEventListener("popstate", followAddress);
}

const THEMES = { "": ["Colours: auto", "as the system"], light: ["Colours: light", "light"], dark: ["Colours: dark", "dark"] };

function sayTheme() {
  const [label, words] = THEMES[document.documentElement.dataset.theme ?? ""];
  theme.textContent = label;
  theme.setAttribute("aria-label", `Colours: ${words}`);
}

function setUpTheme() {
  sayTheme();
  theme.addEventListener("click", () => {
    const order = Object.keys(THEMES);
    const next = order[(order.indexOf(document.documentElement.dataset.theme ?? "") + 1) % order.length];
    if (next) document.documentElement.dataset.theme = next;
    else delete document.documentElement.dataset.theme;
    try {
      if (next) localStorage.setItem("tracediff-theme", next);
      else localStorage.removeItem("tracediff-theme");
    } catch {
      // Not kept: the choice lasts as long as the page.
    }
    sayTheme();
  });
}

function setUpCopy() {
  for (const button of document.querySelectorAll(".copy")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const name = button.parentElement.querySelector(".full-name");
      try {
        await navigator.clipboard.writeText(name.textContent);
        button.textContent = "Copied";
      } catch {
        // No clipboard for this page: select the name, so that one key copies it.
        const fold = name.closest("details.full");
        if (fold) fold.open = true;
        getSelection().selectAllChildren(name);
        button.textContent = "Selected";
      }
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
  }
}

function setUpKeys() {
  document.getElementById("help-open").addEventListener("click", () => help.showModal());
  const search = document.getElementById("filter-text");
  search?.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !search.value) return;
    event.preventDefault();
    search.value = "";
    setFilter(formToFilter());
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || help.open) return;
    if (event.target.closest("input, select, textarea")) return;
    if (event.key === "/" && search) {
      event.preventDefault();
      search.focus();
      search.select();
    } else if (event.key === "?") {
      event.preventDefault();
      help.showModal();
    }
  });
}

document.querySelector(".tools").hidden = false;
setUpTheme();
setUpKeys();
setUpSaving();
if (form) {
  setUpFilter();
  setUpLinks();
  setUpCopy();
  setUpMaps();
  followAddress();
  // The browser goes to the fragment itself once the page is read, and would leave the reader at a row far below its module.
  addEventListener("load", () => reveal(at));
}
