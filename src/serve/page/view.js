// SPDX-License-Identifier: MIT
//
// Turns on the screen. A chat's answers are shown with Markdown; a continued text is shown as it is.

import { versionOf } from "./conversation.js";
import { blockElement, blocksOf } from "./markdown.js";

const ICONS = {
  copy: "M9 9V6.5A1.5 1.5 0 0 1 10.5 5h7A1.5 1.5 0 0 1 19 6.5v7a1.5 1.5 0 0 1-1.5 1.5H15M6.5 9h7A1.5 1.5 0 0 1 15 10.5v7a1.5 1.5 0 0 1-1.5 1.5h-7A1.5 1.5 0 0 1 5 17.5v-7A1.5 1.5 0 0 1 6.5 9Z",
  done: "m5 12.5 4.5 4.5L19 7.5",
  again: "M18.5 8.5A7.5 7.5 0 1 0 19.5 12m0-7v3.700h-3.700",
  back: "m14 6-6 6 6 6",
  forth: "m10 6 6 6-6 6",
};

export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

function make(name, className, ...children) {
  const made = document.createElement(name);
  made.className = className;
  made.append(...children);
  return made;
}

export function button(title, className, ...children) {
  const made = make("button", className, ...children);
  made.type = "button";
  made.title = title;
  made.setAttribute("aria-label", title);
  return made;
}

// Copies text; also where the page is not served over HTTPS, and the clipboard is not offered.
export async function copyText(text, from) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = make("textarea", "hidden");
    area.value = text;
    (from.closest("dialog") ?? document.body).append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    from.focus();
  }
  from.classList.add("copied");
  setTimeout(() => from.classList.remove("copied"), 1500);
}

export const number = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
export function speed(rate) {
  return rate === null ? "" : `${number.format(rate >= 20 ? rate : Math.round(rate * 10) / 10)} tok/s`;
}
export function duration(ms) {
  if (ms === null) return "";
  return ms < 1000 ? `${number.format(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

// What a version's line says, once it is over.
function summary(version) {
  const parts = [];
  if (version.state === "stopped") parts.push("stopped");
  if (version.reason === "length") parts.push("ended by the limit of tokens");
  if (version.tokens) parts.push(`${number.format(version.tokens)} tokens`);
  if (version.rate) parts.push(speed(version.rate));
  if (version.firstMs !== null) parts.push(`first after ${duration(version.firstMs)}`);
  return parts.join(" · ");
}

// One answer: its text, which grows, and what can be done with it.
class AnswerView {
  #plain;
  #blocks = []; // as they are shown
  #shown = ""; // the text, if plain
  #node = null;

  constructor(turn, plain, does) {
    this.turn = turn;
    this.#plain = plain;
    this.text = make("div", plain ? "text plain" : "text");
    this.waiting = make("span", "waiting-text");
    this.progress = make("progress", "");
    this.progress.hidden = true;
    this.progress.setAttribute("aria-label", "Prompt read");
    const waiting = make("div", "waiting", make("span", "dots"), this.waiting, this.progress);
    this.note = make("p", "note");
    this.meta = make("span", "meta");
    this.back = button("Earlier version", "icon small", icon("back"));
    this.forth = button("Later version", "icon small", icon("forth"));
    this.which = make("span", "which");
    this.copy = button("Copy", "icon small copy", icon("copy"), icon("done"));
    this.again = button("Regenerate", "icon small", icon("again"));
    this.versions = make("span", "versions", this.back, this.which, this.forth);
    this.actions = make("div", "actions", this.copy, this.again, this.versions, this.meta);
    this.element = make("li", "turn answer", make("h2", "hidden", "Answer"), waiting, this.text, this.note, this.actions);
    this.copy.addEventListener("click", () => does.copy(turn, this.copy));
    this.again.addEventListener("click", () => does.again(turn));
    this.back.addEventListener("click", () => does.version(turn, -1));
    this.forth.addEventListener("click", () => does.version(turn, 1));
    this.copyCode = copyText;
  }

  // The text as far as it has come: only what has changed is made anew.
  updateText() {
    const { text } = versionOf(this.turn);
    if (this.#plain) {
      if (this.#node && text.startsWith(this.#shown)) {
        this.#node.appendData(text.slice(this.#shown.length));
      } else {
        this.#node = document.createTextNode(text);
        this.text.replaceChildren(this.#node);
      }
      this.#shown = text;
      return;
    }
    const blocks = blocksOf(text);
    let same = 0;
    while (
      same < blocks.length &&
      blocks[same].source === this.#blocks[same]?.source &&
      blocks[same].kind === this.#blocks[same].kind
    )
      same++;
    while (this.text.childElementCount > same) this.text.lastElementChild.remove();
    for (const block of blocks.slice(same)) {
      const made = blockElement(block, this.copyCode);
      made.dir = "auto";
      this.text.append(made);
    }
    this.#blocks = blocks;
  }

  // What it waits for; `done` of 1.
  wait(text, done) {
    this.waiting.textContent = text;
    this.progress.hidden = done === null;
    if (done !== null) this.progress.value = done;
  }

  update() {
    const version = versionOf(this.turn);
    const running = version.state === "running";
    this.updateText();
    this.element.dataset.state = version.state;
    this.element.classList.toggle("waits", running && !version.text);
    this.text.setAttribute("aria-busy", running);
    this.wait("", null);
    this.note.textContent = version.note;
    this.note.hidden = !version.note;
    this.actions.hidden = running;
    this.meta.textContent = summary(version);
    this.versions.hidden = this.turn.versions.length < 2;
    this.which.textContent = `${this.turn.shown + 1}/${this.turn.versions.length}`;
    this.back.disabled = this.turn.shown === 0;
    this.forth.disabled = this.turn.shown === this.turn.versions.length - 1;
  }
}

export class View {
  #list;
  #answers = new Map(); // turn → its view
  #does;
  #frame = 0;
  #growing = null;
  #next = 0; // the earliest time of the next drawing

  // `does`: copy(turn, button), again(turn), version(turn, step): what the buttons do. `drawn()` is called when text
  // has grown on the screen.
  constructor(list, does, drawn) {
    this.#list = list;
    this.#does = does;
    this.drawn = drawn;
  }

  render(conversation, plain) {
    this.#answers.clear();
    this.#list.replaceChildren();
    for (const turn of conversation.turns) this.add(turn, plain);
    this.last();
  }

  add(turn, plain) {
    if (turn.versions) {
      const view = new AnswerView(turn, plain, this.#does);
      this.#answers.set(turn, view);
      view.update();
      this.#list.append(view.element);
    } else {
      const text = make("div", "text plain", turn.text);
      text.dir = "auto";
      this.#list.append(make("li", "turn user", make("h2", "hidden", "You"), text));
    }
    this.last();
  }

  // Only the last answer can be generated again, and has its buttons always shown.
  last() {
    for (const element of this.#list.children) element.classList.toggle("last", element === this.#list.lastElementChild);
  }

  update(turn) {
    this.#answers.get(turn)?.update();
  }

  wait(turn, text, done) {
    this.#answers.get(turn)?.wait(text, done);
  }

  // An answer's text has grown: it is drawn with the screen's next frame, and no more often than it can be.
  grown(turn) {
    this.#growing = turn;
    this.#frame ||= requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    const began = performance.now();
    if (began < this.#next) {
      this.#frame = requestAnimationFrame(() => this.#draw());
      return;
    }
    this.#frame = 0;
    const view = this.#answers.get(this.#growing);
    view?.updateText();
    view?.element.classList.remove("waits");
    this.drawn();
    const end = performance.now();
    this.#next = end + 3 * (end - began);
  }
}
