// SPDX-License-Identifier: MIT
//
// The bar below the input, and the notice above it: what the server does, and how fast.

import { draw } from "./sparkline.js";
import { duration, number, speed } from "./view.js";

const $ = (id) => document.getElementById(id);
const EVERY_MS = 200;

export class Status {
  #meter = null;
  #timer = 0;
  #due = 0; // of a countdown
  #text = "";
  #gone = 0;
  #passing = false;

  constructor(spoken) {
    this.spoken = spoken;
  }

  // kind: "ok", "busy", "away".
  state(kind, text, ms = 0) {
    $("state").dataset.kind = kind;
    this.#text = text;
    this.#due = ms ? performance.now() + ms : 0;
    this.#tick();
    this.#watch();
  }

  // Says something above the input, until it is replaced or, after `ms`, disappears. "" removes it.
  notice(text, { label = "", action = null, ms = 0, kind = "warning" } = {}) {
    clearTimeout(this.#gone);
    if (text && $("notice-text").textContent !== text) this.spoken.say(text);
    $("notice").hidden = !text;
    $("notice").dataset.kind = kind;
    $("notice-text").textContent = text;
    $("notice-action").hidden = !label;
    $("notice-action").textContent = label;
    $("notice-action").onclick = action;
    this.#passing = ms > 0;
    if (ms) this.#gone = setTimeout(() => this.notice(""), ms);
  }

  // Removes what is said until something changes.
  settled() {
    if (!this.#passing) this.notice("");
  }

  // Shows the speed of an answer while it comes (`live`), and once it is over.
  flow(meter, live, rate = null) {
    this.#meter = live ? meter : null;
    $("flow").hidden = false;
    $("flow").classList.toggle("live", live);
    if (!live) {
      draw($("spark"), meter.speeds(meter.end));
      $("speed").textContent = speed(rate);
    }
    this.#tick();
    this.#watch();
  }

  // Of an answer: null or 0 hides a part.
  counts({ firstMs, tokens }) {
    $("first").textContent = firstMs === null ? "" : `first ${duration(firstMs)}`;
    $("count").textContent = tokens ? `${number.format(tokens)} ${tokens === 1 ? "token" : "tokens"}` : "";
  }

  context(used, most) {
    $("context").hidden = !used || !most;
    $("context-meter").max = most;
    $("context-meter").high = 0.85 * most;
    $("context-meter").value = used;
    $("context-text").textContent = `${number.format(used)} / ${number.format(most)}`;
    $("context").title = `${number.format(used)} of ${number.format(most)} tokens of the context are in use`;
  }

  clear() {
    this.#meter = null;
    $("flow").hidden = true;
    this.counts({ firstMs: null, tokens: 0 });
    this.context(0, 0);
  }

  #watch() {
    if (!this.#timer && (this.#meter || this.#due)) this.#timer = setInterval(() => this.#tick(), EVERY_MS);
  }

  #tick() {
    const left = Math.ceil((this.#due - performance.now()) / 1000);
    $("state-text").textContent = this.#due && left > 0 ? `${this.#text} in ${left} s` : this.#text;
    if (this.#meter) {
      draw($("spark"), this.#meter.speeds(performance.now()));
      $("speed").textContent = speed(this.#meter.now);
    }
    if (this.#timer && !this.#meter && !(this.#due && left > 0)) {
      clearInterval(this.#timer);
      this.#timer = 0;
    }
  }
}
