// SPDX-License-Identifier: MIT
//
// What a screen reader says: an answer in whole sentences, some seconds apart, and not token by token.

const EVERY_MS = 3_000;
const SENTENCE = /[.!?…。!?:]["'”’)\]]*(?=\s|$)|\n/g;
const MARKS = /[*`#|]+/g; // of Markdown

export class Spoken {
  #region;
  #text = "";
  #timer = 0;

  // `region` is an element with aria-live="polite".
  constructor(region) {
    this.#region = region;
  }

  // A message of the page.
  say(text) {
    const line = document.createElement("p");
    line.textContent = text;
    this.#region.append(line);
    while (this.#region.childElementCount > 20) this.#region.firstElementChild.remove();
  }

  // A piece of an answer.
  text(piece) {
    this.#text += piece.replace(MARKS, "");
    this.#timer ||= setTimeout(() => this.#flush(), EVERY_MS);
  }

  #flush() {
    this.#timer = 0;
    let end = 0;
    for (const match of this.#text.matchAll(SENTENCE)) end = match.index + match[0].length;
    const said = this.#text.slice(0, end).trim();
    this.#text = this.#text.slice(end);
    if (said) this.say(said);
  }

  // The answer is over: the rest, and what became of it.
  end(message) {
    clearTimeout(this.#timer);
    this.#timer = 0;
    const rest = this.#text.trim();
    this.#text = "";
    if (rest) this.say(rest);
    this.say(message);
  }
}
