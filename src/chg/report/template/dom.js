// Elements without a framework.
const $ = (id) => document.getElementById(id);

function element(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

function svg(name, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false)
      node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

function swatch(role) {
  return element("i", { class: `swatch ${data.roles[role].slug}` });
}

function roleLabel(role) {
  return element("span", {}, swatch(role), role);
}

function small(text) {
  return element("small", {}, text);
}

// A bar from 0 to 1 with the interval over seeds drawn on it.
function meter(value, low, high, tone) {
  const bar = element("span", { class: "meter" }, element("i", {}), element("s", {}));
  bar.style.setProperty("--tone", tone);
  bar.children[0].style.width = `${100 * value}%`;
  if (low === null) bar.children[1].remove();
  else {
    bar.children[1].style.left = `${100 * low}%`;
    bar.children[1].style.width = `${100 * (high - low)}%`;
  }
  return bar;
}

// Every index of few, every second, fourth ... of many.
function ticks(count, most) {
  let step = 1;
  while (count / step > most) step *= 2;
  return Array.from({ length: Math.ceil(count / step) }, (_, i) => i * step);
}
