// The view of the models: versions, how they run, signatures, recorded accuracy and model card.

import { h, facts, put, table } from "./dom.js";
import { bytes, ms, whole } from "./numbers.js";
import { call } from "./api.js";
import { markdown } from "./markdown.js";
import { alertBox, stateBadge, tensorText } from "./parts.js";
import { accuracy, modelFacts } from "./matrix.js";

// With more models the versions are closed at first.
const MOST_OPEN = 3;

/** Draws the models into an element; the state of what is open is kept in `opened`, a Map. */
export function showModels(place, list, opened) {
  const models = list.models.map((model) => modelCard(model, list, opened));
  put(
    place,
    h("h1", null, "Models"),
    models.length ? models : h("p", null, "This server has no model."),
  );
}

function modelCard(model, list, opened) {
  const labels = Object.entries(model.labels);
  return h(
    "section.model",
    { "aria-label": model.name },
    h("h2", null, model.name),
    labels.length > 0 &&
      h("p.quiet", null, "Labels: ", labels.map(([label, version], index) => [index ? ", " : "", h("code", null, label), ` is version ${version}`])),
    model.complaint && h("p.alert", null, model.complaint),
    !model.versions.length && h("p.quiet", null, "No version was found."),
    model.versions.map((version, index) => versionDetails(model, version, index === 0 && list.models.length <= MOST_OPEN, opened)),
  );
}

function versionDetails(model, version, isFirst, opened) {
  const id = `${model.name}/${version.version}`;
  const labels = Object.entries(model.labels).filter(([, number]) => number === version.version).map(([label]) => label);
  const loaded = version.loaded;
  const words = [`version ${version.version}`, ...labels, loaded && `${loaded.precision} on ${device(loaded.provider)}`].filter(Boolean);
  const content = h("div.inside");
  const fill = () => {
    if (!content.hasChildNodes()) put(content, version.reason && h("p.alert", null, version.reason), loaded && loadedParts(model, version));
  };
  const open = opened.has(id) ? opened.get(id) : isFirst;
  if (open) fill();
  const details = h(
    "details.version",
    {
      open,
      ontoggle: (event) => {
        opened.set(id, event.target.open);
        if (event.target.open) fill();
      },
    },
    h("summary", null, h("h3", null, words.join(", ")), stateBadge(version.state, version.code)),
    content,
  );
  return details;
}

function device(provider) {
  return provider.replace(/ExecutionProvider$/, "");
}

function loadedParts(model, version) {
  const { loaded } = version;
  const graphs = Object.entries(loaded.graphs);
  const papers = h("div", null, h("p.quiet", { role: "status" }, "Reading metrics.json and the model card…"));
  fillPapers(papers, model.name, version);
  return [
    facts([
      ["precision", loaded.precision],
      ["execution provider", device(loaded.provider)],
      ["memory taken while loading", loaded.load_bytes ? bytes(loaded.load_bytes) : "–"],
      ...graphs.map(([file, size]) => [file, bytes(size)]),
      ["warm-up", ms(1000 * loaded.warm_up_seconds)],
      ["most rows in the queue", whole(loaded.max_rows)],
    ]),
    h(
      "div.columns",
      null,
      h("div", null, h("h4", null, "Recorded accuracy"), papers),
      h(
        "div",
        null,
        h("h4", null, "Batching"),
        h("ul.plain", null, Object.entries(loaded.signatures).map(([name, signature]) => verdict(name, signature))),
        h("h4", null, "Signatures"),
        signatures(loaded),
      ),
    ),
  ];
}

function verdict(name, signature) {
  const words = signature.batched ? "requests share runs" : "each request runs alone";
  const forced = signature.batched && !signature.independent ? " although its rows are not proved to be independent" : "";
  return h(
    "li",
    null,
    h("span.badge", { class: signature.batched ? "valid" : "over" }, signature.batched ? "batched" : "alone"),
    " ",
    h("code", null, name),
    `: ${words}${forced}. Evidence: ${signature.evidence}.`,
  );
}

function signatures(loaded) {
  const rows = Object.entries(loaded.signatures).flatMap(([name, signature]) => [
    ...signature.inputs.map((tensor) => [h("code", null, name), tensor.optional ? "input, optional" : "input", h("code", null, tensor.name), tensorText(tensor)]),
    ...signature.features.map((feature) => [h("code", null, name), "tf.Example", h("code", null, featureKey(feature)), tensorText(feature)]),
    ...signature.outputs.map((tensor) => [h("code", null, name), "output", h("code", null, tensor.name), tensorText(tensor)]),
  ]);
  return table("Signatures", ["signature", "part", "name", "type and shape"], rows);
}

function featureKey(feature) {
  return feature.kind === "image" ? `${feature.key}/encoded` : feature.key;
}

async function fillPapers(place, name, version) {
  try {
    const answer = await call(`/console/models/${encodeURIComponent(name)}/versions/${version.version}`);
    const papers = answer.document;
    put(
      place,
      modelFacts(papers),
      accuracy(papers, version.loaded.precision),
      papers.card ? cardDetails(papers.card) : h("p.quiet", null, "This version has no MODEL_CARD.md."),
    );
  } catch (error) {
    put(place, alertBox(error.message));
  }
}

function cardDetails(text) {
  const content = h("div.card-text");
  return h(
    "details",
    { ontoggle: (event) => event.target.open && !content.hasChildNodes() && put(content, markdown(text, 5)) },
    h("summary", null, "Model card"),
    content,
  );
}
