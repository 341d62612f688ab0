// Pieces that several views use.

import { h } from "./dom.js";
import { swatch } from "./plot.js";

const GOOD_STATES = ["AVAILABLE"];
const BUSY_STATES = ["START", "LOADING", "UNLOADING"];

/** A state of a version as a coloured word. */
export function stateBadge(state, code) {
  const failed = state === "END" && code !== "OK";
  const kind = failed ? "invalid" : GOOD_STATES.includes(state) ? "valid" : BUSY_STATES.includes(state) ? "busy" : "over";
  return h("span.badge", { class: kind }, failed ? "FAILED" : state);
}

/** A figure: title, legend, drawing and caption, as in the reports. */
export function figure(title, legend, drawing, caption) {
  return h(
    "figure",
    null,
    h("h3", null, title),
    legend.length > 0 && h("ul.legend", null, legend.map(([text, style]) => h("li", null, swatch(style), text))),
    drawing,
    caption && h("figcaption", null, caption),
  );
}

/** A message about a failed call, read out by screen readers. */
export function alertBox(text) {
  return h("p.alert", { role: "alert" }, text);
}

/** A labelled control: the label's text, the control, and a hint. */
export function field(text, control, hint) {
  return h("label.field", null, h("span", null, text), control, hint && h("small.quiet", null, hint));
}

/** A list to choose from; `options` are `[value, text]`. */
export function choice(options, chosen, onchange) {
  return h(
    "select",
    { onchange: (event) => onchange(event.target.value) },
    options.map(([value, text]) => h("option", { value, selected: value === chosen }, text)),
  );
}

/** Buttons of which one is pressed; `options` are `[value, text]`. */
export function switcher(label, options, chosen, onchoose) {
  return h(
    "div.switcher",
    { role: "group", "aria-label": label },
    options.map(([value, text]) =>
      h("button", { type: "button", "aria-pressed": String(value === chosen), onclick: () => onchoose(value) }, text),
    ),
  );
}

/** Copies a text. Without a secure connection browsers have no clipboard, and `source` is selected. */
export async function copyText(text, source) {
  try {
    await navigator.clipboard.writeText(text);
    return "Copied";
  } catch {
    const range = document.createRange();
    range.selectNodeContents(source);
    getSelection().removeAllRanges();
    getSelection().addRange(range);
    return "Selected: press Ctrl+C";
  }
}

/** Whether a version is loaded and answers. */
export function answers(version) {
  return version.state === "AVAILABLE" && version.loaded !== null;
}

/** Every version that answers, as `{model, version, isLatest}`. */
export function answering(list) {
  return list.models.flatMap((model) => {
    const loaded = model.versions.filter(answers);
    return loaded.map((version) => ({ model, version, isLatest: version === loaded[0] }));
  });
}

/** A tensor's type and shape as text: "uint8 (any, 32, 32, 3)". */
export function tensorText(tensor) {
  const shape = tensor.shape === null ? "any shape" : `(${tensor.shape.map((size) => (size < 0 ? "any" : size)).join(", ")})`;
  return `${tensor.dtype.replace("DT_", "").toLowerCase()} ${shape}`;
}
