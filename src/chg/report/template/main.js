// Puts the page together and keeps its parts in step.
function drawCounts() {
  const card = (role) => {
    const count = heads.filter((head) => head.role === role).length;
    const only = filter.roles.size === 1 && filter.roles.has(role);
    return element(
      "button",
      {
        type: "button",
        class: `count ${data.roles[role].slug}`,
        "aria-pressed": String(only),
        title: `${data.roles[role].meaning}; press to show these heads alone`,
        onclick: () => showOnly(role),
      },
      element("span", { class: "name" }, role),
      element(
        "b",
        {},
        String(count),
        element("small", {}, ` ${share(count)}`),
      ),
      data.roles[role].evidence.map((words) => element("span", {}, words)),
    );
  };
  const active = document.activeElement?.closest?.("#counts")
    ? [...$("counts").children].indexOf(document.activeElement)
    : -1;
  $("counts").replaceChildren(...ROLES.map(card));
  if (active >= 0) $("counts").children[active].focus();
}

function share(count) {
  const percent = (100 * count) / heads.length;
  return percent > 0 && percent < 1 ? "< 1 %" : `${percent.toFixed(0)} %`;
}

function showOnly(role) {
  const only = filter.roles.size === 1 && filter.roles.has(role);
  filter.roles = new Set(only ? ROLES : [role]);
  drawRoleFilter();
  filterChanged();
}

function drawSwitch() {
  const option = ([name, view]) =>
    element(
      "label",
      {},
      element("input", {
        type: "radio",
        name: "view",
        value: name,
        checked: name === state.view,
        onchange: () => chooseView(name),
      }),
      view.label,
    );
  $("views").append(...Object.entries(views).map(option));
  const several = data.seeds.length > 1;
  $("seed").append(
    element(
      "option",
      { value: "all" },
      several ? `all ${data.seeds.length} (mean)` : `seed ${data.seeds[0]}`,
    ),
    ...(several ? data.seeds.map((seed, index) => element("option", { value: index }, `seed ${seed}`)) : []),
  );
  $("seed").value = state.seed;
  $("seed").addEventListener("change", () => {
    state.seed = $("seed").value === "all" ? "all" : Number($("seed").value);
    paintMap();
    addressChanged();
  });
}

function chooseView(name) {
  state.view = name;
  document.querySelector(`#views input[value="${name}"]`).checked = true;
  $("seed").disabled = Boolean(views[name].seedless);
  paintMap();
  addressChanged();
}

// The width decides the layout of the map; the height does not.
function followWidth() {
  let [width, waiting] = [innerWidth, 0];
  addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(drawMap);
  });
}

$("patterns-reading").hidden = !Object.keys(PATTERNS).some((name) => views[name]);
const linked = readAddress();
followTheme();
drawCounts();
drawSwitch();
drawMap();
chooseView(state.view);
drawInspector();
drawTableHead();
drawTable();
listenToMap();
listenToFilters();
followWidth();
followAddress();
$("download").addEventListener("click", downloadTable);
$("map-svg").addEventListener("click", downloadMapSvg);
$("map-png").addEventListener("click", downloadMapPng);
if (linked) $("map-section").scrollIntoView();
