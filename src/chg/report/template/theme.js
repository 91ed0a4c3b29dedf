// Light and dark colours: those of the system, until the button is pressed.
function setTheme(dark) {
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  $("theme").textContent = dark ? "Light" : "Dark";
  $("theme").setAttribute("aria-label", `Switch to ${dark ? "light" : "dark"} colours`);
  $("theme").setAttribute("aria-pressed", String(dark));
}

function followTheme() {
  const preferred = matchMedia("(prefers-color-scheme: dark)");
  let chosen = false;
  setTheme(preferred.matches);
  preferred.addEventListener("change", () => {
    if (!chosen) setTheme(preferred.matches);
  });
  $("theme").addEventListener("click", () => {
    chosen = true;
    setTheme(document.documentElement.dataset.theme !== "dark");
  });
}
