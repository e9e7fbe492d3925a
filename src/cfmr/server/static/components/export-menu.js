// The menu that hands moments over to other programs.

import { download } from "../lib/api.js";
import { complain, el, notify, replace } from "../lib/dom.js";
import { settings } from "../lib/settings.js";
import { text } from "../lib/texts.js";
import { closing, shut } from "./menu.js";

const words = text.exporting;
const RATES = ["23.976", "24", "25", "29.97", "30", "48", "50", "59.94", "60"];
const DROPPING = ["29.97", "59.94"]; // where timecode may skip numbers
const RATE = "cfmr-export-fps";
const DROP = "cfmr-export-drop";

/** @typedef {{ video: string, start?: number, end?: number, text: string, score: number | null }} Exported */

/**
 * @param {HTMLDetailsElement} menu
 * @param {() => { moments: Exported[], title: string }} listed
 */
export function exportMenu(menu, listed) {
  const item = ([format, name]) => el("li", {}, el("button", { type: "button", "data-format": format }, name));
  const options = timecodeOptions();
  const list = el("ul", {}, Object.entries(words.formats).map(item), options.item);
  replace(menu, el("summary", {}, words.menu), list);
  closing(menu);
  list.addEventListener("click", async ({ target }) => {
    const format = target instanceof HTMLElement && target.dataset.format;
    if (!format) return;
    shut(menu);
    const { moments, title } = listed();
    try {
      notify(words.preparing);
      await download("/api/export", { format, moments, title: title.slice(0, 100), ...options.wish() });
      notify(words.done(moments.length));
    } catch (error) {
      complain(error);
    }
  });
}

// What edit lists and project files need to know, if the files' own are not wanted; chosen once, kept for the next time.
function timecodeOptions() {
  const select = (label, key, choices) => {
    const kept = settings.get(key) ?? "";
    const change = (event) => {
      settings.set(key, event.target.value);
      drop.disabled = !DROPPING.includes(rate.value);
    };
    const options = choices.map(([value, name]) => el("option", { value, selected: value === kept }, name));
    return el("select", { "aria-label": label, on: { change } }, options);
  };
  const rate = select(words.rate, RATE, [["", words.ownRate], ...RATES.map((one) => [one, words.fps(one)])]);
  const drop = select(words.timecode, DROP, [
    ["", words.ownTimecode],
    ["1", words.dropFrame],
    ["0", words.nonDrop],
  ]);
  drop.disabled = !DROPPING.includes(rate.value);
  return {
    item: el("li", { class: "menu-options" }, el("span", {}, words.rate), rate, el("span", {}, words.timecode), drop),
    wish: () => ({
      ...(rate.value && { fps: rate.value }),
      ...(!drop.disabled && drop.value && { drop: drop.value === "1" }),
    }),
  };
}
