// The head map: one SVG, laid out for the width it has.
const MARGIN = { left: 34, top: 20 };
const MAX_CELL = 52,
  MAX_HEIGHT = 880,
  MIN_CELL = 3.5,
  STRETCH = 3;
const size = { across: 10, down: 10 };

// A deep narrow model's cells are up to three times as wide as high, to use the width there is.
function drawMap() {
  const width = ($("map").clientWidth - MARGIN.left - 2) / HEADS;
  size.down = Math.max(MIN_CELL, Math.min(MAX_CELL, width, Math.max(7, MAX_HEIGHT / LAYERS)));
  size.across = Math.max(MIN_CELL, Math.min(width, STRETCH * size.down));
  const full = [MARGIN.left + size.across * HEADS + 2, MARGIN.top + size.down * LAYERS + 2];
  const image = svg("svg", {
    width: full[0],
    height: full[1],
    viewBox: `0 0 ${full[0]} ${full[1]}`,
    "aria-hidden": "true",
  });
  image.append(
    svg("g", {}, axisLabels()),
    svg("g", {}, emptyLayers()),
    svg("g", { id: "cells" }, heads.map(cell)),
    svg("g", { id: "notches" }),
    svg("g", { id: "marks" }),
  );
  $("map").replaceChildren(image);
  paintMap();
}

function gap() {
  return size.down > 14 ? 2 : size.down > 7 ? 1 : 0.5;
}

function cell(head) {
  return svg("rect", {
    class: "cell",
    "data-head": head.name,
    x: leftOf(head),
    y: topOf(head),
    width: size.across - gap(),
    height: size.down - gap(),
    rx: Math.min(5, size.down * 0.14),
  });
}

function leftOf(head) {
  return MARGIN.left + head.head * size.across;
}
function topOf(head) {
  return MARGIN.top + head.layer * size.down;
}

function axisLabels() {
  const most = (length, room) => Math.max(2, Math.min(20, length / room));
  const withMlps = data.columns[HEADS - 1] === MLP;
  const numbered = ticks(HEADS - withMlps, most(HEADS * size.across, 24));
  const apart = numbered.filter((i) => !withMlps || (HEADS - 1 - i) * size.across > 24);
  const across = [...apart, ...(withMlps ? [HEADS - 1] : [])].map((i) =>
    svg(
      "text",
      {
        x: MARGIN.left + (i + 0.5) * size.across,
        y: MARGIN.top - 7,
        "text-anchor": "middle",
      },
      data.columns[i] === MLP ? MLP : String(i),
    ),
  );
  const down = ticks(LAYERS, most(LAYERS * size.down, 16)).map((i) =>
    svg(
      "text",
      {
        x: MARGIN.left - 8,
        y: MARGIN.top + (i + 0.5) * size.down + 3.5,
        "text-anchor": "end",
      },
      String(i),
    ),
  );
  return [...across, ...down];
}

function emptyLayers() {
  const rows = grid
    .map((row, layer) => (row.every((head) => head === null) ? layer : -1))
    .filter((layer) => layer >= 0);
  return rows.map((layer) => {
    const y = MARGIN.top + (layer + 0.5) * size.down;
    return svg("line", {
      class: "empty-layer",
      x1: MARGIN.left,
      x2: MARGIN.left + HEADS * size.across - 2,
      y1: y,
      y2: y,
    });
  });
}

function paintMap() {
  const view = views[state.view];
  const cells = $("cells").children;
  for (const head of heads) {
    cells[head.index].style.fill = colour(view, view.value(head, state.seed));
    cells[head.index].classList.toggle("faded", !matches(head));
  }
  $("notches").replaceChildren(...(view === views.role && state.seed === "all" ? notches() : []));
  $("map").setAttribute(
    "aria-label",
    `Head map, ${LAYERS} layers by ${HEADS} heads, coloured by ${view.label}. Arrow keys move, Enter pins.`,
  );
  $("legend").replaceChildren(...legend(view));
  markMap();
}

// A cut corner in the colour of the most frequent other role that seeds give the head.
function notches() {
  const side = Math.max(2.4, 0.42 * size.down);
  return heads.flatMap((head) => {
    const other = roleVotes(head).find(([role]) => role !== head.role);
    if (!other) return [];
    const [x, y] = [leftOf(head) + size.across - gap(), topOf(head)];
    const notch = svg("path", { class: "notch", d: `M${x - side} ${y}H${x}V${y + side}Z` });
    notch.style.fill = roleColour(other[0]);
    notch.classList.toggle("faded", !matches(head));
    return [notch];
  });
}

function markMap() {
  const frame = (head, name) =>
    svg("rect", {
      class: name,
      x: leftOf(head) - 1,
      y: topOf(head) - 1,
      width: size.across,
      height: size.down,
      rx: Math.min(5, size.down * 0.14),
    });
  const marks = state.pinned.map((head) => frame(head, "pin"));
  if (state.current) marks.push(frame(state.current, "cursor"));
  $("marks").replaceChildren(...marks);
}

function legend(view) {
  if (view === views.role) {
    const split = heads.some((head) => roleVotes(head).some(([role]) => role !== head.role));
    const corner = element("span", {}, element("i", { class: "corner" }), "another role in some seeds");
    return [...ROLES.map(roleLabel), ...(split && state.seed === "all" ? [corner] : [])];
  }
  const bar = element("i", { class: "ramp" });
  const ends = view.diverging ? [-view.limit, 0, view.limit].map((value) => colour(view, value)) : ["var(--low)", view.tone];
  bar.style.background = `linear-gradient(90deg in oklab, ${ends.join(", ")})`;
  const [low, high] = rampWords(view);
  const notes = view.diverging
    ? ["nats per token; the same for all seeds", beyondScale(view)]
    : [view.note ?? (state.seed === "all" ? "mean over the seeds" : `seed ${data.seeds[state.seed]}`)];
  const spans = notes.filter(Boolean).map((text) => element("span", {}, text));
  return [element("span", {}, low, bar, high), ...spans, ...(view === views.estimate ? [estimateNote()] : [])];
}

// Words at the ends of a colour scale; a sign where scores lie beyond it.
function rampWords(view) {
  if (!view.diverging) {
    const [low, high] = view.words ?? ["", ""];
    return [`0 ${low}`, `${high} 1`];
  }
  const values = heads.map((head) => view.value(head, "all")).filter((value) => value !== null);
  const [below, above] = [Math.min(...values) < -view.limit, Math.max(...values) > view.limit];
  return [
    `${below ? "\u2264 " : ""}${signed(-view.limit, 3)} important`,
    `in the way ${above ? "\u2265 " : ""}${signed(view.limit, 3)}`,
  ];
}

function beyondScale(view) {
  const beyond = heads
    .filter((head) => Math.abs(view.value(head, "all") ?? 0) > view.limit)
    .sort((one, other) => Math.abs(view.value(other, "all")) - Math.abs(view.value(one, "all")));
  const named = beyond.slice(0, 3).map((head) => `${head.name} ${signed(view.value(head, "all"), 3)}`);
  const more = beyond.length > named.length ? ` and ${beyond.length - named.length} more` : "";
  return beyond.length ? `beyond the scale: ${named.join(", ")}${more}` : "";
}

function estimateNote() {
  if (!data.estimate || data.estimate.sure) return element("span", {}, "estimated from gradients");
  const found = data.estimate.correlation;
  const words = found === null ? "not defined" : `only ${number(found, 2)}`;
  return element(
    "strong",
    { class: "warning", role: "note" },
    `Not reliable here: its rank correlation with ablation is ${words}. Read Ablation instead.`,
  );
}

function headAt(event) {
  const box = $("map").firstChild.getBoundingClientRect();
  const layer = Math.floor((event.clientY - box.top - MARGIN.top) / size.down);
  const head = Math.floor((event.clientX - box.left - MARGIN.left) / size.across);
  return grid[layer]?.[head] ?? null;
}

// The next head in a direction, over places that are none.
function neighbour(head, down, across) {
  let [layer, column] = [head.layer + down, head.head + across];
  while (layer >= 0 && layer < LAYERS && column >= 0 && column < HEADS) {
    if (grid[layer][column]) return grid[layer][column];
    [layer, column] = [layer + down, column + across];
  }
  return head;
}

function onMapKey(event) {
  const arrows = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  const here = state.current ?? heads[0];
  const row = grid[here.layer].filter(Boolean);
  const target =
    event.key === "Home"
      ? row[0]
      : event.key === "End"
        ? row[row.length - 1]
        : arrows[event.key] && (state.current ? neighbour(here, ...arrows[event.key]) : here);
  if (target) {
    point(target);
    $("cells").children[target.index].scrollIntoView({ block: "nearest" });
    showTooltipAtCell(target);
  } else if (event.key === "Enter" || event.key === " ") togglePin(here);
  else if (event.key === "Escape") {
    state.pinned = [];
    hideTooltip();
    pinsChanged();
  } else if (event.key.toLowerCase() === "r" && !event.ctrlKey && !event.metaKey) chooseView("role");
  else return;
  event.preventDefault();
}

function listenToMap() {
  const map = $("map");
  map.addEventListener("pointermove", (event) => {
    const head = headAt(event);
    if (!head) return hideTooltip();
    if (head !== state.current) point(head);
    showTooltip(head, event.clientX, event.clientY);
  });
  map.addEventListener("pointerleave", hideTooltip);
  map.addEventListener("click", (event) => {
    const head = headAt(event);
    if (head) {
      point(head);
      togglePin(head);
    }
  });
  map.addEventListener("keydown", onMapKey);
  map.addEventListener("focus", () => {
    if (!map.matches(":focus-visible")) return;
    if (!state.current) point(heads[0]);
    showTooltipAtCell(state.current);
  });
  map.addEventListener("blur", hideTooltip);
}
