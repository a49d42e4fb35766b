// SPDX-License-Identifier: MIT
//
// A small part of Markdown as nodes: code, headings, lists, quotations, tables, bold, italic. Everything else is text.
// Nodes are made of text alone: nothing that a model writes is ever read as HTML, and there are no links or images, which
// could carry a conversation elsewhere. Long lines and paragraphs are text as well, so that no pattern takes long.

const LONG_LINE = 2_000;
const LONG_BLOCK = 20_000;

function element(name, className, ...children) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

// ---- inline ------------------------------------------------------------------------------------

const INLINE = /(`+)([^`]|[^`][\s\S]*?[^`])\1(?!`)|\*\*(?=\S)([\s\S]*?\S)\*\*(?!\*)|(?<![\w*])\*(?=[^\s*])([^*]*?[^\s*])\*(?![\w*])/g;

function inline(text, depth = 0) {
  if (text.length > LONG_BLOCK) return [text];
  const nodes = [];
  let at = 0;
  for (const match of text.matchAll(INLINE)) {
    const [whole, , code, bold, italic] = match;
    if (match.index > at) nodes.push(text.slice(at, match.index));
    if (code !== undefined) nodes.push(element("code", "", code.replace(/^ (.*) $/, "$1")));
    else if (depth > 3) nodes.push(whole);
    else if (bold !== undefined) nodes.push(element("strong", "", ...inline(bold, depth + 1)));
    else nodes.push(element("em", "", ...inline(italic, depth + 1)));
    at = match.index + whole.length;
  }
  if (at < text.length) nodes.push(text.slice(at));
  return nodes;
}

// ---- blocks ------------------------------------------------------------------------------------

const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([\w+#.-]*)[^`]*$/;
const HEADING = /^(#{1,6})\s+(.+?)\s*#*$/;
const ITEM = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/;
const QUOTE = /^>\s?(.*)$/;
const RULE = /^ {0,3}([-*_])(?:\s*\1){2,}\s*$/;
const TABLE = /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)+\|?\s*$/;
const cells = (line) => line.trim().replace(/^\||\|$/g, "").split("|").map((cell) => cell.trim());

// The blocks of a text: {kind, source, …}. A block whose source has not changed need not be made again.
export function blocksOf(text) {
  const lines = text.split("\n");
  const blocks = [];
  let i = 0;
  const take = (kind, from, more) => blocks.push({ kind, source: lines.slice(from, i).join("\n"), ...more });
  const is = (pattern, line) => (line.length <= LONG_LINE ? line.match(pattern) : null);
  const starts = (line) => [FENCE, HEADING, ITEM, QUOTE, RULE].some((pattern) => is(pattern, line));
  while (i < lines.length) {
    const from = i;
    const line = lines[i];
    const fence = is(FENCE, line);
    if (line.trim() === "") {
      i++;
    } else if (fence) {
      const closing = (other) => other.trim().startsWith(fence[1]) && !other.trim().replaceAll(fence[1][0], "");
      i++;
      while (i < lines.length && !closing(lines[i])) i++;
      const code = lines.slice(from + 1, i).join("\n");
      if (i < lines.length) i++;
      take("code", from, { language: fence[2], code });
    } else if (is(HEADING, line)) {
      i++;
      take("heading", from);
    } else if (is(RULE, line)) {
      i++;
      take("rule", from);
    } else if (is(ITEM, line)) {
      while (i < lines.length && (is(ITEM, lines[i]) || is(/^\s+\S/, lines[i]))) i++;
      take("list", from);
    } else if (is(QUOTE, line)) {
      while (i < lines.length && is(QUOTE, lines[i])) i++;
      take("quote", from);
    } else if (line.includes("|") && is(TABLE, lines[i + 1] ?? "")) {
      i += 2;
      while (i < lines.length && lines[i].includes("|")) i++;
      take("table", from);
    } else {
      i++;
      while (i < lines.length && lines[i].trim() !== "" && !starts(lines[i])) i++;
      take("paragraph", from);
    }
  }
  return blocks;
}

function list(source) {
  const open = []; // {indent, list}, from the outermost one
  let item = null;
  for (const line of source.split("\n")) {
    const match = line.match(ITEM);
    if (!match) {
      item?.append("\n", ...inline(line.trim()));
      continue;
    }
    const [, spaces, mark, text] = match;
    while (open.length > 1 && open.at(-1).indent > spaces.length) open.pop();
    if (!open.length || (open.at(-1).indent < spaces.length && open.length < 6)) {
      const made = element(/\d/.test(mark) ? "ol" : "ul", "");
      if (made.tagName === "OL") made.start = Number.parseInt(mark, 10);
      item?.append(made);
      open.push({ indent: spaces.length, list: made });
    }
    item = element("li", "", ...inline(text));
    open.at(-1).list.append(item);
  }
  return open[0].list;
}

function table(source) {
  const [head, , ...rows] = source.split("\n").map(cells);
  const row = (name, values) =>
    element("tr", "", ...values.map((value) => element(name, "", ...inline(value))));
  return element(
    "div",
    "table",
    element("table", "", element("thead", "", row("th", head)), element("tbody", "", ...rows.map((values) => row("td", values)))),
  );
}

// The element of a block. `copy(text)` is called by the button of a code block.
export function blockElement(block, copy) {
  switch (block.kind) {
    case "code": {
      const button = element("button", "quiet", "Copy");
      button.type = "button";
      button.addEventListener("click", () => copy(block.code, button));
      const head = element("div", "code-head", element("span", "", block.language || "code"), button);
      return element("div", "code", head, element("pre", "", element("code", "", block.code)));
    }
    case "heading": {
      const [, marks, text] = block.source.match(HEADING);
      return element(`h${Math.min(6, marks.length + 2)}`, "", ...inline(text));
    }
    case "rule":
      return element("hr", "");
    case "list":
      return list(block.source);
    case "quote":
      return element("blockquote", "", ...inline(block.source.replace(/^>\s?/gm, "")));
    case "table":
      return table(block.source);
    default:
      return element("p", "", ...inline(block.source));
  }
}
