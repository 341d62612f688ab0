// Charts in the look of the reports: inline SVG of 440 units' width, coloured by style classes.

import { s } from "./dom.js";
import { short } from "./numbers.js";

const PLOT_WIDTH = 440;
const PLOT_HEIGHT = 220;
const [RIGHT, TOP, BOTTOM] = [14, 12, 28];
const DIGIT = 7;

/** A linear scale from 0 to a little more than `most`. */
function linearScale(most) {
  const high = most > 0 ? most * 1.06 : 1;
  const rough = high / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((times) => times * power).reduce((best, each) => (Math.abs(each - rough) < Math.abs(best - rough) ? each : best));
  const ticks = [];
  for (let value = 0; value <= high * 1.0001; value += step) ticks.push(Number(value.toPrecision(6)));
  return { share: (value) => value / high, ticks };
}

/** A logarithmic scale that holds the values with a little room. */
function logarithmicScale(least, most) {
  const [low, high] = [least / 1.25, most * 1.25];
  const decades = Math.log10(high / low);
  const times = decades > 3.5 ? [1] : decades > 2 ? [1, 3] : [1, 2, 5];
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
    for (const each of times) {
      const value = each * 10 ** power;
      if (value >= low && value <= high) ticks.push(Number(value.toPrecision(6)));
    }
  }
  return { share: (value) => Math.log(Math.max(value, low) / low) / Math.log(high / low), ticks };
}

function scaleOf(values, mayBeLogarithmic) {
  const positive = values.filter((value) => value > 0);
  const most = Math.max(0, ...positive);
  const least = Math.min(...positive);
  return mayBeLogarithmic && most > 20 * least ? logarithmicScale(least, most) : linearScale(most);
}

/**
 * Draws values over the last minutes.
 *
 * @param {Object} chart
 * @param {string} chart.label What the chart shows, for screen readers.
 * @param {Array<{style: string, points: Array<[number, number|null]>}>} chart.lines Time in seconds
 *     and value; null interrupts the line.
 * @param {number} chart.now Time at the right edge.
 * @param {number} chart.seconds Seconds between the left and the right edge.
 * @param {boolean} [chart.logarithmic] Whether values that differ more than twentyfold get a
 *     logarithmic scale.
 */
export function timeChart({ label, lines, now, seconds, logarithmic = false }) {
  const values = lines.flatMap((line) => line.points.map((point) => point[1])).filter((value) => value !== null);
  const y = scaleOf(values, logarithmic);
  const [left, drawn, down] = frameOf(y);
  const across = (at) => left + (1 - (now - at) / seconds) * (PLOT_WIDTH - left - RIGHT);
  for (const [ago, text] of timeTicks(seconds)) {
    const x = across(now - ago);
    drawn.push(s("line.grid", { x1: x, x2: x, y1: TOP, y2: PLOT_HEIGHT - BOTTOM }));
    drawn.push(s("text.tick", { class: ago ? "middle" : "end", x: ago ? x : PLOT_WIDTH - 2, y: PLOT_HEIGHT - BOTTOM + 17 }, text));
  }
  for (const { style, points } of lines) {
    const path = pathOf(points.filter(([at]) => at >= now - seconds), across, down);
    if (path) drawn.push(s("path.line", { class: style, d: path }));
  }
  return canvas(label, drawn);
}

function timeTicks(seconds) {
  const step = [15, 30, 60, 120].find((each) => seconds / each <= 5) || 120;
  const ticks = [[0, "now"]];
  for (let ago = step; ago < seconds; ago += step) ticks.push([ago, ago % 60 ? `−${ago} s` : `−${ago / 60} min`]);
  return ticks;
}

function pathOf(points, across, down) {
  let path = "";
  let pen = "M";
  points.forEach(([at, value], index) => {
    if (value === null) {
      pen = "M";
      return;
    }
    const place = `${across(at).toFixed(1)} ${down(value).toFixed(1)}`;
    const isAlone = pen === "M" && (index + 1 === points.length || points[index + 1][1] === null);
    path += isAlone ? `M${place}h0.1` : `${pen}${place}`;
    pen = "L";
  });
  return path;
}

/** Draws a bar for each `[name, value]`. */
export function barChart({ label, bars }) {
  const y = linearScale(Math.max(0, ...bars.map(([, value]) => value)));
  const [left, drawn, down] = frameOf(y);
  const width = (PLOT_WIDTH - left - RIGHT) / Math.max(1, bars.length);
  bars.forEach(([name, value], index) => {
    const x = left + index * width;
    const top = down(value);
    drawn.push(
      s("rect.cell.m0", { x: x + width * 0.15, y: top, width: width * 0.7, height: Math.max(0, PLOT_HEIGHT - BOTTOM - top) }, s("title", null, `${name}: ${short(value)}`)),
      s("text.tick.middle", { x: x + width / 2, y: PLOT_HEIGHT - BOTTOM + 17 }, name),
    );
  });
  return canvas(label, drawn);
}

/** Returns the left edge of the plot, the shapes of its axes, and the place of a value. */
function frameOf(y) {
  const left = 12 + Math.max(26, DIGIT * Math.max(...y.ticks.map((value) => tickText(value).length)));
  const down = (value) => PLOT_HEIGHT - BOTTOM - Math.min(1, Math.max(0, y.share(value))) * (PLOT_HEIGHT - TOP - BOTTOM);
  const drawn = y.ticks.flatMap((value) => [
    s("line.grid", { x1: left, x2: PLOT_WIDTH - RIGHT, y1: down(value), y2: down(value) }),
    s("text.tick.end", { x: left - 6, y: down(value) + 4.5 }, tickText(value)),
  ]);
  drawn.push(s("path.axis", { d: `M${left} ${TOP}V${PLOT_HEIGHT - BOTTOM}H${PLOT_WIDTH - RIGHT}` }));
  return [left, drawn, down];
}

function tickText(value) {
  return value.toLocaleString("en", { maximumSignificantDigits: 6 });
}

function canvas(label, drawn) {
  return s("svg", { viewBox: `0 0 ${PLOT_WIDTH} ${PLOT_HEIGHT}`, role: "img", "aria-label": label }, drawn);
}

/** A sample of a line, for a legend. */
export function swatch(style) {
  return s("svg.swatch", { viewBox: "0 0 28 14", "aria-hidden": "true" }, s("path.line", { class: style, d: "M1 7H27" }));
}
