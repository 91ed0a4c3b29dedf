// The numbers of a head: in a tooltip, in words for screen readers, and side by side when pinned.
function point(head) {
  state.current = head;
  addressChanged();
  markMap();
  drawInspector();
  $("live").textContent =
    `${head.name}, ${head.role}; facilitation ${number(head.facilitation_mean)}, ` +
    `irrelevance ${number(head.irrelevance_mean)}, interference ${number(head.interference_mean)}` +
    (views.ablation ? `, ablation ${signed(head.ablation_score)} nats per token` : "") +
    (head.disagrees ? `; ablation disagrees with the role at ${head.disagrees}` : "");
}

function togglePin(head) {
  const others = state.pinned.filter((one) => one !== head);
  state.pinned = others.length < state.pinned.length ? others : [...others, head].slice(-MAX_PINS);
  pinsChanged();
}

function pinsChanged() {
  markMap();
  drawInspector();
  drawTable();
  addressChanged();
}

// How sure the role is; of an undecided head, what the seeds say one by one.
function seedsSaying(head) {
  if (seedsInRole(head) !== null)
    return `${supportOf(head)} ${data.seeds.length > 1 ? "seeds" : "seed"}, 95 % ${supportInterval(head)}`;
  const votes = roleVotes(head).map(([role, count]) => `${count} ${role}`);
  return `no role; by seed: ${votes.join(", ")}`;
}

// Of a score over seeds; a single seed has none.
function interval(head, score) {
  const [low, high] = [head[`${score}_low`], head[`${score}_high`]];
  return (low ?? null) === null ? "" : `${number(low)} to ${number(high)}`;
}

function standardError(head, of = "ablation") {
  const error = head[`${of}_stderr`] ?? null;
  return error === null ? "" : `\u00b1 ${number(error, 4)}`;
}

function ablationWords(head, of) {
  const error = standardError(head, of);
  return [error && `${error} standard error`, `q ${pValue(head[`${of}_q`])}`].filter(Boolean).join(", ");
}

function pValue(value) {
  if (value === null || value === undefined) return "\u2013";
  return value < 0.0001 ? "< 0.0001" : value.toFixed(4);
}

function showTooltip(head, x, y) {
  const row = (name, ...cells) =>
    element(
      "tr",
      {},
      element("th", { scope: "row" }, name),
      cells.map((text) => element("td", {}, text)),
    );
  const rows = SCORES.map((score) => row(score, number(head[`${score}_mean`]), interval(head, score)));
  for (const [stage, label] of Object.entries(STAGES))
    rows.push(row(label, number(views[stage].value(head, state.seed)), ""));
  if (views.ablation) rows.push(row("ablation", signed(head.ablation_score), ablationWords(head, "ablation")));
  if (columns.retention)
    rows.push(row("at G+", signed(head.retention_score), ablationWords(head, "retention")));
  if (views.estimate) rows.push(row("estimate", signed(head.estimate_score), ""));
  const pattern = PATTERNS[state.view];
  if (pattern) rows.push(row(pattern.toLowerCase(), number(head[state.view]), "share of attention"));
  const shown = state.seed === "all" ? "" : `; gates of seed ${data.seeds[state.seed]}`;
  const tip = $("tooltip");
  tip.dataset.head = head.name;
  tip.replaceChildren(
    element(
      "div",
      {},
      element("b", {}, head.name),
      " ",
      roleLabel(head.role),
      disagreementMark(head),
      element("small", {}, ` ${seedsSaying(head)}${shown}`),
    ),
    element("table", {}, rows),
  );
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(6, x + 16 + box.width > innerWidth ? x - 16 - box.width : x + 16)}px`;
  tip.style.top = `${Math.max(6, y + 16 + box.height > innerHeight ? y - 12 - box.height : y + 16)}px`;
}

function showTooltipAtCell(head) {
  const box = $("cells").children[head.index].getBoundingClientRect();
  showTooltip(head, box.right, box.bottom);
}

function hideTooltip() {
  $("tooltip").hidden = true;
}

function drawInspector() {
  const shown = [...state.pinned];
  if (state.current && !shown.includes(state.current)) shown.unshift(state.current);
  if (!shown.length) {
    $("inspector").replaceChildren(
      element(
        "p",
        { class: "empty" },
        "Point at a head to read its numbers. Click to pin it here, pin up to six to compare them.",
      ),
    );
    return;
  }
  const names = element(
    "tr",
    {},
    element("td", {}),
    shown.map((head) =>
      element("th", { scope: "col", class: isPinned(head) ? null : "now" }, head.name, pinButton(head)),
    ),
  );
  const body = inspectorRows().map(([name, content]) =>
    element(
      "tr",
      {},
      element("th", { scope: "row" }, name),
      shown.map((head) => element("td", { class: isPinned(head) ? null : "now" }, content(head))),
    ),
  );
  const table = element(
    "table",
    { class: "compare" },
    element("thead", {}, names),
    element("tbody", {}, body),
  );
  $("inspector").replaceChildren(
    element("h3", {}, state.pinned.length ? "Pinned heads" : "This head"),
    element("div", { class: "scroll", tabindex: 0 }, table),
  );
}

function isPinned(head) {
  return state.pinned.includes(head);
}

function pinButton(head) {
  const [sign, verb] = isPinned(head) ? ["\u00d7", "Unpin"] : ["pin", "Pin"];
  return element(
    "button",
    { type: "button", class: "unpin", "aria-label": `${verb} ${head.name}`, onclick: () => togglePin(head) },
    sign,
  );
}

// [name of the row, head -> what stands in its column]
function inspectorRows() {
  const rows = [
    ["role", (head) => [roleLabel(head.role), disagreementMark(head), small(seedsSaying(head))]],
  ];
  for (const score of SCORES) {
    const [value, low, high] = ["mean", "low", "high"].map((end) => `${score}_${end}`);
    rows.push([
      score,
      (head) => [
        number(head[value]),
        meter(head[value], head[low], head[high], `var(--${score})`),
        small(interval(head, score)),
      ],
    ]);
  }
  if (views.ablation)
    rows.push(["ablation", (head) => [signed(head.ablation_score), small(ablationWords(head, "ablation"))]]);
  if (columns.retention)
    rows.push(["ablation at G+", (head) => [signed(head.retention_score), small(ablationWords(head, "retention"))]]);
  if (heads.some((head) => head.disagrees))
    rows.push(["disagreement", (head) => head.disagrees ? `ablation at ${head.disagrees}` : "none"]);
  if (views.estimate) rows.push(["estimate", (head) => signed(head.estimate_score)]);
  for (const [name, label] of Object.entries(PATTERNS))
    if (views[name])
      rows.push([
        label.toLowerCase(),
        (head) => [number(head[name]), meter(head[name], null, null, views[name].tone)],
      ]);
  if (heads[0].lambda_low !== undefined) rows.push(["role holds for |\u03bb|", lambdaRange]);
  if (data.path) rows.push(["facilitation by |\u03bb|", strengthStrip]);
  rows.push([stripLabels(), seedStrip]);
  return rows;
}

function lambdaRange(head) {
  return head.lambda_low === null ? "\u2013" : `${head.lambda_low} to ${head.lambda_high}`;
}

// Facilitation at every strength, from weak to strong.
function strengthStrip(head) {
  const { lambdas, facilitation } = data.path;
  const step = STRIP_WIDTH / lambdas.length;
  const marks = lambdas.map((strength, i) => {
    const thousandths = facilitation[i][head.index];
    const value = thousandths === null ? null : thousandths / 1000;
    const words = svg("title", {}, `|\u03bb| ${strength}: ${number(value)}`);
    const mark = svg("rect", { x: i * step, y: 1, width: step - 1, height: STRIP_ROW - 2, rx: 1.5 }, words);
    mark.style.fill = colour(views.facilitation, value);
    return mark;
  });
  const label = `Facilitation of ${head.name} at each strength`;
  return svg("svg", { width: STRIP_WIDTH, height: STRIP_ROW, role: "img", "aria-label": label }, marks);
}

// Below: role and gates G0, G+ and G- as rows of a strip with a small column per seed.
const STRIP_ROW = 14,
  STRIP_WIDTH = 92;
const STRIP_LABELS = [data.seeds.length > 1 ? "role by seed" : "role", ...Object.values(STAGES)];

function stripLabels() {
  const labels = STRIP_LABELS.map((label, line) => svg("text", { x: 0, y: line * STRIP_ROW + 11 }, label));
  return svg("svg", { width: 74, height: STRIP_ROW * STRIP_LABELS.length, "aria-hidden": "true" }, labels);
}

function seedStrip(head) {
  const step = Math.min(15, STRIP_WIDTH / data.seeds.length);
  const colours = [
    (s) => colour(views.role, seedRole(head, s)),
    ...Object.keys(STAGES).map((stage) => (s) => colour(views[stage], gate(head, stage, s))),
  ];
  const words = [
    (s) => seedRole(head, s),
    ...Object.keys(STAGES).map((stage) => (s) => `${STAGES[stage]} ${number(gate(head, stage, s))}`),
  ];
  const marks = colours.flatMap((fill, line) =>
    data.seeds.map((seed, s) => {
      const mark = svg(
        "rect",
        {
          x: s * step,
          y: line * STRIP_ROW + 1,
          width: Math.max(1, step - 1),
          height: STRIP_ROW - 2,
          rx: 1.5,
        },
        svg("title", {}, `seed ${seed}: ${words[line](s)}`),
      );
      mark.style.fill = fill(s);
      return mark;
    }),
  );
  return svg(
    "svg",
    {
      width: step * data.seeds.length,
      height: STRIP_ROW * colours.length,
      role: "img",
      "aria-label": `Role and gates of ${head.name} in each seed`,
    },
    marks,
  );
}
