// The table of all heads: sorted, filtered, some at a time.
const PAGE_ROWS = 25;
const columns = {
  head: { label: "Head", value: (head) => head.index },
  role: { label: "Role", value: (head) => ROLES.indexOf(head.role) },
  // Early, so that a narrow screen shows it without scrolling.
  ablation: {
    label: "Ablation",
    title: `Change of the ${data.metric}, nats per token`,
    limit: "ablation score",
    value: (head) => head.ablation_score,
  },
  stderr: {
    label: "\u00b1 std. error",
    title: "Standard error of the ablation score, over rows",
    value: (head) => head.ablation_stderr,
  },
  q: {
    label: "q",
    title: "P value of the ablation score, corrected for the number of heads; significant below 0.05",
    limit: "q",
    value: (head) => head.ablation_q,
  },
  seeds: {
    label: "Seeds",
    title: "Seeds that give the head its role, and the 95 % interval of their share",
    limit: "share of seeds in the role",
    value: (head) => (seedsInRole(head) === null ? null : seedsInRole(head) / data.seeds.length),
  },
  retention: {
    label: "Ablation at G+",
    title: "The same with all other heads at G+ of the first seed, and its standard error",
    limit: "ablation score at G+",
    value: (head) => head.retention_score,
  },
  ...Object.fromEntries(
    SCORES.map((score) => [
      score,
      {
        label: capital(score),
        limit: score,
        tone: `var(--${score})`,
        value: (head) => head[`${score}_mean`],
      },
    ]),
  ),
  estimate: {
    label: "Estimate",
    title: "The ablation score as estimated from gradients",
    limit: "estimate",
    value: (head) => head.estimate_score,
  },
  lambda: {
    label: "|\u03bb| range",
    title: "Strengths of regularisation over which the role holds",
    value: (head) => head.lambda_high,
  },
  ...Object.fromEntries(
    Object.entries(PATTERNS).map(([name, label]) => [
      name,
      {
        label,
        title: "Share of attention, on repeated random tokens",
        limit: `${label.toLowerCase()} attention`,
        tone: "var(--attention)",
        value: (head) => head[name],
      },
    ]),
  ),
};
for (const [name, column] of Object.entries(columns)) {
  if (heads.every((head) => (column.value(head) ?? null) === null)) delete columns[name];
}

function sortedHeads() {
  const [name, direction] = state.sort;
  const { value } = columns[name];
  const keyed = heads.filter(matches).map((head) => [value(head) ?? null, head]);
  keyed.sort(([a, one], [b, other]) => {
    if (a === null || b === null) return (a === null) - (b === null) || one.index - other.index;
    return direction * (a - b) || one.index - other.index;
  });
  return keyed.map(([, head]) => head);
}

function drawTableHead() {
  const header = (name, column) =>
    element(
      "th",
      { scope: "col", "data-column": name },
      element("button", { type: "button", title: column.title, onclick: () => sortBy(name) }, column.label),
    );
  $("heads").tHead.replaceChildren(
    element(
      "tr",
      {},
      Object.entries(columns).map(([name, column]) => header(name, column)),
    ),
  );
}

function sortBy(name) {
  const first = ["head", "role", "ablation", "stderr", "q", "retention"].includes(name) ? 1 : -1;
  state.sort = [name, state.sort[0] === name ? -state.sort[1] : first];
  state.page = 0;
  drawTable();
}

function drawTable() {
  for (const header of $("heads").tHead.rows[0].cells) {
    const sorted = header.dataset.column === state.sort[0];
    header.setAttribute("aria-sort", sorted ? (state.sort[1] > 0 ? "ascending" : "descending") : "none");
  }
  const rows = sortedHeads();
  const last = Math.max(0, Math.ceil(rows.length / PAGE_ROWS) - 1);
  state.page = Math.min(state.page, last);
  const start = state.page * PAGE_ROWS;
  $("heads").tBodies[0].replaceChildren(...rows.slice(start, start + PAGE_ROWS).map(tableRow));
  const unknown = parsedText()
    .filter((one) => one.unknown)
    .map((one) => one.unknown);
  $("found").textContent =
    `${rows.length} of ${heads.length} heads` +
    (unknown.length ? `; not a head: ${unknown.join(", ")} (write L3H7, 3.7 or L3)` : "");
  drawPager(rows.length, start, last);
}

function drawPager(total, start, last) {
  const turn = (to, label) =>
    element(
      "button",
      {
        type: "button",
        disabled: to < 0 || to > last,
        onclick: () => {
          state.page = to;
          drawTable();
        },
      },
      label,
    );
  const shown = `${start + 1}\u2013${Math.min(start + PAGE_ROWS, total)} of ${total}`;
  $("pager").replaceChildren(
    ...(last
      ? [turn(state.page - 1, "Previous"), element("span", {}, shown), turn(state.page + 1, "Next")]
      : []),
  );
}

function tableRow(head) {
  const cells = {
    head: nameCell,
    role: (one) => element("td", {}, roleLabel(one.role), disagreementMark(one)),
    ablation: (one) => element("td", {}, signed(one.ablation_score)),
    estimate: (one) => element("td", {}, signed(one.estimate_score)),
    stderr: (one) => element("td", {}, number(one.ablation_stderr, 4)),
    lambda: (one) => element("td", {}, lambdaRange(one)),
    q: (one) => element("td", {}, pValue(one.ablation_q)),
    retention: (one) =>
      element("td", {}, signed(one.retention_score), small(standardError(one, "retention"))),
    seeds: (one) => element("td", {}, supportOf(one), small(supportInterval(one))),
  };
  const row = element("tr", { class: isPinned(head) ? "pinned" : null });
  row.append(...Object.keys(columns).map((name) => (cells[name] ?? ((one) => scoreCell(one, name)))(head)));
  return row;
}

function nameCell(head) {
  const button = element(
    "button",
    {
      type: "button",
      "aria-pressed": String(isPinned(head)),
      title: "Pin this head",
      onclick: () => {
        point(head);
        togglePin(head);
        // The row was drawn anew: the keyboard stays where it was.
        [...$("heads").querySelectorAll("td button")].find((one) => one.textContent === head.name)?.focus();
      },
    },
    head.name,
  );
  return element("td", {}, button);
}

function scoreCell(head, score) {
  const value = columns[score].value(head);
  const cell = element("td", { class: "bar-cell", title: interval(head, score) }, number(value));
  cell.style.setProperty("--tone", columns[score].tone);
  cell.style.setProperty("--share", `${100 * value}%`);
  return cell;
}

// A sign at heads where ablation disagrees with the role.
function disagreementMark(head) {
  if (!head.disagrees) return null;
  const words = `ablation disagrees with the role: at ${head.disagrees}`;
  return element("span", { class: "differs", role: "img", "aria-label": words, title: words }, "\u2260");
}

function supportOf(head) {
  return seedsInRole(head) === null ? "\u2013" : `${seedsInRole(head)} of ${data.seeds.length}`;
}

function supportInterval(head) {
  return seedsInRole(head) === null ? "" : `${number(head.role_low, 2)} to ${number(head.role_high, 2)}`;
}

function filterChanged() {
  state.page = 0;
  drawTable();
  drawCounts();
  paintMap();
}

function drawLimits() {
  $("limits").replaceChildren(
    ...filter.limits.map((limit, index) =>
      element(
        "button",
        {
          type: "button",
          title: "Remove this threshold",
          onclick: () => {
            filter.limits.splice(index, 1);
            drawLimits();
            filterChanged();
          },
        },
        `${columns[limit.column].limit} ${limit.sign > 0 ? "\u2265" : "\u2264"} ${limit.value} \u00d7`,
      ),
    ),
  );
}

function addLimit() {
  const value = Number($("limit-value").value);
  if ($("limit-value").value === "" || Number.isNaN(value)) return;
  filter.limits.push({ column: $("limit-column").value, sign: Number($("limit-sign").value), value });
  drawLimits();
  filterChanged();
}

function drawRoleFilter() {
  const box = (role) =>
    element(
      "label",
      {},
      element("input", {
        type: "checkbox",
        checked: filter.roles.has(role),
        value: role,
        onchange: (event) => {
          filter.roles[event.target.checked ? "add" : "delete"](role);
          filterChanged();
        },
      }),
      roleLabel(role),
    );
  $("role-filter").replaceChildren($("role-filter").firstElementChild, ...ROLES.map(box));
}

function listenToFilters() {
  drawRoleFilter();
  $("ablation-filter").hidden = !heads.some((head) => head.disagrees);
  $("disagreeing").addEventListener("change", () => {
    filter.disagreeing = $("disagreeing").checked;
    filterChanged();
  });
  $("find").addEventListener("input", () => {
    filter.text = $("find").value;
    filterChanged();
  });
  const limited = Object.entries(columns).filter(([, column]) => column.limit);
  $("limit-column").append(
    ...limited.map(([name, column]) => element("option", { value: name }, column.limit)),
  );
  $("limit-column").value = "facilitation";
  $("limit-add").addEventListener("click", addLimit);
  $("limit-value").addEventListener("keydown", (event) => {
    if (event.key === "Enter") addLimit();
  });
}
