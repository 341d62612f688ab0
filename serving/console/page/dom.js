// Elements are made only by the functions below. A text stays a text, whatever it contains: nothing
// here turns text into markup, and the page's policy forbids it.

const SVG = "http://www.w3.org/2000/svg";

/**
 * Makes an HTML element.
 *
 * @param {string} tag Its name, with classes after dots: "p.quiet".
 * @param {Object|null} attributes Attributes by name. A function is a listener ("onclick"), `style`
 *     an object of CSS properties, true an attribute without a value; null and false leave it out.
 * @param {...*} children Nodes, texts, numbers or lists of them; null and false are left out.
 */
export function h(tag, attributes, ...children) {
  return filled((name) => document.createElement(name), tag, attributes, children);
}

/** Makes an SVG element; see `h`. */
export function s(tag, attributes, ...children) {
  return filled((name) => document.createElementNS(SVG, name), tag, attributes, children);
}

function filled(make, tag, attributes, children) {
  const [name, ...classes] = tag.split(".");
  const element = make(name);
  for (const each of classes) element.classList.add(each);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(key.slice(2), value);
    else if (key === "class") value.split(" ").filter(Boolean).forEach((one) => element.classList.add(one));
    else if (key === "style") for (const [rule, to] of Object.entries(value)) element.style.setProperty(rule, to);
    else element.setAttribute(key, value === true ? "" : String(value));
  }
  element.append(...nodes(children));
  return element;
}

function nodes(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
}

/** Replaces the children of an element, and returns it. */
export function put(element, ...children) {
  element.replaceChildren(...nodes(children));
  return element;
}

/** Returns an element that grows into its final content: `fill` is called with it, now. */
export function later(element, fill) {
  fill(element);
  return element;
}

/** Makes a table; a cell is a text or a node. Columns whose index is in `numbers` are right-aligned. */
export function table(label, heads, rows, numbers = [], kind = "") {
  const aligned = (index) => (numbers.includes(index) ? { class: "number" } : null);
  return h(
    "div.scroll",
    { class: kind, tabindex: "0", role: "group", "aria-label": label },
    h(
      "table",
      null,
      heads.some(Boolean) && h("thead", null, h("tr", null, heads.map((head, i) => (head.length ? h("th", { scope: "col", ...aligned(i) }, head) : h("td"))))),
      h("tbody", null, rows.map((row) => h("tr", null, row.map((cell, i) => h("td", aligned(i), cell))))),
    ),
  );
}

/** Makes a list of names and values. */
export function facts(pairs) {
  return h("dl", null, pairs.filter(Boolean).map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value))));
}

let nextId = 0;

/** Returns an id that no element has yet. */
export function freshId(name) {
  nextId += 1;
  return `${name}-${nextId}`;
}
