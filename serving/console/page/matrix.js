// The recorded accuracy of a version, from its metrics.json.

import { h, facts, table } from "./dom.js";
import { bytes, percent, whole } from "./numbers.js";

const MOST_CLASSES = 30;

/** The accuracy of each precision, and the confusion matrix of the one that is served. */
export function accuracy(papers, served) {
  const variants = Object.entries(papers.variants).filter(([, entry]) => Number.isFinite(entry.top1));
  const notes = papers.notes.map((note) => h("p.notice", null, note));
  if (!variants.length) return [notes, h("p.quiet", null, "No accuracy is recorded for this version.")];
  const rows = variants.map(([precision, entry]) => [
    precision === served ? h("strong", null, `${precision}, served`) : precision,
    percent(entry.top1),
    intervalText(entry.top1_wilson_95),
    `${whole(entry.correct)} of ${whole(entry.n)}`,
    bytes(entry.bytes),
    precision === "fp32" || !Number.isFinite(entry.agreement) ? "–" : percent(entry.agreement),
  ]);
  const chosen = papers.variants[served] || variants[0][1];
  return [
    notes,
    table("Recorded accuracy", ["precision", "top-1", "95 % interval", "correct", "size", "same as fp32"], rows, [1, 2, 3, 4, 5]),
    h("p.quiet", null, `Recorded at the export, on ${papers.data.name || "test data"}.`),
    confusion(chosen, papers.class_names, papers.variants[served] ? served : variants[0][0]),
  ];
}

function intervalText(interval) {
  return Array.isArray(interval) && interval.length === 2 ? `${percent(interval[0])} to ${percent(interval[1])}` : "–";
}

function confusion(entry, names, precision) {
  const matrix = entry.confusion_matrix;
  const isMatrix = Array.isArray(matrix) && matrix.every((row) => Array.isArray(row) && row.length === matrix.length);
  if (!isMatrix || !matrix.length) return null;
  const name = (index) => String(names[index] === undefined ? index : names[index]);
  if (matrix.length > MOST_CLASSES) return [h("h5", null, `Most confused classes, ${precision}`), confusedPairs(matrix, name)];
  const cells = matrix.map((row, label) => {
    const total = row.reduce((sum, count) => sum + count, 0) || 1;
    return h(
      "tr",
      null,
      h("th", { scope: "row" }, name(label)),
      row.map((count, answer) =>
        h("td.number.shade", {
          class: label === answer ? "right" : "wrong",
          style: { "--share": shareOf(count / total, label === answer).toFixed(3) },
          title: `${name(label)} answered as ${name(answer)}: ${whole(count)} of ${whole(total)}`,
        }, whole(count)),
      ),
    );
  });
  return [
    h("h5", null, `Confusion matrix, ${precision}`),
    h(
      "div.scroll.matrix",
      { tabindex: "0", role: "group", "aria-label": `Confusion matrix of ${precision}` },
      h(
        "table",
        null,
        h("caption.quiet", null, "Rows: label. Columns: answer."),
        h("thead", null, h("tr", null, h("td"), matrix.map((_, index) => h("th", { scope: "col" }, name(index))))),
        h("tbody", null, cells),
      ),
    ),
  ];
}

/** Mistakes are rare: their shade grows four times as fast. */
function shareOf(share, isRight) {
  return Math.min(1, isRight ? share : 4 * share);
}

function confusedPairs(matrix, name) {
  const pairs = matrix.flatMap((row, label) => row.map((count, answer) => [label, answer, count]));
  const worst = pairs.filter(([label, answer, count]) => label !== answer && count > 0).sort((a, b) => b[2] - a[2]).slice(0, 20);
  return table("Most confused classes", ["label", "answer", "times"], worst.map(([label, answer, count]) => [name(label), name(answer), whole(count)]), [2]);
}

/** Number of parameters and classes of a version. */
export function modelFacts(papers) {
  return facts([
    Number.isFinite(papers.parameters) && ["parameters", whole(papers.parameters)],
    papers.class_names.length > 0 && ["classes", whole(papers.class_names.length)],
  ]);
}
