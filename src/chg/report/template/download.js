// Files made by the page itself: the table as csv, the map as it is coloured now.
const EXPORT = { top: 34, line: 20, width: 420, scale: 3 };

function offer(content, type, name) {
  const blob = content instanceof Blob ? content : new Blob([content], { type });
  const link = element("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function downloadTable() {
  offer(data.csv, "text/csv", "heads.csv");
}

function downloadMapSvg() {
  offer(new XMLSerializer().serializeToString(mapPicture()), "image/svg+xml", `map-${state.view}.svg`);
}

function downloadMapPng() {
  const picture = mapPicture();
  const image = new Image();
  image.addEventListener("load", () => {
    const canvas = element("canvas", {
      width: EXPORT.scale * picture.getAttribute("width"),
      height: EXPORT.scale * picture.getAttribute("height"),
    });
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    canvas.toBlob((blob) => offer(blob, "image/png", `map-${state.view}.png`));
  });
  const text = new XMLSerializer().serializeToString(picture);
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
}

// The map with its title and legend, in colours that any program reads.
function mapPicture() {
  const shown = $("map").firstChild;
  const copy = shown.cloneNode(true);
  plainStyles(shown, copy);
  copy.querySelector("[data-cursor]")?.remove();
  const [mapWidth, mapHeight] = ["width", "height"].map((name) => Number(shown.getAttribute(name)));
  const legendTop = EXPORT.top + mapHeight + 14;
  const marks = pictureLegend(legendTop);
  const width = Math.max(EXPORT.width, mapWidth + 10);
  const height = legendTop + marks.rows * EXPORT.line + 8;
  const ink = plainColour("var(--ink)");
  const picture = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}` });
  copy.setAttribute("y", EXPORT.top);
  picture.append(
    svg("rect", { width, height, fill: plainColour("var(--surface)") }),
    pictureText(8, 20, `${views[state.view].label}: ${data.title}`, ink, 13),
    copy,
    ...marks.parts,
  );
  return picture;
}

function pictureText(x, y, words, fill, size = 11) {
  return svg("text", { x, y, fill, "font-size": size, "font-family": "sans-serif" }, words);
}

function pictureLegend(top) {
  const [view, ink] = [views[state.view], plainColour("var(--ink)")];
  if (view === views.role) {
    const parts = ROLES.flatMap((role, i) => {
      const [x, y] = [MARGIN.left + (i % 2) * 190, top + Math.floor(i / 2) * EXPORT.line];
      const count = heads.filter((head) => view.value(head, state.seed) === role).length;
      return [
        svg("rect", { x, y, width: 12, height: 12, rx: 2, fill: plainColour(colour(view, role)) }),
        pictureText(x + 18, y + 10, `${role} (${count})`, ink),
      ];
    });
    return { parts, rows: Math.ceil(ROLES.length / 2) };
  }
  const [low, high] = rampWords(view);
  const steps = Array.from({ length: 40 }, (_, i) => (view.diverging ? (i / 39) * 2 - 1 : i / 39));
  const parts = steps.map((share, i) =>
    svg("rect", {
      x: MARGIN.left + i * 4,
      y: top,
      width: 4.2,
      height: 12,
      fill: plainColour(colour(view, view.diverging ? share * view.limit : share)),
    }),
  );
  parts.push(pictureText(MARGIN.left, top + 28, `${low} \u2026 ${high}`, ink));
  return { parts, rows: 2 };
}

function plainStyles(shown, copy) {
  const [from, to] = [shown, copy].map((one) => [...one.querySelectorAll("rect, path, line, text")]);
  from.forEach((node, i) => {
    const style = getComputedStyle(node);
    for (const name of ["fill", "stroke"])
      to[i].setAttribute(name, style[name] === "none" ? "none" : plainColour(style[name]));
    for (const name of ["stroke-width", "stroke-dasharray", "opacity", "font-size", "font-family"])
      to[i].setAttribute(name, style.getPropertyValue(name));
    if (node.classList.contains("cursor")) to[i].setAttribute("data-cursor", "");
    for (const name of ["style", "class"]) to[i].removeAttribute(name);
  });
}

// A colour as #rrggbb, whatever the style sheet wrote; on the page's ground, where it is translucent.
const plainColours = new Map();
function plainColour(css) {
  const key = `${document.documentElement.dataset.theme} ${css}`;
  if (!plainColours.has(key)) {
    const probe = element("i", {});
    probe.style.color = css;
    document.body.append(probe);
    const pen = element("canvas", { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
    for (const paint of ["var(--surface)", css]) {
      probe.style.color = paint;
      pen.fillStyle = getComputedStyle(probe).color;
      pen.fillRect(0, 0, 1, 1);
    }
    probe.remove();
    const bytes = [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3);
    plainColours.set(key, `#${bytes.map((byte) => byte.toString(16).padStart(2, "0")).join("")}`);
  }
  return plainColours.get(key);
}
