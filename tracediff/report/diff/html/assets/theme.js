// Runs before anything is painted: the reader's own choice of colours, else the system's.
try {
  const chosen = localStorage.getItem("tracediff-theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // Storage may be forbidden for local files; then the choice lasts as long as the page.
}
