// Role maps that are read together, and tables that can be sorted.
const data = JSON.parse($("data").textContent);
const maps = [...document.querySelectorAll(".role-map")];
const placed = new Map(data.heads.map(([layer, head], index) => [`${layer}.${head}`, index]));

function headAt(map, event) {
  const inside = new DOMPoint(event.clientX, event.clientY).matrixTransform(
    map.querySelector("g").getScreenCTM().inverse(),
  );
  return placed.get(`${Math.floor(inside.y)}.${Math.floor(inside.x)}`);
}

function show(index) {
  for (const map of maps) {
    const cursor = map.querySelector(".cursor");
    cursor.setAttribute("visibility", index === undefined ? "hidden" : "visible");
    if (index === undefined) continue;
    cursor.setAttribute("x", data.heads[index][1]);
    cursor.setAttribute("y", data.heads[index][0]);
  }
  if (index !== undefined) $("readout").replaceChildren(reading(index));
}

function reading(index) {
  const [layer, head] = data.heads[index];
  const cell = (name, text) => element(name, name === "th" ? { scope: "row" } : {}, text);
  const row = (run) =>
    element("tr", {}, cell("th", run.name), ...run.cells[index].map((text) => cell("td", text)));
  return element(
    "table",
    { class: "plain" },
    element("caption", {}, `L${layer}${data.labels[head]}`),
    element(
      "thead",
      {},
      element(
        "tr",
        {},
        ["run", ...data.columns].map((name) => element("th", { scope: "col" }, name)),
      ),
    ),
    element("tbody", {}, data.runs.map(row)),
  );
}

function key(row, column) {
  const { value } = row.cells[column].dataset;
  return value === undefined ? row.cells[column].textContent : Number(value);
}

function sortTable(table, column, direction) {
  const rows = [...table.tBodies[0].rows];
  const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b) : a - b);
  rows.sort((one, other) => {
    const [a, b] = [key(one, column), key(other, column)];
    if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
    return direction * compare(a, b);
  });
  table.tBodies[0].append(...rows);
  for (const [index, header] of [...table.tHead.rows[0].cells].entries()) {
    const sorted = index === column ? (direction > 0 ? "ascending" : "descending") : "none";
    header.setAttribute("aria-sort", sorted);
  }
}

function makeSortable(table) {
  for (const [column, header] of [...table.tHead.rows[0].cells].entries()) {
    const button = element("button", { type: "button" }, ...header.childNodes);
    button.addEventListener("click", () => {
      const numeric = table.tBodies[0].rows[0].cells[column].dataset.value !== undefined && column > 0;
      const now = header.getAttribute("aria-sort");
      const first = numeric ? -1 : 1;
      sortTable(table, column, now === "none" || now === null ? first : now === "ascending" ? -1 : 1);
    });
    header.append(button);
  }
}

for (const map of maps) {
  map.addEventListener("pointermove", (event) => show(headAt(map, event)));
  map.addEventListener("pointerdown", (event) => show(headAt(map, event)));
  map.addEventListener("pointerleave", () => show(undefined));
}
document.querySelectorAll("table.sortable").forEach(makeSortable);
$("readout").replaceChildren(reading(data.first));
followTheme();
