// What is shown - view, seed, pinned heads, the head pointed at - is in the address, to be linked.
const byName = new Map(heads.map((head) => [head.name, head]));
let addressTimer = 0;

// True if the address names something; an anchor such as #table-section does not.
function readAddress() {
  if (!location.hash.includes("=")) return false;
  const wanted = new URLSearchParams(location.hash.slice(1));
  const named = (key) => (wanted.get(key) ?? "").split(",").map((name) => byName.get(name));
  if (Object.hasOwn(views, wanted.get("view"))) state.view = wanted.get("view");
  const seed = data.seeds.findIndex((one) => String(one) === wanted.get("seed"));
  state.seed = seed < 0 ? "all" : seed;
  state.pinned = [...new Set(named("pins").filter(Boolean))].slice(-MAX_PINS);
  state.current = named("head")[0] ?? null;
  return true;
}

function address() {
  const parts = {
    view: state.view === "role" ? "" : state.view,
    seed: state.seed === "all" ? "" : data.seeds[state.seed],
    pins: state.pinned.map((head) => head.name).join(","),
    head: state.current?.name ?? "",
  };
  const given = Object.entries(parts).filter(([, value]) => value !== "");
  return given.map((pair) => pair.join("=")).join("&");
}

// Late, because browsers stop pages that change their address with every move of the pointer.
function addressChanged() {
  clearTimeout(addressTimer);
  addressTimer = setTimeout(() => {
    const shown = address();
    if (!shown && !location.hash.includes("=")) return;
    try {
      history.replaceState(null, "", shown ? `#${shown}` : location.pathname + location.search);
    } catch {
      // A frame without an origin, as notebooks make them, has no address of its own.
    }
  }, 300);
}

function followAddress() {
  addEventListener("hashchange", () => {
    if (!readAddress()) return;
    $("seed").value = state.seed;
    chooseView(state.view);
    pinsChanged();
  });
}
