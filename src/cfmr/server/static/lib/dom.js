// Elements, times and short notices. Text only ever enters the page as text.

import { plural, text } from "./texts.js";

export { plural };

/**
 * The one element of a selector that the page is known to have.
 * @type {(selector: string) => any}
 */
export const $ = (selector) => document.querySelector(selector);

/**
 * A new element. `on` are listeners, `class` its class; null, undefined and false children are left out.
 * @param {string} tag
 * @param {Record<string, any>} [properties]
 * @param {...any} children
 * @returns {any}
 */
export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (key === "on") for (const [name, handler] of Object.entries(value)) element.addEventListener(name, handler);
    else if (key === "class") element.className = value;
    else if (key in element && !key.includes("-") && key !== "list") element[key] = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(
    ...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false),
  );
  return element;
}

/**
 * Give an element other children.
 * @param {Element} parent
 * @param {...any} children
 */
export function replace(parent, ...children) {
  parent.replaceChildren(
    ...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false),
  );
}

// 75.25 -> "1:15", with tenths "1:15.3", with two digits "1:15.25"
/**
 * @param {number} seconds
 * @param {boolean | number} digits after the point; true for one
 */
export function clock(seconds, digits = 0) {
  const after = Number(digits);
  const whole = after ? Math.round(seconds * 10 ** after) / 10 ** after : Math.floor(seconds + 1e-6);
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor((whole % 3600) / 60);
  const rest = (whole % 60).toFixed(after).padStart(after ? after + 3 : 2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

// "0:12 – 0:15", with tenths where whole seconds would hide how long it is
export function stretch([start, end]) {
  const tenths = end - start < 10;
  return `${clock(start, tenths)} – ${clock(end, tenths)}`;
}

export const spoken = (seconds) => text.timeline.seconds(Math.floor(seconds / 60), seconds % 60);

// 75 -> "1 min 15 s", 4000 -> "1 h 7 min"
export function lasting(seconds) {
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return whole % 60 ? `${Math.floor(whole / 60)} min ${whole % 60} s` : `${whole / 60} min`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

// a sentence without what does not change its meaning, to tell whether two are the same
export const normalized = (sentence) => (sentence.toLowerCase().match(/[\p{L}\p{N}_]+/gu) ?? []).join(" ");

export const milliseconds = (ms) => (ms < 10 ? `${ms.toFixed(1)} ms` : `${Math.round(ms)} ms`);

export function ago(date) {
  const seconds = (Date.now() - date.getTime()) / 1000;
  if (seconds < 60) return text.time.now;
  if (seconds < 3600) return text.time.minutes(Math.floor(seconds / 60));
  if (seconds < 86400) return text.time.hours(Math.floor(seconds / 3600));
  return date.toLocaleDateString("en", { day: "numeric", month: "short", year: "numeric" });
}

let notice, fading;

// A line in the corner of the page that goes by itself; `action` is {text, run}.
export function notify(message, action, bad = false) {
  notice ??= el("div", { class: "notice", role: "status" });
  const where = document.fullscreenElement ?? document.body; // outside it nothing is seen
  if (notice.parentNode !== where) where.append(notice);
  clearTimeout(fading);
  replace(
    notice,
    el("span", { class: bad ? "text-bad" : "" }, message),
    action &&
      el(
        "button",
        {
          type: "button",
          on: {
            click: () => {
              hide();
              action.run();
            },
          },
        },
        action.text,
      ),
  );
  notice.classList.add("notice-shown");
  fading = setTimeout(hide, bad ? 12000 : 7000);
}

function hide() {
  notice?.classList.remove("notice-shown");
}

export const complain = (error) => error.name !== "AbortError" && notify(error.message, null, true);
