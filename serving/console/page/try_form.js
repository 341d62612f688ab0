// "Try it" with any signature: a form made from it, the answer, and its times.

import { h, facts, put } from "./dom.js";
import { ms } from "./numbers.js";
import { call, modelPath } from "./api.js";
import { alertBox, answering, choice, field, tensorText } from "./parts.js";
import { readTensor, startingText } from "./tensors.js";
import { snippetView } from "./snippet_view.js";

const METHODS = { "tensorflow/serving/classify": "classify", "tensorflow/serving/regress": "regress" };
const MOST_SHOWN = 20000;

/** The view: a form for the version and signature that are chosen. */
export class FormView {
  constructor(place, list) {
    this.list = list;
    this.form = h("form", {
      onsubmit: (event) => {
        event.preventDefault();
        this.send();
      },
    });
    this.result = h("div", { "aria-live": "polite" });
    put(place, h("h2", null, "Any input"), this.form, this.result);
    this.versions = answering(list).map((each) => ({ ...each, id: `${each.model.name}/${each.version.version}` }));
    // A model that takes something else than pictures comes first: for those there is the view above.
    const first = this.versions.find(({ version }) => !Object.values(version.loaded.signatures).some((each) => each.features.some((one) => one.kind === "image")));
    this.draw((first || this.versions[0] || { id: "" }).id);
  }

  draw(id, signatureName) {
    const chosen = this.versions.find((each) => each.id === id);
    put(this.result);
    if (!chosen) {
      put(this.form, h("p.quiet", null, "No model answers now."));
      return;
    }
    const { signatures } = chosen.version.loaded;
    const names = Object.keys(signatures);
    const name = signatureName || (names.includes("serving_default") ? "serving_default" : names[0]);
    this.chosen = chosen;
    this.name = name;
    this.signature = signatures[name];
    this.method = this.signature.features.length ? METHODS[this.signature.method] : undefined;
    const models = this.versions.map((each) => [each.id, each.isLatest ? each.model.name : `${each.model.name}, version ${each.version.version}`]);
    this.fields = this.method ? [this.exampleField()] : this.signature.inputs.map((tensor) => this.tensorField(tensor));
    const isTooLong = this.fields.some(({ area }) => area.value === "");
    put(
      this.form,
      h("div.row", null,
        field("Model", choice(models, id, (next) => this.draw(next))),
        field("Signature", choice(names.map((each) => [each, each]), name, (next) => this.draw(id, next))),
      ),
      this.fields.map(({ label }) => label),
      isTooLong && h("p.quiet", null, "A value of this size is too long for a form; paste JSON, or use a client."),
      h("button.primary", { type: "submit" }, `Send to :${this.method || "predict"}`),
    );
  }

  tensorField(tensor) {
    const area = h("textarea", { rows: "3", spellcheck: "false", autocomplete: "off" }, startingText(tensor));
    const hint = `${tensorText(tensor)}${tensor.optional ? ", optional: leave it empty for the default" : ""}${tensor.dtype === "DT_STRING" ? '; bytes are written as {"b64": "…"}' : ""}`;
    return { tensor, area, label: field(tensor.name, area, hint) };
  }

  exampleField() {
    const example = Object.fromEntries(this.signature.features.filter((each) => each.required || each.kind === "variable").map((each) => [each.kind === "image" ? `${each.key}/encoded` : each.key, startOf(each)]));
    const area = h("textarea", { rows: "6", spellcheck: "false", autocomplete: "off" }, JSON.stringify(example, null, 1));
    const features = this.signature.features.map((each) => `${each.key}: ${tensorText(each)}`).join("; ");
    return { area, label: field("tf.Example", area, features) };
  }

  /** Reads the form; returns the call's path and body, and what the snippets need. */
  read() {
    const { model, version, isLatest } = this.chosen;
    const base = { model: model.name, version: isLatest ? "" : version.version, signature: this.name };
    const which = version.version;
    if (this.method) {
      const example = JSON.parse(this.fields[0].area.value);
      const floats = this.signature.features.filter((each) => each.dtype === "DT_FLOAT").map((each) => each.key);
      return {
        path: modelPath(model.name, which, `:${this.method}`),
        body: { signature_name: this.name, examples: [example] },
        made: { ...base, kind: "example", method: this.method, example, floats },
      };
    }
    const inputs = this.fields.filter(({ area, tensor }) => area.value.trim() || !tensor.optional).map(({ tensor, area }) => readTensor(tensor, area.value));
    return {
      path: modelPath(model.name, which, ":predict"),
      body: { signature_name: this.name, inputs: Object.fromEntries(inputs.map((each) => [each.name, each.value])) },
      made: { ...base, kind: "tensors", inputs },
    };
  }

  async send() {
    put(this.result, h("p.quiet", null, "…"));
    let read;
    try {
      read = this.read();
      const { document, stages, total } = await call(read.path, read.body);
      put(this.result, this.answerParts(document, stages, total), snippetView(read.made, this.list.server, null));
    } catch (error) {
      put(this.result, alertBox(error.message), read && snippetView(read.made, this.list.server, null));
    }
  }

  answerParts(document, stages, total) {
    const { loaded } = this.chosen.version;
    const text = JSON.stringify(document, null, 1);
    return [
      h("h3", null, "Answer"),
      facts([
        ["precision", loaded.precision],
        ["queue", ms(stages.queue)],
        ["model", ms(stages.compute)],
        ["server in total", ms(stages.total)],
        ["seen by this page", ms(total)],
      ]),
      h("pre.wrapped.output", { tabindex: "0", "aria-label": "Answer" }, text.length > MOST_SHOWN ? `${text.slice(0, MOST_SHOWN)}\n… and ${text.length - MOST_SHOWN} more characters` : text),
    ];
  }
}

function startOf(feature) {
  if (feature.kind === "image") return { b64: "" };
  const row = (feature.shape || [1]).slice(1).map((size) => (size < 0 ? 1 : size));
  const count = row.reduce((product, size) => product * size, 1);
  const element = feature.dtype === "DT_STRING" ? "" : 0;
  return Array.from({ length: Math.min(count, 10000) }, () => element);
}
