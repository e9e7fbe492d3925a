// Keyboard shortcuts, and the dialog that lists them.

import { $, el } from "./dom.js";
import { settings } from "./settings.js";

const OFF = "cfmr-keys-off";
const shortcuts = [];

// keys: as in KeyboardEvent.key, "Control+z" with a modifier. `inText`: also while typing.
export function shortcut(keys, meaning, run, { inText = false } = {}) {
  shortcuts.push({ keys: [keys].flat(), meaning, run, inText });
}

const named = {
  " ": "Space",
  ArrowDown: "↓",
  ArrowUp: "↑",
  ArrowLeft: "←",
  ArrowRight: "→",
  Control: "Ctrl",
  Escape: "Esc",
};
const readable = (key) =>
  key
    .split("+")
    .map((part) => named[part] ?? (part.length === 1 ? part.toUpperCase() : part))
    .join(" ");

document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.isComposing || event.altKey || event.metaKey || $("dialog[open]")) return;
  const target = /** @type {HTMLElement} */ (event.target);
  const typing = target.matches?.("input:not([type=checkbox]):not([type=file]), textarea, select");
  const pressed = event.ctrlKey ? `Control+${event.key}` : event.key;
  for (const { keys, run, inText } of shortcuts) {
    if (!keys.includes(pressed)) continue;
    if (typing && !inText) continue;
    const single = !event.ctrlKey && event.key.length === 1;
    if (single && settings.get(OFF)) continue;
    if (!typing && [" ", "Enter"].includes(event.key) && target.closest?.("button, a, summary, label, input")) continue;
    if (event.key.startsWith("Arrow") && target.closest?.("[role=slider], input[type=checkbox]")) continue;
    if (run(event) !== false) event.preventDefault();
    return;
  }
});

function dialog() {
  const off = el("input", {
    type: "checkbox",
    checked: !settings.get(OFF),
    on: {
      change: () => settings.set(OFF, off.checked ? "" : "1"),
    },
  });
  const box = el(
    "dialog",
    { class: "keys-dialog", "aria-labelledby": "keys-name" },
    el("h2", { id: "keys-name" }, "Keys"),
    el(
      "dl",
      {},
      shortcuts
        .filter((one) => one.meaning)
        .map(({ keys, meaning }) => [
          el(
            "dt",
            {},
            keys.map((key) => el("kbd", {}, readable(key))),
          ),
          el("dd", {}, meaning),
        ]),
    ),
    el("label", { class: "field-check" }, off, " single-letter keys"),
    el(
      "form",
      { method: "dialog", class: "row" },
      el("button", { class: "button-main", autofocus: true }, "Close"),
      el("a", { href: "/docs" }, "HTTP API"),
    ),
  );
  box.addEventListener("close", () => box.remove());
  box.addEventListener("click", (event) => event.target === box && box.close());
  document.body.append(box);
  box.showModal();
}

shortcut("?", "show the keys", dialog);
$("#keys-button")?.addEventListener("click", dialog);
