// The study as the page holds it: heads from the csv, what varies over seeds from the JSON.
const data = JSON.parse(document.getElementById("data").textContent);
const [LAYERS, HEADS] = data.shape;
const ROLES = Object.keys(data.roles);
const UNDECIDED = "undecided";
const SCORES = ["facilitation", "irrelevance", "interference"];
// Scores of attention patterns, by their columns.
const PATTERNS = { previous_token: "Previous token", duplicate_token: "Duplicate token", induction: "Induction" };
const STAGES = { initial: "G0", retention: "G+", removal: "G\u2212" };
const MAX_PINS = 6;
// The column of MLP blocks, in names and in the csv; the last, where they have gates.
const MLP = "MLP";

const heads = parseCsv(data.csv).map((row, index) => {
  const head = columnNumber(String(row.head));
  return { ...row, head, index, name: `L${row.layer}${data.columns[head]}` };
});
const grid = Array.from({ length: LAYERS }, () => new Array(HEADS).fill(null));
for (const head of heads) grid[head.layer][head.head] = head;

const state = { view: "role", seed: "all", current: null, pinned: [], sort: ["facilitation", -1], page: 0 };
const filter = { text: "", roles: new Set(ROLES), disagreeing: false, limits: [] };

// No field of heads.csv holds a comma or a quote: numbers, booleans and role names.
function parseCsv(text) {
  const lines = text.trim().split("\n");
  const names = lines[0].split(",");
  return lines.slice(1).map((line) => {
    const fields = line.split(",");
    return Object.fromEntries(names.map((name, i) => [name, parseField(fields[i])]));
  });
}

function parseField(field) {
  if (field === "True" || field === "False") return field === "True";
  const number = Number(field);
  if (field === "") return null;
  return Number.isNaN(number) ? field : number;
}

function gate(head, stage, seed) {
  const value = data.gates[stage][seed][head.index];
  return value === null ? null : value / 1000;
}

function mean(values) {
  const known = values.filter((value) => value !== null && value !== undefined);
  return known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
}

function seedRole(head, seed) {
  return ROLES[Number(data.seedRoles[seed][head.index])] ?? null;
}

// [[role, seeds that say so], ...], most frequent first.
function roleVotes(head) {
  const votes = ROLES.map((role) => [role, data.seeds.filter((_, s) => seedRole(head, s) === role).length]);
  return votes.filter(([, count]) => count).sort((a, b) => b[1] - a[1]);
}

// Seeds that give a head its role; none say that it is undecided.
function seedsInRole(head) {
  return head.role === UNDECIDED ? null : head.seeds_in_role;
}

const scoreOfSeed = {
  facilitation: (head, s) => gate(head, "removal", s),
  irrelevance: (head, s) => gate(head, "retention", s) * (1 - gate(head, "removal", s)),
  interference: (head, s) => 1 - gate(head, "retention", s),
};

// What can be shown of a head: a label, its value for a seed (an index, or "all"), its colours.
const views = {
  role: { label: "Role", value: (head, s) => (s === "all" ? head.role : seedRole(head, s)) },
  ...Object.fromEntries(
    SCORES.map((score) => [
      score,
      {
        label: capital(score),
        tone: `var(--${score})`,
        value: (head, s) => (s === "all" ? head[`${score}_mean`] : scoreOfSeed[score](head, s)),
      },
    ]),
  ),
  ...Object.fromEntries(
    Object.entries(STAGES).map(([stage, label]) => [
      stage,
      {
        label,
        tone: "var(--gate)",
        words: ["closed", "open"],
        value: (head, s) =>
          s === "all" ? mean(data.seeds.map((_, i) => gate(head, stage, i))) : gate(head, stage, s),
      },
    ]),
  ),
  ablation: signedView("Ablation", "ablation_score"),
  estimate: signedView("Estimate", "estimate_score"),
  ...Object.fromEntries(
    Object.entries(PATTERNS).map(([name, label]) => [
      name,
      {
        label,
        tone: "var(--attention)",
        seedless: true,
        note: "share of attention, on repeated random tokens; the same for all seeds",
        value: (head) => head[name],
      },
    ]),
  ),
};
for (const [name, view] of Object.entries(views)) {
  if (heads.every((head) => (view.value(head, "all") ?? null) === null)) delete views[name];
}

// Scores of both signs, on the scale that the figures have too.
function signedView(label, column) {
  const value = (head) => head[column];
  return { label, diverging: true, seedless: true, value, limit: data.scales[column]?.limit };
}

// A CSS colour; the theme's names in it follow a change of theme by themselves.
function colour(view, value) {
  if (value === null || value === undefined) return "none";
  if (view === views.role) return roleColour(value);
  const share = view.diverging ? Math.min(1, Math.abs(value) / view.limit) : value;
  const tone = view.diverging ? `var(--${value < 0 ? "important" : "in-the-way"})` : view.tone;
  return `color-mix(in oklab, ${tone} ${(100 * share).toFixed(1)}%, var(--low))`;
}

function roleColour(role) {
  return `var(--${data.roles[role].slug})`;
}

function capital(word) {
  return word[0].toUpperCase() + word.slice(1);
}

function number(value, digits = 3) {
  if (value === null || value === undefined) return "\u2013";
  return value.toFixed(digits).replace("-", "\u2212");
}

// A score that rounds to nothing has no sign.
function signed(value, digits = 4) {
  if (value === null || value === undefined) return "\u2013";
  const rounded = Number(value.toFixed(digits)) || 0;
  return (rounded > 0 ? "+" : "") + number(rounded, digits);
}

// L3H7, L3.H7, 3.7 and 3H7 name a head, L3MLP an MLP, L3 or 3 a layer, H7 or MLP a column.
function parseHeads(text) {
  const tokens = text.split(/[\s,;]+/).filter(Boolean);
  return tokens.map((token) => {
    const column = token.match(/^(?:[hg](\d+)|mlp)$/i);
    if (column) return { head: columnNumber(column[1] ?? MLP) };
    const found = token.match(/^l?(\d+)(?:[.:]?(?:[hg]?(\d+)|(mlp)))?$/i);
    if (!found) return { unknown: token };
    return { layer: Number(found[1]), head: columnNumber(found[2] ?? found[3]) };
  });
}

// Place of a column that is written as a number or as MLP; none where nothing is.
function columnNumber(text) {
  if (text === undefined) return undefined;
  return text.toUpperCase() === MLP ? data.columns.indexOf(MLP) : Number(text);
}

function matches(head) {
  if (!filter.roles.has(head.role)) return false;
  if (filter.disagreeing && !head.disagrees) return false;
  const named = parsedText();
  const isNamed = (one) =>
    !one.unknown && [undefined, head.layer].includes(one.layer) && [undefined, head.head].includes(one.head);
  if (named.length && !named.some(isNamed)) return false;
  return filter.limits.every(({ column, sign, value }) => {
    const own = columns[column].value(head);
    return own !== null && own !== undefined && sign * own >= sign * value;
  });
}

// The parsed filter text; kept, because a map asks it of thousands of heads.
function parsedText() {
  if (parsedText.text !== filter.text)
    [parsedText.text, parsedText.heads] = [filter.text, parseHeads(filter.text)];
  return parsedText.heads;
}
