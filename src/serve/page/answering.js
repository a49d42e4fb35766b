// SPDX-License-Identifier: MIT
//
// One answer at a time: from its request to its end, through lost connections, a restarted server and the stop button.

import { newVersion, versionOf } from "./conversation.js";
import { Meter } from "./sparkline.js";
import { cancel, follow, hurry, pause, place, Problem } from "./stream.js";
import { number } from "./view.js";

const PLACE_AFTER_MS = 300; // a request that waits longer is asked where it is
const PLACE_EVERY_MS = 400;
const STOP_MS = 5_000; // for a request that has no stream yet
const ATTEMPTS = 3; // without any text
const FRESH_MS = 15 * 60_000; // an answer that is lost later than this is not asked for again by itself

const AWAY = "The server cannot be reached. The answer goes on by itself as soon as it is back.";
const OFFLINE = "This device is offline. The answer goes on by itself as soon as it is back.";

export class Answering {
  #now = null; // {turn, version, abort, stopping}

  // `page` has status, spoken, unlock(problem), context(), and is told: changed(turn), grown(turn, piece),
  // waits(turn, text, done), saved(soon).
  constructor(page) {
    this.page = page;
  }

  get running() {
    return this.#now !== null;
  }

  // Answers the last version of a turn, also one that began before the page was loaded. `remake(version)` returns
  // path and body of a request that goes on from the version's text, or null if the model cannot.
  async run(turn, remake) {
    const { page } = this;
    for (;;) {
      const version = turn.versions.at(-1);
      turn.shown = turn.versions.length - 1;
      const now = { turn, version, abort: new AbortController(), stopping: false };
      this.#now = now;
      page.status.state("busy", "Asking");
      page.changed(turn);
      page.saved();
      const again = await this.#once(now, remake);
      if (now.left) return version;
      this.#now = null;
      page.changed(turn);
      page.saved();
      if (!again) return version;
    }
  }

  // Ends the answer. What has come of it stays.
  stop() {
    const now = this.#now;
    if (!now || now.stopping) return;
    now.stopping = true;
    if (now.version.stream) {
      cancel(now.version.stream);
      now.abort.abort();
    } else {
      // The reply's headers will name the stream to cancel.
      setTimeout(() => now.abort.abort(), STOP_MS);
      this.page.status.state("busy", "Stopping");
    }
  }

  // Gives an answer up without ending it: another tab, or this one later, goes on with it.
  leave() {
    const now = this.#now;
    if (!now) return;
    this.#now = null;
    now.left = true;
    now.abort.abort();
  }

  // Returns whether the turn has another version that is to be answered, or the same one anew.
  async #once(now, remake) {
    const { page } = this;
    const { turn, version } = now;
    const meter = new Meter();
    const asked = performance.now();
    const fresh = !version.stream && !version.text;
    let away = false;
    version.tries = (version.tries ?? 0) + 1;
    page.status.flow(meter, true);
    page.status.counts({ firstMs: version.firstMs, tokens: version.tokens });

    const told = {
      connected: (resumed) => {
        if (now.stopping) {
          if (version.stream) cancel(version.stream);
          now.abort.abort();
          return;
        }
        if (away) page.status.notice("Connected again.", { ms: 2500, kind: "good" });
        away = false;
        meter.connected(resumed);
        page.status.state("busy", version.text ? "Answering" : "Waiting");
        page.saved();
        if (version.stream && !version.text) this.#watchPlace(now);
      },
      text: (piece) => {
        meter.token();
        version.tokens++;
        version.tries = 0;
        version.heard = Date.now();
        if (fresh && version.firstMs === null) version.firstMs = performance.now() - asked;
        if (meter.tokens === 1) page.status.state("busy", "Answering");
        page.status.counts(version);
        page.grown(turn, piece);
        page.saved(true);
      },
      counted: ({ reason, usage, timings }) => {
        if (reason) version.reason = reason;
        if (timings?.predicted_n > 2) version.rate = timings.predicted_per_second;
        if (usage) {
          version.usage = usage;
          version.read = (version.prompt ?? version.body.prompt ?? "").length + version.text.length; // characters that were counted
          version.tokens = (version.carried ?? 0) + usage.completion_tokens;
          page.status.counts(version);
          page.context();
        }
      },
      lost: (tries, ms) => {
        page.status.state("away", "Reconnecting", ms);
        page.waits(turn, "", null);
        if (tries < 2) return;
        away = true;
        const text = navigator.onLine ? AWAY : OFFLINE;
        page.status.notice(text, { label: "Try now", action: hurry });
      },
      busy: (problem, ms) => {
        away = false;
        page.status.state("away", "Trying again", ms);
        page.status.notice(`The server asks to wait: ${problem.message}`, { label: "Try now", action: hurry });
      },
      locked: (problem) => page.unlock(problem),
    };

    try {
      const end = await follow(version, told, now.abort.signal);
      if (end === "gone") return this.#takeUp(turn, version, remake);
      version.state = "done";
      page.spoken.end(version.reason === "length" ? "The answer has ended at the limit of tokens." : "The answer is complete.");
    } catch (error) {
      if (now.left) return false;
      if (now.stopping) {
        version.state = "stopped";
        page.spoken.end("Stopped.");
      } else {
        version.state = "failed";
        version.note = error instanceof Problem ? error.message : `The page has an error: ${error}`;
        version.status = error.status ?? 0;
        page.spoken.end(version.note);
      }
    } finally {
      if (!now.left) this.#over(version, meter);
    }
    return false;
  }

  #over(version, meter) {
    const { page } = this;
    if (version.state !== "running") {
      version.rate ??= meter.whole;
      for (const name of ["path", "body", "key", "prompt", "most", "carried", "tries"]) delete version[name];
      page.status.settled();
    }
    page.status.flow(meter, false, version.rate ?? meter.whole);
    page.status.counts(version);
    page.status.state("ok", "Ready");
  }

  // The server does not have the answer any more: it was restarted, or the answer is too old.
  #takeUp(turn, version, remake) {
    const { page } = this;
    const late = Date.now() - (version.heard ?? version.began) > FRESH_MS;
    const request = late ? null : remake(version);
    if (late || version.tries >= ATTEMPTS) {
      version.state = "lost";
      version.note = "The server does not have this answer any more.";
      page.spoken.end(version.note);
      return false;
    }
    if (request) {
      // The same text, continued.
      version.carried = version.tokens;
      Object.assign(version, request, newVersionKeys());
      version.note = version.text ? "The server was restarted while it wrote this; the text was then continued." : "";
      page.status.notice("The server was restarted. The text goes on from where it had stopped.", { ms: 6000 });
      return true;
    }
    const { path, body } = version;
    if (version.text) {
      version.state = "lost";
      version.note = "The server was restarted before this was complete. It was then asked again.";
      turn.versions.push(newVersion(path, body));
    } else {
      Object.assign(version, newVersionKeys());
    }
    page.status.notice("The server was restarted. It is asked again.", { ms: 6000 });
    return true;
  }

  // While there is no text: how many requests are before this one, or how much of the prompt is read.
  async #watchPlace(now) {
    const { version, abort } = now;
    const waits = () => this.#now === now && !version.text && version.state === "running";
    try {
      for (let ms = PLACE_AFTER_MS; ; ms = PLACE_EVERY_MS) {
        await pause(ms, abort.signal);
        if (!waits()) return;
        const found = await place(version.stream, abort.signal);
        if (!found || !waits()) return;
        const text = describe(found);
        const { waits: queued, prompt_tokens: all, prompt_done: done } = found;
        this.page.status.state("busy", text.split(":")[0]);
        this.page.waits(now.turn, text, queued || !all ? null : done / all);
      }
    } catch {
      // The answer is over.
    }
  }
}

const newVersionKeys = () => {
  const { key, stream, last } = newVersion("", null);
  return { key, stream, last };
};

function describe({ waits, before, prompt_tokens: all, prompt_done: done, slots, running }) {
  if (waits && before > 0) return `In the queue: ${number.format(before)} before you`;
  if (waits) return slots ? `Next in the queue; ${number.format(running)} of ${number.format(slots)} slots in use` : "Next in the queue";
  if (all && done < all) return `Reading: ${number.format(done)} of ${number.format(all)} tokens`;
  return "Waiting";
}
