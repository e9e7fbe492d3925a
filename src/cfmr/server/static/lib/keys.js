// Keyboard shortcuts, and the dialog that lists them.

import { $, el } from "./dom.js";
import { settings } from "./settings.js";
import { text } from "./texts.js";

const OFF = "cfmr-keys-off";
const shortcuts = [];

// keys: as in KeyboardEvent.key, "Control+z" and "Shift+ArrowLeft" with a modifier. `inText`: also while typing.
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
    .split(/(?<=.)\+/)
    .map((part) => named[part] ?? (part.length === 1 ? part.toUpperCase() : part))
    .join(" ");

/** Where keys go that nothing on the page has taken. */
let home = null;

/**
 * Where the focus goes back to after a click: the documented keys then work, whatever was clicked.
 * @param {HTMLElement} element
 */
export function keysGoTo(element) {
  element.tabIndex = -1;
  home = element;
}

export const focusHome = () => home?.focus({ preventScroll: true });

// A button that was clicked with the mouse would take Space and Enter for itself from then on. One that was reached
// with the keyboard keeps them.
document.addEventListener("click", (event) => {
  const target = /** @type {HTMLElement} */ (event.target);
  const control = target.closest?.("button, summary, input[type=checkbox], a.button");
  if (event.detail > 0 && home && control && control === document.activeElement) focusHome();
});

document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.isComposing || event.altKey || event.metaKey || $("dialog[open]")) return;
  const target = /** @type {HTMLElement} */ (event.target);
  const typing = target.matches?.("input:not([type=checkbox]):not([type=file]):not([type=range]), textarea, select");
  const shifted = event.shiftKey && event.key.startsWith("Arrow"); // of others the key itself says it
  const pressed = event.ctrlKey ? `Control+${event.key}` : shifted ? `Shift+${event.key}` : event.key;
  for (const { keys, run, inText } of shortcuts) {
    if (!keys.includes(pressed)) continue;
    if (typing && !inText) continue;
    const single = !event.ctrlKey && event.key.length === 1;
    if (single && settings.get(OFF)) continue;
    if (!typing && [" ", "Enter"].includes(event.key) && target.closest?.("button, a, summary, label, input")) continue;
    if (event.key.startsWith("Arrow") && target.closest?.("[role=slider], [type=checkbox], [type=range]")) continue;
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
    el("h2", { id: "keys-name" }, text.keys.title),
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
    el("label", { class: "field-check" }, off, text.keys.single),
    el(
      "form",
      { method: "dialog", class: "row" },
      el("button", { class: "button-main", autofocus: true }, text.keys.close),
      el("a", { href: "/docs" }, text.keys.api),
    ),
  );
  box.addEventListener("close", () => box.remove());
  box.addEventListener("click", (event) => event.target === box && box.close());
  document.body.append(box);
  box.showModal();
}

shortcut("?", text.keys.show, dialog);
$("#keys-button")?.addEventListener("click", dialog);
