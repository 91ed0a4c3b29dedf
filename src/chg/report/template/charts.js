// Line charts, stacked bars and matrices, in SVG laid out for the width they have.
const ROOM = { left: 52, right: 12, top: 10, bottom: 34 };

function frame(host, height, label) {
  const width = Math.max(240, host.clientWidth);
  const image = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
  return { image, width, height, bottom: height - ROOM.bottom, right: width - ROOM.right };
}

function scale(from, to, low, high) {
  return (value) => low + ((value - from) / (to - from || 1)) * (high - low);
}

// Round numbers that span a range, about `count` of them.
function roundTicks(low, high, count) {
  const rough = (high - low || 1) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= rough);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++)
    found.push(Number((i * step).toPrecision(10)));
  return found;
}

function axes(plot, x, y, xs, ys, names) {
  const parts = ys.flatMap((value) => [
    svg("line", { class: "grid", x1: ROOM.left, x2: plot.right, y1: y(value), y2: y(value) }),
    svg("text", { x: ROOM.left - 7, y: y(value) + 4, "text-anchor": "end" }, plainNumber(value)),
  ]);
  parts.push(
    ...xs.map((value) =>
      svg("text", { x: x(value), y: plot.bottom + 15, "text-anchor": "middle" }, plainNumber(value)),
    ),
    svg("line", { class: "axis", x1: ROOM.left, x2: plot.right, y1: plot.bottom, y2: plot.bottom }),
    svg("text", { x: (ROOM.left + plot.right) / 2, y: plot.height - 4, "text-anchor": "middle" }, names[0]),
    svg(
      "text",
      { transform: `translate(11 ${(ROOM.top + plot.bottom) / 2}) rotate(-90)`, "text-anchor": "middle" },
      names[1],
    ),
  );
  plot.image.append(...parts);
}

function plainNumber(value) {
  return String(value).replace("-", "\u2212");
}

function extent(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values)
    if (value !== null) {
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
  return low > high ? [0, 1] : [low, high];
}

function linePath(xs, values, x, y) {
  let pen = "M";
  return values
    .map((value, i) => {
      if (value === null) {
        pen = "M";
        return "";
      }
      const point_ = `${pen}${x(xs[i]).toFixed(1)} ${y(value).toFixed(1)}`;
      pen = "L";
      return point_;
    })
    .join("");
}

// chart: { x, values: [series][point], tone, names: [x axis, y axis], height, range, log, zero, limit, band }
function lineChart(host, chart, label) {
  const plot = frame(host, chart.height ?? 190, label);
  const [low, high] = chart.range ?? extent([...chart.values.flat(), ...(chart.zero ? [0] : [])]);
  const pad = chart.range ? 0 : 0.06 * (high - low || 1);
  const ends = [chart.x[0], chart.x[chart.x.length - 1]];
  const even = scale(...ends.map(chart.log ? Math.log : Number), ROOM.left, plot.right);
  const x = chart.log ? (value) => even(Math.log(value)) : even;
  const y = scale(low - pad, high + pad, plot.bottom, ROOM.top);
  axes(
    plot,
    x,
    y,
    chart.log ? chart.x : roundTicks(...ends, 5),
    roundTicks(low - pad, high + pad, 4),
    chart.names,
  );
  plot.image.style.setProperty("--tone", chart.tone);
  if (chart.limit >= ends[0] && chart.limit <= ends[1])
    plot.image.append(
      svg("line", { class: "limit", x1: x(chart.limit), x2: x(chart.limit), y1: ROOM.top, y2: plot.bottom }),
    );
  if (chart.zero)
    plot.image.append(svg("line", { class: "axis", x1: ROOM.left, x2: plot.right, y1: y(0), y2: y(0) }));
  const middle = chart.x.map((_, i) => mean(chart.values.map((one) => one[i])));
  if (chart.band) plot.image.append(svg("path", { class: "band", d: bandPath(chart, x, y) }));
  else if (chart.values.length > 1)
    plot.image.append(
      ...chart.values.map((one) => svg("path", { class: "thin", d: linePath(chart.x, one, x, y) })),
    );
  plot.image.append(svg("path", { class: "thick", d: linePath(chart.x, middle, x, y) }));
  return plot.image;
}

function bandPath(chart, x, y) {
  const ends = chart.x.map((_, i) => extent(chart.values.map((one) => one[i])));
  const there = ends.map(([low], i) => `${x(chart.x[i]).toFixed(1)} ${y(low).toFixed(1)}`);
  const back = ends.map(([, high], i) => `${x(chart.x[i]).toFixed(1)} ${y(high).toFixed(1)}`).reverse();
  return `M${there.join("L")}L${back.join("L")}Z`;
}

// counts: [bar][role]; each bar is filled to its own total.
function stackedBars(host, counts, names, axis, label) {
  const plot = frame(host, 210, label);
  const slot = (plot.right - ROOM.left) / counts.length;
  const y = scale(0, 1, plot.bottom, ROOM.top);
  const few = ticks(counts.length, Math.max(2, (plot.right - ROOM.left) / 34));
  axes(plot, (value) => value, y, [], [0, 0.25, 0.5, 0.75, 1], axis);
  plot.image.append(
    ...few.map((i) =>
      svg(
        "text",
        { x: ROOM.left + (i + 0.5) * slot, y: plot.bottom + 15, "text-anchor": "middle" },
        names[i],
      ),
    ),
  );
  counts.forEach((bar, i) => {
    const total = bar.reduce((sum, count) => sum + count, 0);
    let filled_ = 0;
    bar.forEach((count, role) => {
      if (!count) return;
      const words = `${axis[0]} ${names[i]}: ${count} of ${total} ${ROLES[role]}`;
      const part = svg(
        "rect",
        {
          x: ROOM.left + i * slot + slot * 0.08,
          width: slot * 0.84,
          y: y((filled_ + count) / total),
          height: y(0) - y(count / total),
        },
        svg("title", {}, words),
      );
      part.style.fill = `var(--${ROLES[role]})`;
      plot.image.append(part);
      filled_ += count;
    });
  });
  return plot.image;
}

function signedBars(host, values, axis, label) {
  const plot = frame(host, 150, label);
  const slot = (plot.right - ROOM.left) / values.length;
  const [low, high] = extent([...values, 0]);
  const y = scale(low, high, plot.bottom, ROOM.top);
  axes(plot, (value) => value, y, [], roundTicks(low, high, 3), axis);
  const few = ticks(values.length, Math.max(2, (plot.right - ROOM.left) / 34));
  plot.image.append(
    ...few.map((i) =>
      svg(
        "text",
        { x: ROOM.left + (i + 0.5) * slot, y: plot.bottom + 15, "text-anchor": "middle" },
        String(i),
      ),
    ),
  );
  values.forEach((value, i) => {
    if (value === null) return;
    const bar = svg(
      "rect",
      {
        x: ROOM.left + i * slot + slot * 0.08,
        width: slot * 0.84,
        y: Math.min(y(0), y(value)),
        height: Math.max(0.5, Math.abs(y(value) - y(0))),
      },
      svg("title", {}, `layer ${i}: ${signed(value)}`),
    );
    bar.style.fill = `var(--${value < 0 ? "important" : "in-the-way"})`;
    plot.image.append(bar);
  });
  plot.image.append(svg("line", { class: "axis", x1: ROOM.left, x2: plot.right, y1: y(0), y2: y(0) }));
  return plot.image;
}

function matrix(values, names, tone, label) {
  const side = 220,
    step = side / values.length,
    room = 26;
  const image = svg("svg", {
    viewBox: `0 0 ${side + room} ${side + room}`,
    role: "img",
    "aria-label": label,
  });
  image.style.maxWidth = "330px";
  values.forEach((row, i) => {
    image.append(
      svg("text", { x: room - 5, y: room + (i + 0.5) * step + 4, "text-anchor": "end" }, String(names[i])),
      svg("text", { x: room + (i + 0.5) * step, y: room - 7, "text-anchor": "middle" }, String(names[i])),
    );
    row.forEach((value, j) => {
      const box = svg(
        "rect",
        { x: room + j * step, y: room + i * step, width: step - 1, height: step - 1, rx: 2 },
        svg("title", {}, `seeds ${names[i]} and ${names[j]}: ${number(value)}`),
      );
      box.style.fill = colour({ tone }, value === null ? null : Math.max(0, value));
      image.append(box);
      if (values.length > 6 || value === null) return;
      const text = svg(
        "text",
        {
          x: room + (j + 0.5) * step,
          y: room + (i + 0.5) * step + 4,
          "text-anchor": "middle",
          class: "on-cell",
        },
        number(value, 2),
      );
      text.style.fill = value > 0.65 ? "var(--surface)" : "var(--ink)";
      image.append(text);
    });
  });
  return image;
}
