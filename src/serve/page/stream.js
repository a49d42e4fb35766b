// SPDX-License-Identifier: MIT
//
// Requests to the server, and its event streams. An answer is read to its end over any number of connections: the server
// keeps it while the page is away, and the page remembers how far it has read.

const SILENCE_MS = 60_000; // a connection without even a keep-alive comment for so long is taken for dead
const FIRST_DELAY_MS = 500; // before the first retry; doubled from then on
const LONGEST_DELAY_MS = 8_000;
const KEY = "burble:key";
const CLOSED = "closed"; // the code of an answer that a server has left when it shut down

// What GET /ready says while it is not.
const STATES = {
  loading: { message: "its model is being loaded" },
  draining: { message: "it is shutting down" },
  disconnected: { message: "its Redis is away" },
  unavailable: { message: "no worker computes its models" },
};

// What the server has refused, or an answer that failed.
export class Problem extends Error {
  constructor(status, error, retryAfter = 0) {
    super(error?.message || `The server replied with status ${status}.`);
    this.status = status;
    this.code = error?.code ?? null;
    this.param = error?.param ?? null;
    this.retryAfter = retryAfter;
  }

  static async of(response) {
    let error = null;
    try {
      const body = await response.json();
      error = body.error ?? STATES[body.status];
    } catch {
      // A proxy's page, or a body that was cut: the status has to do.
    }
    return new Problem(response.status, error, Number(response.headers.get("Retry-After")) || 0);
  }
}

export const key = {
  get: () => sessionStorage.getItem(KEY) ?? localStorage.getItem(KEY) ?? "",
  set(value, keep) {
    key.forget();
    (keep ? localStorage : sessionStorage).setItem(KEY, value);
  },
  forget() {
    sessionStorage.removeItem(KEY);
    localStorage.removeItem(KEY);
  },
};

// fetch() relative to the page, with the API key. Throws a Problem if the server refuses, a TypeError if there is none.
export async function call(path, { headers = {}, ...options } = {}) {
  const sent = new Headers(headers);
  if (key.get()) sent.set("Authorization", `Bearer ${key.get()}`);
  const url = new URL(path, document.baseURI);
  const response = await fetch(url, { cache: "no-store", ...options, headers: sent });
  if (!response.ok) throw await Problem.of(response);
  return response;
}

// Resolves after `ms`, or earlier if hurry() is called; rejects if the signal is aborted.
const waiting = new Set();
export function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const end = (settle, value) => {
      clearTimeout(timer);
      waiting.delete(early);
      signal?.removeEventListener("abort", aborted);
      settle(value);
    };
    const early = () => end(resolve);
    const aborted = () => end(reject, signal.reason);
    const timer = setTimeout(early, ms);
    if (signal?.aborted) return aborted();
    waiting.add(early);
    signal?.addEventListener("abort", aborted);
  });
}
export function hurry() {
  for (const early of [...waiting]) early();
}
addEventListener("online", hurry);
document.addEventListener("visibilitychange", () => document.hidden || hurry());

export function delay(tries) {
  const ms = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** tries);
  return ms * (0.8 + 0.4 * Math.random()); // a thousand pages do not come back at the same moment
}

// The events of a response: {id, event, data}.
export async function* events(response, lost) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let event = { id: null, event: "message", data: [] };
  try {
    for (;;) {
      const silent = setTimeout(lost, SILENCE_MS);
      const { value, done } = await reader.read().finally(() => clearTimeout(silent));
      if (done) return;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const raw of lines) {
        const line = raw.endsWith("\r") ? raw.slice(0, -1) : raw;
        if (line === "") {
          if (event.data.length) yield { ...event, data: event.data.join("\n") };
          event = { id: null, event: "message", data: [] };
          continue;
        }
        const colon = line.indexOf(":");
        const name = colon < 0 ? line : line.slice(0, colon);
        const field = colon < 0 ? "" : line.slice(colon + (line[colon + 1] === " " ? 2 : 1));
        if (name === "data") event.data.push(field);
        else if (name === "id") event.id = field;
        else if (name === "event") event.event = field;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

// One event of an answer, in any of its forms: OpenAI's chat and completion chunks, and those of /v1/streams/.
function understand({ event, data }) {
  if (data === "[DONE]") return { done: true };
  const value = JSON.parse(data);
  if (event === "failed" || value.error) throw new Problem(500, value.error ?? value);
  const choice = value.choices?.[0];
  return {
    done: event === "end",
    text: choice?.delta?.content ?? choice?.text ?? value.text ?? "",
    reason: choice?.finish_reason ?? value.reasons?.[0] ?? null,
    usage: value.usage ?? null,
    timings: value.timings ?? null,
  };
}

// Opens a connection to an answer that begins, or that has begun.
function connect(answer, signal) {
  if (answer.stream) {
    const headers = { Accept: "text/event-stream" };
    if (answer.last) headers["Last-Event-ID"] = answer.last;
    return call(`v1/streams/${answer.stream}`, { headers, signal });
  }
  return call(answer.path, {
    method: "POST",
    headers: {
      "Content-Type": "application/json",
      "Burble-Resumable": "true",
      "Idempotency-Key": answer.key, // a POST that is repeated after a loss finds the answer of the first one
    },
    body: JSON.stringify(answer.body),
    signal,
  });
}

// Reads an answer to its end. `answer` is plain data, which the caller may store at any time: path and body of the
// request, its idempotency key, and what is known so far: stream, last (position), text. Calls, of `told`:
//
//   connected(resumed)   a connection stands; the next events may be old ones
//   text(piece)          answer.text has grown
//   counted({usage, reason, timings})  as the server has sent them; null: not now
//   lost(tries, ms)      the connection broke, or there is none; the next attempt follows in ms
//   busy(problem, ms)    the server asks to come back later
//   locked(problem)      the server wants a key; resolves once there is another one
//
// Returns "end", or "gone" if the server does not have the answer (any more) and is ready for another request. Throws a Problem if the server refuses
// the request or the answer fails, or what the signal was aborted with.
export async function follow(answer, told, signal) {
  let over = false; // the answer is lost, and the server not ready for another one
  for (let tries = 0; ; ) {
    const connection = new AbortController();
    const abort = () => connection.abort();
    signal.addEventListener("abort", abort);
    try {
      signal.throwIfAborted();
      if (over) {
        await call("ready", { signal: connection.signal });
        return "gone";
      }
      const resumed = Boolean(answer.stream);
      const response = await connect(answer, connection.signal);
      answer.stream ??= response.headers.get("Burble-Stream");
      told.connected(resumed);
      if (response.status === 204) return "end";
      for await (const event of events(response, abort)) {
        const { done, text, reason, usage, timings } = understand(event);
        if (event.id) answer.last = event.id;
        tries = 0;
        if (text) {
          answer.text += text;
          told.text(text);
        }
        if (reason || usage || timings) told.counted({ reason, usage, timings });
        if (done) return "end";
      }
      if (answer.text && !answer.stream) return "gone"; // a server that keeps nothing
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof Problem) {
        const proxy = error.status === 502 || error.status === 504;
        if (error.status === 401) {
          await told.locked(error);
          continue;
        }
        if (error.status === 429 || error.status === 503) {
          const ms = Math.max(error.retryAfter * 1000, delay(tries++));
          told.busy(error, ms);
          await pause(ms, signal);
          continue;
        }
        const gone = answer.stream && (error.status === 404 || error.status === 410);
        if (gone || error.code === CLOSED) {
          over = true;
          continue;
        }
        if (!proxy) throw error;
      } else if (error instanceof SyntaxError) {
        throw new Problem(500, { message: "The server sent an event that is not JSON." });
      }
      // Everything else is a broken connection.
    } finally {
      signal.removeEventListener("abort", abort);
      connection.abort();
    }
    const ms = delay(tries++);
    told.lost(tries, ms);
    await pause(ms, signal);
  }
}

// Ends an answer at the server. If the server cannot be reached for long, the answer ends when its time to come back is
// over.
export async function cancel(stream) {
  for (let tries = 0; tries < 6; tries++) {
    try {
      await call(`v1/streams/${stream}`, { method: "DELETE", keepalive: true });
      return;
    } catch (error) {
      if (error instanceof Problem) return;
    }
    await pause(delay(tries));
  }
}

// Where an answer is in the queue or in its prompt: null if the server does not say.
export async function place(stream, signal) {
  try {
    return await (await call(`v1/streams/${stream}/place`, { signal })).json();
  } catch {
    return null;
  }
}
