// SPDX-License-Identifier: MIT
//
// The page: connects the input, the conversation, the server's models and the answers.

import { Answering } from "./answering.js";
import * as store from "./conversation.js";
import { openEarlier, openSettings, setUpEarlier, setUpSettings, unlock } from "./panels.js";
import { Spoken } from "./spoken.js";
import { Status } from "./status.js";
import { call, delay, hurry, pause, Problem } from "./stream.js";
import { copyText, number, View } from "./view.js";

const $ = (id) => document.getElementById(id);
const { settings } = store;
const SAVE_MS = 400;
const HEALTH_MS = 15_000;
const DRAFT = "burble:draft";
const TEXT_TOKENS = 256; // of a text that is continued, unless the user says how many
const CHARACTERS_PER_TOKEN = 2; // of a model that has not counted yet

const GREETINGS = { chat: "What would you like to know?", text: "Begin a text. The model goes on with it." };
const IDEAS = {
  chat: ["Explain how a brook finds its way", "Write a limerick about latency", "Give me a recipe with three ingredients"],
  text: ["ROMEO:", "To be, or not to be,", "Enter the KING, and", "Once upon a time"],
};

let conversation = store.shown();
let models = []; // of the server: {id, context, chat, parameters}
const spoken = new Spoken($("spoken"));
const status = new Status(spoken);

// ---- models --------------------------------------------------------------------------------------

const modelNow = () => models.find((model) => model.id === settings.model) ?? models[0] ?? null;

// "chat", or "text" if the model only continues text.
const mode = () => (modelNow()?.chat === false ? "text" : "chat");

function showModels() {
  const options = models.map(({ id }) => new Option(id, id, false, id === modelNow()?.id));
  $("model").replaceChildren(...(options.length ? options : [new Option("no model yet")]));
  $("model").disabled = models.length < 2;
  $("model").title = models.length < 2 ? "The server’s model" : "Model";
}

function understand(model) {
  const meta = model.meta ?? {};
  return {
    id: model.id,
    context: meta.context ?? meta.n_ctx ?? model.context ?? model.max_model_len ?? 0,
    chat: meta.chat ?? model.chat ?? null, // null: the server does not say
    parameters: meta.parameters ?? null,
  };
}

async function loadModels() {
  for (let tries = 0; ; ) {
    try {
      const { data } = await (await call("v1/models")).json();
      models = data.map(understand);
      if (models.length) break;
      status.state("busy", "The server loads its model");
      await pause(1000);
    } catch (error) {
      if (error instanceof Problem && error.status === 401) {
        try {
          await unlock(error);
        } catch {
          status.state("away", "Locked");
          status.notice("This server asks for an API key.", { label: "Enter it", action: () => loadModels() });
          return;
        }
        continue;
      }
      const ms = delay(tries++);
      status.state("away", "Reconnecting", ms);
      if (tries > 1) status.notice("The server cannot be reached.", { label: "Try now", action: hurry });
      await pause(ms);
    }
  }
  showModels();
  render();
  if (!answering.running) {
    status.notice("");
    status.state("ok", "Ready");
  }
}

// Whether the server is there, while nothing else tells.
async function watchHealth() {
  for (;;) {
    await pause(HEALTH_MS);
    if (document.hidden || answering.running || !models.length) continue;
    try {
      await call("health");
    } catch (error) {
      if (!answering.running && !(error instanceof Problem && error.status === 401)) await loadModels();
    }
  }
}

// ---- requests ------------------------------------------------------------------------------------

const NUMBERS = ["temperature", "top_p", "max_tokens", "seed"];
const honours = (name) => modelNow()?.parameters?.includes(name) ?? true;

function parameters() {
  const body = { stream: true, stream_options: { include_usage: true } };
  if (modelNow()) body.model = modelNow().id;
  for (const name of NUMBERS)
    if (settings[name] !== "" && honours(name)) body[name] = Number(settings[name]);
  return body;
}

// The turns before `turn`, as messages. Roles alternate: a question whose answer is empty is joined with the next one.
function messagesBefore(turn) {
  const messages = settings.system.trim() ? [{ role: "system", content: settings.system }] : [];
  for (const each of conversation.turns) {
    if (each === turn) break;
    const content = each.text ?? store.versionOf(each).text;
    const role = each.versions ? "assistant" : "user";
    if (role === "user" && messages.at(-1)?.role === "user") messages.at(-1).content += `\n\n${content}`;
    else if (content) messages.push({ role, content });
  }
  return messages;
}

function textBefore(turn) {
  const turns = conversation.turns.slice(0, conversation.turns.indexOf(turn));
  return turns.map((each) => each.text ?? store.versionOf(each).text).join("");
}

// The end of a text that leaves half of the model's context for what follows, from the beginning of a line on if it can.
function endOf(text, before) {
  const context = modelNow()?.context ?? 0;
  const { usage, read } = before?.versions ? store.versionOf(before) : {};
  const used = usage ? usage.prompt_tokens + usage.completion_tokens : 0;
  const room = (context / 2) * (used && read ? read / used : CHARACTERS_PER_TOKEN);
  if (!context || text.length <= room) return text;
  const end = text.slice(-Math.floor(room));
  const line = end.indexOf("\n") + 1;
  return line > 0 && line < end.length / 2 ? end.slice(line) : end;
}

// A version of an answer that is to be asked for.
function newVersion(turn) {
  if (mode() === "chat")
    return store.newVersion("v1/chat/completions", { ...parameters(), messages: messagesBefore(turn) });
  const text = textBefore(turn);
  const at = conversation.turns.indexOf(turn);
  const before = conversation.turns.slice(0, at).findLast((each) => each.versions);
  const prompt = endOf(text, before);
  const version = store.newVersion("v1/completions", { max_tokens: TEXT_TOKENS, ...parameters(), prompt });
  if (prompt.length < text.length)
    version.note = `The model was shown the last ${number.format(prompt.length)} characters: its context has no room for more.`;
  return version;
}

// The request that goes on from the text of a version whose stream is lost: only a text can be continued.
function remake(version) {
  if (version.body.prompt === undefined) return null;
  const body = { ...version.body };
  version.prompt ??= body.prompt; // as it was at first
  body.prompt = version.prompt + version.text;
  if (body.max_tokens !== undefined) {
    version.most ??= body.max_tokens;
    body.max_tokens = Math.max(1, version.most - version.tokens);
  }
  return { path: version.path, body };
}

// ---- the conversation ------------------------------------------------------------------------------

let saving = 0;
function saved(soon = false) {
  if (soon) {
    saving ||= setTimeout(() => saved(), SAVE_MS);
    return;
  }
  clearTimeout(saving);
  saving = 0;
  store.save(conversation);
}

let follows = true; // the end of the text is kept in view
function atEnd() {
  const log = $("log");
  return log.scrollHeight - log.scrollTop - log.clientHeight < 40;
}
function toEnd() {
  $("log").scrollTop = $("log").scrollHeight;
}

const view = new View(
  $("turns"),
  {
    copy(turn, from) {
      const all = mode() === "text" ? textBefore(turn) : "";
      copyText(all + store.versionOf(turn).text, from);
    },
    again(turn) {
      if (answering.running || turn !== conversation.turns.at(-1)) return;
      turn.versions.push(newVersion(turn));
      answer(turn);
    },
    version(turn, step) {
      turn.shown += step;
      view.update(turn);
      saved();
    },
  },
  () => follows && toEnd(),
);

function render() {
  document.body.dataset.mode = mode();
  document.body.classList.toggle("begun", conversation.turns.length > 0);
  for (const name of NUMBERS) $("settings").querySelector(`[name=${name}]`).closest("label").hidden = !honours(name);
  view.render(conversation, mode() === "text");
  $("greeting").textContent = GREETINGS[mode()];
  const ideas = IDEAS[mode()].map((idea) => {
    const row = document.createElement("li");
    const choose = document.createElement("button");
    choose.type = "button";
    choose.textContent = idea.trim();
    choose.addEventListener("click", () => send(idea));
    row.append(choose);
    return row;
  });
  $("ideas").replaceChildren(...ideas);
  $("settings").querySelector("[name=max_tokens]").placeholder =
    mode() === "text" ? String(TEXT_TOKENS) : "no limit but the context";
  showInput();
  showContext();
  document.title = conversation.turns.length ? `${store.titleOf(conversation)} · burble` : "burble";
  toEnd();
}

function showContext() {
  const last = conversation.turns.at(-1);
  const usage = last?.versions && store.versionOf(last).usage;
  const used = usage ? usage.prompt_tokens + usage.completion_tokens : 0;
  status.context(used, modelNow()?.context ?? 0);
}

const answering = new Answering({
  status,
  spoken,
  unlock,
  context: showContext,
  changed(turn) {
    view.update(turn);
    showInput();
    if (follows) toEnd();
  },
  grown(turn, piece) {
    spoken.text(piece);
    view.grown(turn);
  },
  waits: (turn, text, done) => view.wait(turn, text, done),
  saved,
});

async function answer(turn) {
  follows = true;
  const of = conversation;
  const promise = answering.run(turn, remake);
  render();
  const version = await promise;
  if (of !== conversation) return;
  // A server that does not say which models can chat says it now.
  const model = modelNow();
  if (version.status === 400 && model?.chat === null && /template|chat/i.test(version.note)) {
    model.chat = false;
    turn.versions = [newVersion(turn)];
    await answer(turn);
    return;
  }
  showContext();
}

function send(text) {
  if (answering.running) return;
  const goesOn = mode() === "text" && conversation.turns.length > 0;
  if (!text.trim() && !goesOn) return;
  if (text.trim()) {
    // A text that is taken up again begins with a line of its own.
    const before = mode() === "text" ? textBefore(null) : "";
    conversation.turns.push({ text: before && !/\s$/.test(before) && !/^\s/.test(text) ? `\n${text}` : text });
  }
  const turn = { versions: [], shown: 0 };
  conversation.turns.push(turn);
  turn.versions.push(newVersion(turn));
  conversation.model = modelNow()?.id ?? "";
  store.show(conversation);
  $("prompt").value = "";
  sessionStorage.removeItem(DRAFT);
  answer(turn);
}

// Shows another conversation (null: a new one), and goes on with its answer if that runs.
function open(found) {
  saved();
  answering.leave();
  spoken.end("");
  conversation = found ?? store.newConversation();
  store.show(conversation);
  status.clear();
  status.notice("");
  status.state("ok", "Ready");
  follows = true;
  render();
  resume();
  $("prompt").focus();
}

function resume() {
  const turn = conversation.turns.at(-1);
  if (store.runningOf(conversation) && !answering.running) answer(turn);
}

// ---- the input -------------------------------------------------------------------------------------

function showInput() {
  const { running } = answering;
  const text = mode() === "text";
  const begun = conversation.turns.length > 0;
  const label = running ? "Stop" : text ? "Continue" : "Send";
  document.body.classList.toggle("running", running);
  $("send-label").textContent = label;
  $("send").title = running ? "Stop (Esc)" : `${label} (Enter)`;
  $("send").disabled = !running && !$("prompt").value.trim() && !(text && begun);
  $("prompt").placeholder = !text ? "Ask anything" : begun ? "Add a line, or let it go on" : "Begin a text";
  $("prompt").style.height = "auto";
  $("prompt").style.height = `${$("prompt").scrollHeight}px`;
}

$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  if (answering.running) answering.stop();
  else send($("prompt").value);
});
$("prompt").addEventListener("input", () => {
  sessionStorage.setItem(DRAFT, $("prompt").value);
  showInput();
});
$("prompt").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  send($("prompt").value);
});
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !document.querySelector("dialog[open]")) answering.stop();
});

$("log").addEventListener("scroll", () => {
  follows = atEnd();
  $("latest").hidden = follows;
});
new ResizeObserver(() => follows && toEnd()).observe($("log"));
$("latest").addEventListener("click", () => {
  follows = true;
  toEnd();
});

// ---- everything else -------------------------------------------------------------------------------

$("new").addEventListener("click", () => open(null));
$("open-earlier").addEventListener("click", () => openEarlier(conversation, open));
$("open-settings").addEventListener("click", openSettings);
$("model").addEventListener("change", () => {
  settings.model = $("model").value;
  store.saveSettings();
  if (!answering.running) render();
});
setUpSettings(() => {});
setUpEarlier();

// The same conversation in another tab.
addEventListener("storage", ({ key, newValue }) => {
  if (!store.isKeyOf(key, conversation) || !newValue || answering.running) return;
  conversation = JSON.parse(newValue);
  render();
  resume();
});
addEventListener("pagehide", () => saved());

$("prompt").value = sessionStorage.getItem(DRAFT) ?? "";
store.show(conversation);
render();
resume();
loadModels();
watchHealth();
