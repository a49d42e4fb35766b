// SPDX-License-Identifier: MIT
//
// What opens over the page: settings, earlier conversations, and the question for an API key.

import { all, remove, runningOf, saveSettings, settings, titleOf } from "./conversation.js";
import { key, Problem } from "./stream.js";
import { button } from "./view.js";

const $ = (id) => document.getElementById(id);

// A click beside a panel closes it.
function closeOutside(dialog) {
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
}

// ---- settings ----------------------------------------------------------------------------------

export function openSettings() {
  $("forget-key").hidden = !key.get();
  $("settings").showModal();
}

function showTemperature() {
  const value = settings.temperature;
  $("temperature-value").textContent = value === "" ? "default" : Number(value).toFixed(2);
}

export function setUpSettings(changed) {
  const dialog = $("settings");
  const { elements } = dialog.querySelector("form");
  closeOutside(dialog);
  for (const name of ["system", "top_p", "max_tokens", "seed"]) elements[name].value = settings[name];
  elements.temperature.value = settings.temperature === "" ? elements.temperature.min : settings.temperature;
  elements.theme.value = settings.theme;
  showTemperature();
  dialog.addEventListener("input", ({ target }) => {
    if (target.name === "temperature") {
      settings.temperature = Number(target.value) < 0 ? "" : target.value;
      showTemperature();
    } else if (target.name) {
      settings[target.name] = target.checkValidity() ? target.value : "";
    }
    const { theme } = settings;
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    saveSettings();
    changed();
  });
  $("forget-key").addEventListener("click", () => {
    key.forget();
    $("forget-key").hidden = true;
  });
}

// ---- earlier conversations -----------------------------------------------------------------------

export function setUpEarlier() {
  closeOutside($("earlier"));
}

export function openEarlier(current, open) {
  const list = $("conversations");
  const days = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
  const rows = all().map((found) => {
    const row = document.createElement("li");
    const choose = button(titleOf(found), "row");
    const title = document.createElement("span");
    const time = document.createElement("small");
    title.textContent = titleOf(found);
    time.textContent = runningOf(found) ? "still being answered" : days.format(found.changed);
    choose.append(title, time);
    if (found.id === current.id) choose.setAttribute("aria-current", "true");
    choose.addEventListener("click", () => {
      $("earlier").close();
      open(found);
    });
    const away = button("Remove", "icon small", "×");
    away.addEventListener("click", () => {
      remove(found.id);
      row.remove();
      if (found.id === current.id) open(null);
    });
    row.append(choose, away);
    return row;
  });
  list.replaceChildren(...rows);
  list.hidden = !rows.length;
  $("earlier").showModal();
}

// ---- the API key -----------------------------------------------------------------------------------

let asking = null;

// Asks for a key. Resolves once there is one; rejects with the problem if the user does not give one.
export function unlock(problem) {
  asking ??= new Promise((resolve, reject) => {
    const dialog = $("unlock");
    const had = Boolean(key.get());
    $("unlock-text").textContent = had ? "The server does not know this key." : "This server asks for a key.";
    $("key").value = "";
    dialog.querySelector("form").onsubmit = (event) => {
      event.preventDefault();
      key.set($("key").value.trim(), $("keep-key").checked);
      dialog.close("key");
    };
    $("unlock-cancel").onclick = () => dialog.close("");
    dialog.returnValue = "";
    dialog.onclose = () => {
      asking = null;
      $("key").value = "";
      if (dialog.returnValue === "key") resolve();
      else reject(problem ?? new Problem(401, { message: "The server asks for an API key." }));
    };
    dialog.showModal();
    $("key").focus();
  });
  return asking;
}
