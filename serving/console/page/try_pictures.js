// "Try it" with a picture: all image classifiers answer it side by side.

import { h, facts, put } from "./dom.js";
import { ms, percent, short } from "./numbers.js";
import { call, modelPath } from "./api.js";
import { alertBox, answering } from "./parts.js";
import { fileOf, pixelsOf, preparePicture, samples } from "./pictures.js";
import { snippetView } from "./snippet_view.js";

const MOST_BARS = 12;
const CLASSIFY = "tensorflow/serving/classify";

/** The versions that classify pictures, each with how it is called. */
export function classifiers(list) {
  return answering(list).flatMap(({ model, version, isLatest }) => {
    const way = wayOf(version.loaded);
    return way ? [{ model, version, isLatest, ...way }] : [];
  });
}

/** How a version takes pictures: with Classify, as a file, or with Predict, as pixels. */
function wayOf(loaded) {
  const all = Object.entries(loaded.signatures);
  const byFile = all.find(([, each]) => each.method === CLASSIFY && each.features.length === 1 && each.features[0].kind === "image");
  const byPixels = all.find(([, each]) => each.inputs.length === 1 && isPicture(each.inputs[0]) && scoresOf(each, loaded));
  const usual = loaded.signatures.serving_default;
  const pixels = usual && usual.inputs.length === 1 && isPicture(usual.inputs[0]) ? usual.inputs[0] : null;
  if (byFile) return { signature: byFile[0], key: byFile[1].features[0].key, pixels };
  if (byPixels) return { signature: byPixels[0], key: null, pixels: byPixels[1].inputs[0], scores: scoresOf(byPixels[1], loaded) };
  return null;
}

function isPicture(tensor) {
  const { dtype, shape } = tensor;
  return dtype === "DT_UINT8" && shape !== null && shape.length === 4 && shape[1] > 0 && shape[2] > 0 && (shape[3] === 1 || shape[3] === 3);
}

/** The output with a score for each class: a float of shape (any, classes). */
function scoresOf(signature, loaded) {
  const classes = loaded.class_names.length;
  const fits = ({ dtype, shape }) => dtype === "DT_FLOAT" && shape !== null && shape.length === 2 && (classes ? shape[1] === classes : shape[1] > 1);
  return signature.outputs.find(fits);
}

async function answerOf(way, picture, signal) {
  const { model, version } = way;
  if (way.key !== null) {
    const body = { signature_name: way.signature, examples: [{ [`${way.key}/encoded`]: { b64: picture.base64 } }] };
    const answer = await call(modelPath(model.name, version.version, ":classify"), body, signal);
    return { ...answer, classes: answer.document.results[0] };
  }
  const body = { signature_name: way.signature, instances: [pixelsOf(picture.bitmap, way.pixels.shape)] };
  const answer = await call(modelPath(model.name, version.version, ":predict"), body, signal);
  const [row] = answer.document.predictions;
  const scores = Array.isArray(row) ? row : row[way.scores.name];
  const names = version.loaded.class_names;
  return { ...answer, classes: scores.map((score, index) => [names[index] === undefined ? String(index) : names[index], score]) };
}

/** The view: it takes pictures that are dropped, pasted, chosen or samples. */
export class PictureView {
  constructor(place, list) {
    this.list = list;
    this.running = null;
    this.preview = h("div.preview");
    this.results = h("div.answers", { "aria-live": "polite" });
    const file = h("input", { type: "file", accept: "image/*", id: "picture-file", onchange: (event) => {
        this.take(event.target.files[0]);
        event.target.value = ""; // so that the same file can be chosen again
      } });
    this.zone = h(
      "div.drop",
      {
        ondragover: (event) => {
          event.preventDefault();
          this.zone.classList.add("over");
        },
        ondragleave: () => this.zone.classList.remove("over"),
        ondrop: (event) => {
          event.preventDefault();
          this.zone.classList.remove("over");
          this.take(event.dataTransfer.files[0]);
        },
      },
      h("label", { for: "picture-file" }, h("strong", null, "Drop a picture here"), ", paste one, or choose a file: "),
      file,
      h("div.samples", { role: "group", "aria-label": "Sample pictures" }, samples().map(([name, url]) =>
        h("button.sample", { type: "button", title: `Sample: ${name}`, onclick: () => this.take(fileOf(url)) }, h("img", { src: url, alt: name, width: "48", height: "48" })),
      )),
    );
    put(place, h("h2", null, "A picture"), this.zone, this.preview, this.results);
  }

  /** Takes a picture from the clipboard, if it holds one. */
  paste(event) {
    const item = [...event.clipboardData.items].find((each) => each.type.startsWith("image/"));
    if (!item) return;
    event.preventDefault();
    this.take(item.getAsFile());
  }

  async take(file) {
    if (!file) return;
    if (this.running) this.running.abort();
    const running = new AbortController();
    this.running = running;
    try {
      const picture = await preparePicture(file);
      if (running.signal.aborted) return;
      this.showPicture(picture);
      await this.answer(picture, running.signal);
    } catch (error) {
      if (error.name !== "AbortError") put(this.preview, alertBox(error.message));
    }
  }

  showPicture(picture) {
    const url = URL.createObjectURL(picture.blob);
    const image = h("img", { src: url, alt: "The picture that was sent", onload: () => setTimeout(() => URL.revokeObjectURL(url), 60000) });
    put(this.preview, image, h("p.quiet", null, picture.note));
  }

  async answer(picture, signal) {
    const ways = classifiers(this.list);
    const cards = ways.map((way) => h("section.answer", { "aria-label": titleOf(way) }, h("h3", null, titleOf(way)), h("p.quiet", null, "…")));
    put(this.results, cards);
    // One after the other: side by side they would wait for each other's processor time.
    for (const [index, way] of ways.entries()) {
      try {
        const answer = await answerOf(way, picture, signal);
        if (signal.aborted) return;
        put(cards[index], answerCard(way, answer), this.copyAs(way, picture));
      } catch (error) {
        if (error.name === "AbortError") return;
        put(cards[index], h("h3", null, titleOf(way)), alertBox(error.message));
      }
    }
  }

  copyAs(way, picture) {
    const version = way.isLatest ? "" : way.version.version;
    const file = h("a.button", { href: "#", download: "picture.png", onclick: (event) => event.target.setAttribute("href", urlFor(picture.blob)) }, "Save picture.png");
    const made =
      way.key === null
        ? { kind: "tensors", model: way.model.name, version, signature: way.signature, inputs: [pixelInput(way, picture)] }
        : { kind: "picture", model: way.model.name, version, signature: way.signature, key: way.key, pixels: way.pixels };
    return h("details", null, h("summary", null, "Copy as a command or program"), snippetView(made, this.list.server, way.key === null ? null : file));
  }
}

function urlFor(blob) {
  const url = URL.createObjectURL(blob);
  setTimeout(() => URL.revokeObjectURL(url), 60000);
  return url;
}

function pixelInput(way, picture) {
  const pixels = [pixelsOf(picture.bitmap, way.pixels.shape)];
  return { name: way.pixels.name, dtype: "DT_UINT8", value: pixels, shape: [1, ...way.pixels.shape.slice(1)], flat: pixels.flat(3) };
}

function titleOf({ model, version, isLatest }) {
  return isLatest ? model.name : `${model.name}, version ${version.version}`;
}

function answerCard(way, { classes, stages, total }) {
  const { loaded } = way.version;
  const best = classes.reduce((most, each) => (each[1] > most[1] ? each : most), classes[0]);
  const shown = classes.length > MOST_BARS ? [...classes].sort((a, b) => b[1] - a[1]).slice(0, MOST_BARS) : classes;
  const most = Math.max(...classes.map(([, score]) => score), 1e-9);
  const areShares = classes.every(([, score]) => score >= 0 && score <= 1);
  const text = (score) => (areShares ? percent(score) : short(score));
  return [
    h("h3", null, titleOf(way)),
    h("p", null, h("strong.best", null, best[0]), ` ${text(best[1])}`),
    h(
      "table.bars",
      null,
      h("caption.sr-only", null, `Score of each class by ${titleOf(way)}`),
      h("thead.sr-only", null, h("tr", null, h("th", { scope: "col" }, "class"), h("th", { scope: "col" }, "bar"), h("th", { scope: "col" }, "score"))),
      h("tbody", null, shown.map(([name, score]) =>
        h("tr", { class: name === best[0] ? "best" : "" },
          h("th", { scope: "row" }, name),
          h("td.bar-cell", { "aria-hidden": "true" }, h("div.bar-fill", { style: { "--share": Math.max(0, areShares ? score : score / most).toFixed(4) } })),
          h("td.number", null, text(score)),
        ),
      )),
    ),
    facts([
      ["precision", loaded.precision],
      ["queue", ms(stages.queue)],
      ["model", ms(stages.compute)],
      ["server in total", ms(stages.total)],
      ["seen by this page", ms(total)],
    ]),
  ];
}
