// Numbers as people read them.

/** A number with so many significant digits as are worth reading: 0.834, 12.3, 1,234. */
export function short(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1000) return Math.round(value).toLocaleString("en");
  return String(Number(value.toPrecision(3)));
}

/** A whole number with commas. */
export function whole(value) {
  return Number.isFinite(value) ? Math.round(value).toLocaleString("en") : "–";
}

/** Bytes in the largest unit that keeps a digit before the point. */
export function bytes(value) {
  if (!Number.isFinite(value)) return "–";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let index = 0;
  while (value >= 1000 && index < units.length - 1) {
    value /= 1000;
    index += 1;
  }
  return `${short(value)} ${units[index]}`;
}

/** Milliseconds with their unit. */
export function ms(value) {
  return Number.isFinite(value) ? `${short(value)} ms` : "–";
}

/** A share as per cent with two digits after the point. */
export function percent(value) {
  return Number.isFinite(value) ? `${(100 * value).toFixed(2)} %` : "–";
}

/** A time span in seconds as words: "3 min 20 s". */
export function span(seconds) {
  if (!Number.isFinite(seconds)) return "–";
  const parts = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const first = parts.findIndex(([, size]) => seconds >= size);
  if (first < 0) return "0 s";
  let rest = Math.floor(seconds);
  return parts
    .slice(first, first + 2)
    .map(([unit, size]) => {
      const count = Math.floor(rest / size);
      rest -= count * size;
      return count ? `${count} ${unit}` : "";
    })
    .filter(Boolean)
    .join(" ");
}
