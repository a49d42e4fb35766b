// SPDX-License-Identifier: MIT
//
// Conversations, and where they are kept: in this browser, so that a reload or a crash loses nothing. A tab shows one of
// them. Its turns alternate: what the user wrote, and an answer, of which there may be several versions.

const PREFIX = "burble:conversation:";
const SHOWN = "burble:shown"; // of this tab
const SETTINGS = "burble:settings";
const KEPT = 50; // conversations; the oldest are removed

export function randomId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export function newConversation() {
  return { id: randomId(), changed: Date.now(), model: "", turns: [] };
}

// A version of an answer that has not begun. `path` and `body` are of the request.
export function newVersion(path, body) {
  return {
    path,
    body,
    key: randomId(),
    stream: null,
    last: null,
    text: "",
    state: "running", // "done", "stopped", "failed", "lost"
    note: "", // what went wrong, for people
    began: Date.now(),
    tokens: 0,
    firstMs: null,
    rate: null,
    reason: null,
    usage: null,
  };
}

export const versionOf = (turn) => turn.versions[turn.shown];

// The version that is being answered: of the last turn. null: none.
export function runningOf(conversation) {
  const turn = conversation.turns.at(-1);
  const version = turn?.versions && turn.versions.at(-1);
  return version?.state === "running" ? version : null;
}

// What it began with: at least some words of it.
export function titleOf(conversation) {
  let text = "";
  for (const turn of conversation.turns) if (text.length < 16) text += ` ${turn.text ?? versionOf(turn).text}`;
  return text.trim().replace(/\s+/g, " ").slice(0, 80) || "Empty";
}

function read(key) {
  try {
    return JSON.parse(localStorage.getItem(key));
  } catch {
    return null; // not ours, or cut
  }
}

const keys = () => Object.keys(localStorage).filter((key) => key.startsWith(PREFIX));

// The newest first.
export function all() {
  return keys()
    .map(read)
    .filter((found) => found?.turns?.length)
    .sort((a, b) => b.changed - a.changed);
}

// Stores it. If the browser's room is full, the oldest conversations go. Returns false if it was not stored.
export function save(conversation) {
  if (!conversation.turns.length) return true;
  conversation.changed = Date.now();
  const text = JSON.stringify(conversation);
  const key = PREFIX + conversation.id;
  for (let others = null; ; ) {
    try {
      localStorage.setItem(key, text);
      break;
    } catch {
      others ??= all().filter((other) => other.id !== conversation.id);
      if (!others.length) return false;
      remove(others.pop().id);
    }
  }
  if (keys().length > KEPT) for (const other of all().slice(KEPT)) remove(other.id);
  return true;
}

export function remove(id) {
  localStorage.removeItem(PREFIX + id);
}

export const load = (id) => read(PREFIX + id);
export const isKeyOf = (key, conversation) => key === PREFIX + conversation.id;

export function shown() {
  const id = sessionStorage.getItem(SHOWN);
  return (id && load(id)) || newConversation();
}

export function show(conversation) {
  sessionStorage.setItem(SHOWN, conversation.id);
}

// Settings that are "" are not sent: the server's defaults hold.
const DEFAULTS = {
  model: "",
  system: "",
  temperature: "",
  top_p: "",
  max_tokens: "",
  seed: "",
  theme: "auto",
};
export const settings = { ...DEFAULTS, ...read(SETTINGS) };
export function saveSettings() {
  try {
    localStorage.setItem(SETTINGS, JSON.stringify(settings));
  } catch {
    // They hold until the page is closed.
  }
}
