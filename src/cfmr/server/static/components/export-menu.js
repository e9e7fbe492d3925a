// The menu that hands moments over to other programs.

import { download } from "../lib/api.js";
import { complain, el, notify, replace } from "../lib/dom.js";
import { text } from "../lib/texts.js";

const words = text.exporting;

/** @typedef {{ video: string, start?: number, end?: number, text: string, score: number | null }} Exported */

/**
 * @param {HTMLDetailsElement} menu
 * @param {() => { moments: Exported[], title: string }} listed
 */
export function exportMenu(menu, listed) {
  const item = ([format, name]) => el("li", {}, el("button", { type: "button", "data-format": format }, name));
  const list = el("ul", {}, Object.entries(words.formats).map(item));
  replace(menu, el("summary", {}, words.menu), list);
  closing(menu);
  list.addEventListener("click", async ({ target }) => {
    const format = target instanceof HTMLElement && target.dataset.format;
    if (!format) return;
    shut(menu);
    const { moments, title } = listed();
    try {
      notify(words.preparing);
      await download("/api/export", { format, moments, title: title.slice(0, 100) });
      notify(words.done(moments.length));
    } catch (error) {
      complain(error);
    }
  });
}

/** @param {HTMLDetailsElement} menu */
export function shut(menu) {
  menu.open = false;
  menu.querySelector("summary")?.focus();
}

/**
 * A menu closes with Escape, and with a click elsewhere.
 * @param {HTMLDetailsElement} menu
 */
export function closing(menu) {
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !menu.open) return;
    event.stopPropagation();
    shut(menu);
  });
  document.addEventListener("click", ({ target }) => {
    if (target instanceof Node && !menu.contains(target)) menu.open = false;
  });
}
