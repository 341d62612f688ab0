// What the page has seen so far: it asks for sums since the server's start, and makes rates and
// percentiles of the differences. The server keeps nothing of this.

const MOST_SECONDS = 600;
// Percentiles and means are those of the last seconds, because a second alone may have few requests.
const WINDOW_SECONDS = 5;
// After a longer pause the lines of the plots are interrupted.
const PAUSE_SECONDS = 3.5;
const DISTRIBUTIONS = ["request", "queue", "run", "rows"];
const GAUGES = ["queued", "in_progress", "most_rows"];

/** Name of the sum over all models. */
export const ALL = "";
export const QUANTILES = [0.5, 0.9, 0.99];

/** Collects the answers of `/console/figures` of the last ten minutes. */
export class Recorder {
  /** @param {Object<string, number[]>} limits Upper limits of the buckets, by distribution. */
  constructor(limits) {
    this.limits = limits;
    this.points = new Map(); // by model: one for each answer, with the differences to the one before
    this.server = {}; // the last answer's figures of the whole server
    this.at = null; // time of the last answer, on the server's clock
    this.began = null;
    this.cores = []; // [time, CPU seconds in a second]
    this.recent = []; // answers of the last seconds
    this.first = null;
  }

  /** Adds an answer. A restart of the server begins anew. */
  add(answer) {
    const models = { ...answer.models, [ALL]: sumOf(Object.values(answer.models)) };
    const now = { at: answer.at, models, cpu: answer.server.cpu_seconds };
    const last = this.recent[this.recent.length - 1];
    if (last && now.at === last.at) return; // the server made no new answer since
    if (last && (now.at < last.at || now.cpu < last.cpu)) {
      this.recent = [];
      this.first = null;
    }
    if (last && now.at < last.at) {
      this.points.clear();
      this.cores = [];
    }
    this.first = this.first || now;
    this.began = this.began === null || now.at < this.began ? now.at : this.began;
    this.at = now.at;
    this.server = answer.server;
    const before = this.recent[this.recent.length - 1];
    this.recent.push(now);
    while (this.recent.length > 2 && now.at - this.recent[1].at >= WINDOW_SECONDS) this.recent.shift();
    if (before) {
      this.keep(this.cores, [now.at, (now.cpu - before.cpu) / (now.at - before.at)], (each) => each[0]);
      for (const name of Object.keys(models)) this.addPoint(name, before, now);
    }
  }

  addPoint(name, before, now) {
    const known = this.points.get(name) || [];
    this.points.set(name, known);
    if (now.at - before.at > PAUSE_SECONDS) {
      known.push({ at: before.at + 0.01 });
      this.recent = [before, now];
    }
    const oldest = this.recent.find((each) => each.models[name]) || now;
    const made = before.models[name] && pointOf(name, before, oldest, now, this.limits);
    this.keep(known, made || { at: now.at }, (each) => each.at);
  }

  keep(list, item, timeOf) {
    list.push(item);
    while (list.length && timeOf(list[0]) < this.at - MOST_SECONDS) list.shift();
  }

  /** The newest point of a model; undefined before the second answer. */
  last(name) {
    const known = this.points.get(name) || [];
    return known[known.length - 1];
  }

  /** One line of a plot: `[time, value]` of each point; `pick` returns the value or undefined. */
  line(name, pick) {
    return (this.points.get(name) || []).map((point) => {
      const value = point.rate === undefined ? undefined : pick(point);
      return [point.at, Number.isFinite(value) ? value : null];
    });
  }

  /** Runs by their number of rows since the page was opened: `[limit, runs]`. */
  batches(name) {
    const newest = this.recent[this.recent.length - 1];
    if (!newest || !newest.models[name]) return [];
    const start = this.first.models[name];
    const counts = differences(start && start.rows, newest.models[name].rows);
    return counts.map((count, index) => [this.limits.rows[index], count]);
  }

  /** Seconds that the plots show: what was collected, but one minute at least. */
  get seconds() {
    return Math.min(MOST_SECONDS, Math.max(60, this.at - this.began));
  }
}

function pointOf(name, before, oldest, now, limits) {
  const [earlier, later_] = [before.models[name], now.models[name]];
  const seconds = now.at - before.at;
  const rate = (later_.answered - earlier.answered) / seconds;
  if (rate < 0) return null; // the model has been loaded anew
  const point = { at: now.at, rate, errors: {} };
  for (const [code, count] of Object.entries(later_.errors)) {
    const more = (count - (earlier.errors[code] || 0)) / seconds;
    if (more >= 0) point.errors[code] = more;
  }
  for (const gauge of GAUGES) point[gauge] = later_[gauge];
  for (const each of DISTRIBUTIONS) {
    const counts = differences(oldest.models[name] && oldest.models[name][each], later_[each]);
    const total = counts.reduce((sum, count) => sum + count, 0);
    if (!total) continue;
    const start = oldest.models[name] && oldest.models[name][each] ? oldest.models[name][each].sum : 0;
    point[each] = {
      total,
      mean: (later_[each].sum - start) / total,
      quantiles: QUANTILES.map((share) => quantile(counts, limits[each], share)),
    };
  }
  return point;
}

/** New values in each bucket between two distributions; empty if they cannot be compared. */
function differences(start, end) {
  if (!end) return [];
  const cumulative = end.counts.map((count, index) => count - (start ? start.counts[index] : 0));
  const counts = cumulative.map((count, index) => count - (index ? cumulative[index - 1] : 0));
  return counts.some((count) => count < 0) ? [] : counts;
}

/** The quantile of counts in buckets, interpolated inside of the bucket as Prometheus does. */
export function quantile(counts, limits, share) {
  const total = counts.reduce((sum, count) => sum + count, 0);
  let left = share * total;
  for (let index = 0; index < limits.length; index += 1) {
    if (left <= counts[index] && counts[index] > 0) {
      const low = index ? limits[index - 1] : 0;
      return low + (limits[index] - low) * (left / counts[index]);
    }
    left -= counts[index];
  }
  return limits[limits.length - 1];
}

function sumOf(models) {
  const sum = { answered: 0, errors: {}, calls: {} };
  for (const model of models) {
    sum.answered += model.answered;
    for (const field of ["errors", "calls"]) {
      for (const [name, count] of Object.entries(model[field])) sum[field][name] = (sum[field][name] || 0) + count;
    }
    for (const gauge of GAUGES) if (model[gauge] !== undefined) sum[gauge] = (sum[gauge] || 0) + model[gauge];
    for (const each of DISTRIBUTIONS) {
      if (!model[each]) continue;
      const known = sum[each] || { counts: model[each].counts.map(() => 0), sum: 0 };
      sum[each] = {
        counts: known.counts.map((count, index) => count + model[each].counts[index]),
        sum: known.sum + model[each].sum,
      };
    }
  }
  return sum;
}
