// SPDX-License-Identifier: MIT
//
// How fast an answer comes: tokens a second, as a number and as a line.

const POINTS = 64;
const SPAN_MS = 20_000; // the line shows no more than the last 20 s
const REPLAY_MS = 150; // what comes so soon after a reconnection is old
const WIDTH = 128;
const HEIGHT = 24;

export class Meter {
  #times = []; // of the tokens, in the page's clock
  #from = 0;
  tokens = 0;

  // A connection stands; after a reconnection, the next events may be old ones.
  connected(resumed) {
    this.#from = resumed ? performance.now() + REPLAY_MS : 0;
    if (resumed) this.#times = [];
  }

  token() {
    const now = performance.now();
    this.tokens++;
    if (now < this.#from) return;
    this.#times.push(now);
    if (this.#times.length > 32_768) this.#times.splice(0, 16_384);
  }

  // Tokens a second, of the last second; null if there are too few.
  get now() {
    const now = performance.now();
    const times = this.#times;
    let first = times.length;
    while (first > 0 && times[first - 1] > now - 1000) first--;
    const span = Math.min(1000, now - (times[0] ?? now));
    return times.length < 3 || span < 50 ? null : ((times.length - first) * 1000) / span;
  }

  // The same, of the whole answer.
  get whole() {
    const times = this.#times;
    const span = times.at(-1) - times[0];
    return times.length < 3 || !(span > 0) ? null : ((times.length - 1) * 1000) / span;
  }

  // The speeds over time, for a line: each over a small triangle of time, so that the line is smooth.
  speeds(end) {
    const times = this.#times;
    if (times.length < 3) return [];
    const begin = Math.max(times[0], end - SPAN_MS);
    const width = Math.max((end - begin) / 24, 40);
    const speeds = [];
    let first = 0;
    for (let i = 0; i < POINTS; i++) {
      const at = begin + ((end - begin) * i) / (POINTS - 1);
      while (first < times.length && times[first] < at - width) first++;
      let sum = 0;
      for (let j = first; j < times.length && times[j] < at + width; j++)
        sum += 1 - Math.abs(times[j] - at) / width;
      // The part of the triangle that lies within the answer.
      const before = Math.min(1, (at - begin) / width);
      const after = Math.min(1, (end - at) / width);
      const area = (before - before ** 2 / 2 + after - after ** 2 / 2) * width;
      speeds.push(area > 0 ? (sum * 1000) / area : 0);
    }
    return speeds;
  }

  get end() {
    return this.#times.at(-1) ?? 0;
  }
}

// Draws speeds into an <svg> that has two paths: the area and the line.
export function draw(svg, speeds) {
  const [area, line] = svg.querySelectorAll("path");
  const most = Math.max(...speeds, 1) * 1.1;
  const points = speeds.map((speed, i) => {
    const x = (i * WIDTH) / (POINTS - 1);
    const y = HEIGHT - 1.5 - (speed / most) * (HEIGHT - 3);
    return `${x.toFixed(1)} ${y.toFixed(1)}`;
  });
  const path = points.length ? `M${points.join("L")}` : "";
  line.setAttribute("d", path);
  area.setAttribute("d", path && `${path}V${HEIGHT}H0Z`);
}
