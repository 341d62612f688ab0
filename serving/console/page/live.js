// The view of the live figures: rates, errors, percentiles by stage, batches and queue, by model.

import { h, facts, put, table } from "./dom.js";
import { bytes, ms, short, span, whole } from "./numbers.js";
import { barChart, timeChart } from "./plot.js";
import { ALL, QUANTILES } from "./history.js";
import { figure, switcher } from "./parts.js";

const PERCENTILES = QUANTILES.map((share) => `p${100 * share}`);
const STAGES = [
  ["request", "Requests answered OK, from the request to the answer"],
  ["queue", "Wait for a run"],
  ["run", "One run of the model"],
];

/** The live view; it draws itself anew when `update` is called. */
export class LiveView {
  constructor(place, recorder, list) {
    this.recorder = recorder;
    this.list = list;
    this.chosen = ALL;
    this.names = null;
    this.switch = h("div");
    this.cards = h("div", { "aria-label": "Figures of the last seconds", role: "group" });
    this.plots = h("div.plots");
    this.errors = h("div");
    put(
      place,
      h("h1", null, "Live"),
      !list.server.is_metered && h("p.notice", null, "The metrics are switched off (--monitoring_config_file), so this server counts no requests."),
      this.switch,
      this.cards,
      h("h2.sr-only", null, "Plots"),
      this.plots,
      h("h2", null, "Errors"),
      this.errors,
      h("p.quiet", null, "The page has collected these figures since it was opened; the server keeps none of them. Percentiles and batch sizes are those of the last 5 seconds, interpolated in the buckets of the server's histograms."),
    );
  }

  update() {
    const { recorder } = this;
    const names = [...recorder.points.keys()].filter((name) => name !== ALL).sort();
    if (this.names === null || names.join("\n") !== this.names.join("\n")) {
      this.names = names;
      this.drawSwitch();
    }
    this.drawCards();
    this.drawPlots();
    this.drawErrors();
  }

  drawSwitch() {
    const options = [[ALL, "all models"], ...this.names.map((name) => [name, name])];
    if (!options.some(([name]) => name === this.chosen)) this.chosen = ALL;
    const choose = (name) => {
      this.chosen = name;
      this.drawSwitch();
      this.update();
      this.switch.querySelector("[aria-pressed=true]").focus();
    };
    put(this.switch, switcher("Model", options, this.chosen, choose));
  }

  drawCards() {
    const point = this.recorder.last(this.chosen) || {};
    const { server } = this.recorder;
    const latency = point.request ? point.request.quantiles : [];
    const cores = this.recorder.cores[this.recorder.cores.length - 1];
    const failed = Object.values(point.errors || {}).reduce((sum, rate) => sum + rate, 0);
    put(
      this.cards,
      facts([
        ["requests/s", short(point.rate)],
        ["errors/s", short(point.rate === undefined ? undefined : failed)],
        ["p50", ms(latency[0] / 1000)],
        ["p90", ms(latency[1] / 1000)],
        ["p99", ms(latency[2] / 1000)],
        ["rows a run", short(point.rows && point.rows.mean)],
        ["in the queue", whole(point.queued)],
        ["requests in flight", whole(server.in_flight)],
        ["memory of the server", bytes(server.resident_bytes)],
        ["CPU cores in use", short(cores && cores[1])],
        server.workers !== undefined && ["workers", `${whole(server.workers_ready)} of ${whole(server.workers)}`],
        ["collected", span(this.recorder.at - this.recorder.began)],
      ]),
    );
  }

  drawPlots() {
    const { recorder, chosen } = this;
    const now = recorder.at;
    const { seconds } = recorder;
    const chart = (label, lines, logarithmic) => timeChart({ label, lines, now, seconds, logarithmic });
    const line = (style, pick) => ({ style, points: recorder.line(chosen, pick) });
    const last = recorder.last(chosen) || {};
    const who = chosen === ALL ? "all models" : chosen;
    const stages = STAGES.map(([stage, caption]) => {
      const lines = PERCENTILES.map((_, index) => line(`m${index}`, (point) => point[stage] && point[stage].quantiles[index] / 1000));
      const legend = PERCENTILES.map((text, index) => [`${text} ${last[stage] ? ms(last[stage].quantiles[index] / 1000) : "–"}`, `m${index}`]);
      return figure(`${stageTitle(stage)}, ms`, legend, chart(`${stageTitle(stage)} of ${who} in ms`, lines, true), `${caption}.`);
    });
    const codes = this.codes();
    const batches = recorder.batches(chosen);
    const bars = batches.map(([limit, runs], index) => [limit === undefined ? `>${batches[index - 1][0]}` : String(limit), runs]);
    const used = bars.length - [...bars].reverse().findIndex(([, runs]) => runs > 0);
    put(
      this.plots,
      figure(
        "Requests and errors a second",
        [[`answered ${short(last.rate)}`, "m0"], ...codes.map((code, index) => [`${code} ${short((last.errors || {})[code])}`, errorStyle(index)])],
        chart(`Requests a second of ${who}`, [line("m0", (point) => point.rate), ...codes.map((code, index) => line(errorStyle(index), (point) => point.errors[code] || 0))]),
      ),
      stages,
      figure(
        "Rows a run, and the queue",
        [[`rows a run ${short(last.rows && last.rows.mean)}`, "m0"], [`requests in the queue ${whole(last.queued)}`, "m1"], [`rows that wait or run ${whole(last.in_progress)}`, "m2"]],
        chart(`Rows a run and queue of ${who}`, [line("m0", (point) => point.rows && point.rows.mean), line("m1", (point) => point.queued), line("m2", (point) => point.in_progress)]),
      ),
      figure("Batch sizes", [], bars.some(([, runs]) => runs) ? barChart({ label: `Runs of ${who} by their rows`, bars: bars.slice(0, Math.max(used, 4)) }) : null,
        bars.some(([, runs]) => runs) ? "Runs since the page was opened by their rows: at most so many as the label says, and more than the label before." : "No run since the page was opened."),
    );
  }

  codes() {
    const points = this.recorder.points.get(this.chosen) || [];
    return [...new Set(points.flatMap((point) => Object.entries(point.errors || {}).filter(([, rate]) => rate > 0).map(([code]) => code)))].sort();
  }

  drawErrors() {
    const snapshot = this.recorder.recent[this.recorder.recent.length - 1];
    const models = snapshot ? Object.entries(snapshot.models).filter(([name]) => name !== ALL) : [];
    const wanted = models.filter(([name]) => this.chosen === ALL || name === this.chosen);
    const rows = wanted.flatMap(([name, model]) => Object.entries(model.errors).map(([code, count]) => [name, code, whole(count)]));
    const text = JSON.stringify(rows);
    if (text === this.shownErrors) return; // a new table would lose the focus
    this.shownErrors = text;
    put(this.errors, rows.length ? table("Errors since the start of the server", ["model", "code", "since the start of the server"], rows, [2]) : h("p", null, "None since the start of the server."));
  }
}

function stageTitle(stage) {
  return { request: "Latency", queue: "Queue", run: "Run" }[stage];
}

function errorStyle(index) {
  return index ? `m${3 + (index % 3)} d${1 + (index % 2)}` : "bad";
}
