// SPDX-License-Identifier: MIT
//
// The colours that were chosen, before anything is shown.
try {
  const { theme } = JSON.parse(localStorage.getItem("burble:settings")) ?? {};
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // The system's.
}
