// The page's sections of charts, from the study's parts.
const MAX_LINES = 150;
const STAGE_WORDS = { initial: "G0, free", retention: "G+, retention", removal: "G\u2212, removal" };

// A figure in place before it is drawn, so that what is drawn knows its width.
function addFigure(host, caption, ...draw) {
  const figure = element("figure", {}, element("figcaption", {}, caption));
  host.append(figure);
  for (const one of draw) figure.append(one(figure));
  return figure;
}

function bold(text) {
  return element("b", {}, text);
}

function drawLayers() {
  const host = $("layers");
  host.replaceChildren();
  const real = grid.map((row) => row.filter(Boolean));
  const counts = real.map((row) => ROLES.map((role) => row.filter((head) => head.role === role).length));
  const names = real.map((_, layer) => String(layer));
  addFigure(host, [bold("Roles"), " of each layer's heads"], (at) =>
    stackedBars(at, counts, names, ["layer", "share of heads"], "Share of each role per layer"),
  );
  if (!views.ablation) return;
  const scores = real.map((row) => mean(row.map((head) => head.ablation_score)));
  addFigure(
    host,
    [bold("Mean ablation score"), ", nats per token: below zero the layer's heads matter"],
    (at) => signedBars(at, scores, ["layer", "nats"], "Mean ablation score per layer"),
  );
}

function drawCurves() {
  const host = $("curves");
  host.replaceChildren();
  $("curves-section").hidden = !data.curves.length;
  const shown = [
    ["loss", "loss (nats)"],
    ["open", "open gates"],
    ["held_out_nll", "held-out NLL"],
  ];
  for (const curve of data.curves) {
    const charts = shown
      .filter(([name]) => curve[name])
      .map(
        ([name, words]) =>
          (at) =>
            lineChart(
              at,
              {
                x: curve[name].x,
                values: curve[name].values,
                tone: `var(--${name === "loss" ? "accent" : name === "open" ? "gate" : "good"})`,
                names: ["update", words],
              },
              `${STAGE_WORDS[curve.stage]}: ${words} over updates`,
            ),
      );
    const averaged = curve.span > 1 ? `; a point is the mean of ${curve.span} updates` : "";
    addFigure(host, [bold(STAGE_WORDS[curve.stage]), averaged], ...charts);
  }
}

function drawChecks() {
  const host = $("checks");
  host.replaceChildren();
  $("checks-section").hidden = !data.checks.length && !data.correlations.length;
  const expected = { negative: "negative", zero: "about zero", positive: "positive" };
  for (const check of data.checks) {
    const [tone, verdict] =
      check.holds === null
        ? ["", "no such head"]
        : check.holds
          ? ["yes", "\u2713 holds"]
          : ["no", "\u2717 does not hold"];
    const badge = element("span", { class: `badge ${tone}` }, verdict);
    const chart = {
      x: check.counts,
      values: check.difference,
      tone: `var(--${check.score})`,
      names: ["heads toggled", "nats per token"],
      zero: true,
      band: true,
      limit: check.inRole,
      height: 220,
    };
    const figure = addFigure(
      host,
      [
        bold(`In order of ${check.score}`),
        ` \u2013 expected ${expected[check.expected] ?? check.expected} `,
        badge,
      ],
      (at) => lineChart(at, chart, `Causal check of ${check.score}: ${check.verdict}`),
    );
    figure.append(element("p", { class: "hint" }, check.verdict));
  }
  const rows = data.correlations.map((one) =>
    element(
      "tr",
      {},
      element("th", { scope: "row" }, one.score),
      element("td", {}, one.effect),
      element("td", {}, number(one.spearman)),
    ),
  );
  const names = ["score", "measured effect", "Spearman \u03c1 over heads"].map((name) =>
    element("th", { scope: "col" }, name),
  );
  $("correlations").replaceChildren(
    ...(rows.length
      ? [
          element(
            "table",
            { class: "plain" },
            element("thead", {}, element("tr", {}, names)),
            element("tbody", {}, rows),
          ),
        ]
      : []),
  );
}

function drawAgreement() {
  const host = $("agreement");
  host.replaceChildren();
  $("agreement-section").hidden = data.seeds.length < 2;
  if (data.seeds.length < 2) return;
  $("agreement-words").replaceChildren(
    element(
      "ul",
      { class: "words" },
      agreementWords().map((text) => element("li", {}, text)),
    ),
  );
  const found = data.agreement;
  for (const [score, values] of Object.entries(found.spearman))
    addFigure(host, [bold(capital(score)), ", rank correlation of seeds"], () =>
      matrix(values, data.seeds, `var(--${score})`, `Rank correlation of ${score} between seeds`),
    );
  addFigure(host, [bold("Facilitating heads"), ", overlap (Jaccard)"], () =>
    matrix(found.jaccard, data.seeds, "var(--gate)", "Overlap of the facilitating heads of two seeds"),
  );
}

function pairs(values) {
  return values.flatMap((row, i) => row.slice(i + 1)).filter((value) => value !== null);
}

function agreementWords() {
  const found = data.agreement,
    range = (values) =>
      `${number(mean(values), 2)} on average, ${number(extent(values)[0], 2)} at the lowest`;
  const words = Object.entries(found.spearman)
    .filter(([, values]) => pairs(values).length)
    .map(([score, values]) => `Rank correlation of ${score} between two seeds: ${range(pairs(values))}.`);
  words.push(
    `Overlap of two seeds\u2019 facilitating heads: ${range(pairs(found.jaccard))}.`,
    `${data.seeds.length} seeds found ${found.numCircuits} different ${found.numCircuits === 1 ? "set" : "sets"} of them.`,
  );
  const always = heads.filter((head) => head.always_facilitating).length,
    any = heads.filter((head) => head.any_facilitating).length;
  words.push(`${always} heads facilitate in every seed, ${any} in at least one.`);
  for (const group of found.redundant) {
    const names = group.heads.map(([layer, head]) => `L${layer}${data.letter}${head}`);
    words.push(
      `${names.join(" or ")} suffices: closing both costs ${(-group.together).toFixed(3)} nats per token, either alone ${group.alone.map((score) => (-score).toFixed(3)).join(" and ")}.`,
    );
  }
  if (found.numRedundant > found.redundant.length)
    words.push(`${found.numRedundant - found.redundant.length} more redundant pairs are not listed here.`);
  return words;
}

function drawPath() {
  $("path-section").hidden = !data.path;
  if (!data.path) return;
  const host = $("path"),
    { lambdas, roles, scores } = data.path;
  host.replaceChildren();
  const counts = roles.map((digits) =>
    ROLES.map((_, code) => [...digits].filter((one) => one === String(code)).length),
  );
  const same = heads.filter((head) =>
    roles.every((digits) => digits[head.index] === roles[0][head.index]),
  ).length;
  addFigure(host, [bold("Roles"), ` \u2013 ${same} of ${heads.length} heads keep theirs throughout`], (at) =>
    stackedBars(
      at,
      counts,
      lambdas.map(String),
      ["|\u03bb|", "share of heads"],
      "Share of each role per strength",
    ),
  );
  const shown = state.pinned.length ? state.pinned : heads;
  const every = Math.ceil(shown.length / MAX_LINES);
  const values = shown
    .filter((_, i) => i % every === 0)
    .map((head) =>
      scores.facilitation.map((one) => (one[head.index] === null ? null : one[head.index] / 1000)),
    );
  const whose = state.pinned.length
    ? state.pinned.map((head) => head.name).join(", ")
    : every > 1
      ? `one head in ${every}`
      : "all heads";
  addFigure(host, [bold("Facilitation"), ` of ${whose}, and their mean`], (at) =>
    lineChart(
      at,
      {
        x: lambdas,
        values,
        tone: "var(--facilitation)",
        names: ["|\u03bb|", "facilitation"],
        range: [0, 1],
        log: lambdas[0] > 0,
        height: 210,
      },
      "Facilitation over strengths",
    ),
  );
}
