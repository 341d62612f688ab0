// Renders a model card. The card is a file of the model, so nothing in it is trusted: it becomes
// elements of a few kinds, and links only with http, https and mailto. Markup in it stays text, and
// images are named, not loaded.

import { h, table } from "./dom.js";

const FENCE = /^(```+|~~~+)\s*([\w-]*)\s*.*$/;
const HEADING = /^(#{1,6})\s+(.*?)\s*#*\s*$/;
const ITEM = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/;
const RULE = /^\s*([-*_])(\s*\1){2,}\s*$/;
const DIVIDER = /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;
const LINK = /^(https?:\/\/|mailto:)/i;
const MOST_DEPTH = 6;
const MOST_INLINE = 20000;

/** Returns the nodes of a Markdown text; its highest heading becomes one of level `level`. */
export function markdown(text, level = 3) {
  const lines = text.replace(/\r\n?/g, "\n").split("\n");
  const found = lines.filter((line) => HEADING.test(line)).map((line) => HEADING.exec(line)[1].length);
  return blocks(lines, level - Math.min(...found, 1), 0);
}

function blocks(lines, shift, depth) {
  const made = [];
  let at = 0;
  while (at < lines.length) {
    const line = lines[at];
    const fence = FENCE.exec(line);
    const heading = HEADING.exec(line);
    if (!line.trim()) at += 1;
    else if (fence) {
      const end = endOf(lines, at + 1, (each) => each.trim().startsWith(fence[1]));
      made.push(code(lines.slice(at + 1, end).join("\n")));
      at = end + 1;
    } else if (heading) {
      const level = Math.min(6, Math.max(1, heading[1].length + shift));
      made.push(h(`h${level}`, null, inline(heading[2])));
      at += 1;
    } else if (RULE.test(line)) {
      made.push(h("hr"));
      at += 1;
    } else if (line.startsWith(">") && depth < MOST_DEPTH) {
      const end = endOf(lines, at, (each) => !each.startsWith(">"));
      const inner = lines.slice(at, end).map((each) => each.replace(/^>\s?/, ""));
      made.push(h("blockquote", null, blocks(inner, shift, depth + 1)));
      at = end;
    } else if (line.includes("|") && at + 1 < lines.length && DIVIDER.test(lines[at + 1])) {
      const end = endOf(lines, at + 2, (each) => !each.includes("|"));
      made.push(rows(lines.slice(at, end)));
      at = end;
    } else if (ITEM.test(line) && depth < MOST_DEPTH) {
      const end = endOfList(lines, at);
      made.push(list(lines.slice(at, end), shift, depth));
      at = end;
    } else {
      const end = endOf(lines, at + 1, (each) => !each.trim() || FENCE.test(each) || HEADING.test(each) || ITEM.test(each));
      made.push(h("p", null, inline(lines.slice(at, end).map((each) => each.trim()).join(" "))));
      at = end;
    }
  }
  return made;
}

function endOf(lines, from, stops) {
  let at = from;
  while (at < lines.length && !stops(lines[at])) at += 1;
  return at;
}

function endOfList(lines, from) {
  return endOf(lines, from + 1, (each) => !ITEM.test(each) && !/^\s+\S/.test(each));
}

function list(lines, shift, depth) {
  const first = ITEM.exec(lines[0]);
  const items = [];
  for (const line of lines) {
    const item = ITEM.exec(line);
    if (item && item[1].length <= first[1].length) items.push([item[3]]);
    else items[items.length - 1].push(line.replace(/^ {1,4}/, ""));
  }
  const contents = items.map((item) => {
    const made = blocks(item, shift, depth + 1);
    // An item of one paragraph needs none.
    return h("li", null, made.length === 1 && made[0].tagName === "P" ? [...made[0].childNodes] : made);
  });
  return h(/\d/.test(first[2]) ? "ol" : "ul", null, contents);
}

function rows(lines) {
  const cells = (line) =>
    line.trim().replace(/^\||\|$/g, "").split(/(?<!\\)\|/).map((cell) => inline(cell.trim().replace(/\\\|/g, "|")));
  const body = lines.slice(2).map(cells);
  const head = cells(lines[0]);
  const numeric = head.map((_, i) => i).filter((i) => body.length && body.every((row) => /^[-\d.,%\s]*$/.test(textOf(row[i]))));
  return table(head.map(textOf).filter(Boolean).join(", ") || "Table of the model card", head, body, numeric);
}

function textOf(parts) {
  return (parts || []).map((part) => (typeof part === "string" ? part : part.textContent)).join("");
}

function code(text) {
  return h("pre.wrapped", { tabindex: "0" }, h("code", null, text));
}

// The kinds of text inside of a block, in the order in which they are tried at each place.
const INLINE = [
  [/^\\([\\`*_{}[\]()#+\-.!|<>~])/, (match) => match[1]],
  [/^(`+)(?!`)(.+?)(?<!`)\1(?!`)/, (match) => h("code", null, match[2].trim())],
  [/^!\[([^\]]*)\]\([^()\s]*(?:\s+"[^"]*")?\)/, (match) => h("em", null, `[image: ${match[1]}]`)],
  [/^\[([^\]]+)\]\(([^()\s]+)(?:\s+"[^"]*")?\)/, (match, depth) => link(match[2], inline(match[1], depth + 1))],
  [/^<((?:https?:\/\/|mailto:)[^<>\s]+)>/i, (match) => link(match[1], [match[1]])],
  [/^\*\*(?=\S)(.+?)(?<=\S)\*\*/, (match, depth) => h("strong", null, inline(match[1], depth + 1))],
  [/^__(?=\S)(.+?)(?<=\S)__(?!\w)/, (match, depth) => h("strong", null, inline(match[1], depth + 1))],
  [/^\*(?=[^\s*])(.+?)(?<=[^\s*])\*(?!\*)/, (match, depth) => h("em", null, inline(match[1], depth + 1))],
  [/^_(?=[^\s_])(.+?)(?<=[^\s_])_(?!\w)/, (match, depth) => h("em", null, inline(match[1], depth + 1))],
];

function inline(text, depth = 0) {
  if (text.length > MOST_INLINE) return [text]; // the patterns below would take long
  const made = [];
  let plain = "";
  let at = 0;
  while (at < text.length) {
    const rest = text.slice(at);
    const special = "\\`![<*_".includes(text[at]) && depth < MOST_DEPTH;
    const inWord = text[at] === "_" && /\w$/.test(text.slice(0, at));
    let element = null;
    for (const [pattern, make] of special && !inWord ? INLINE : []) {
      const match = pattern.exec(rest);
      if (match) {
        element = make(match, depth);
        at += match[0].length;
        break;
      }
    }
    if (element === null) {
      plain += text[at];
      at += 1;
    } else {
      if (plain) made.push(plain);
      plain = "";
      made.push(element);
    }
  }
  if (plain) made.push(plain);
  return made;
}

function link(address, content) {
  if (!LINK.test(address)) return h("span", { title: address }, content);
  return h("a", { href: address, rel: "noopener noreferrer", target: "_blank" }, content);
}
