// Elements, times and short notices. Text only ever enters the page as text.

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

// 75.25 -> "1:15", with tenths "1:15.3"
export function clock(seconds, tenths = false) {
  const whole = tenths ? Math.round(seconds * 10) / 10 : Math.floor(seconds + 1e-6);
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor((whole % 3600) / 60);
  const rest = (whole % 60).toFixed(tenths ? 1 : 0).padStart(tenths ? 4 : 2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

export function spoken(seconds) {
  const minutes = Math.floor(seconds / 60);
  const rest = `${(seconds % 60).toFixed(1)} seconds`;
  return minutes ? `${minutes} minute${minutes > 1 ? "s" : ""} ${rest}` : rest;
}

export function lasting(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

export const plural = (count, one, many = `${one}s`) => `${count.toLocaleString("en")} ${count === 1 ? one : many}`;

export const milliseconds = (ms) => (ms < 10 ? `${ms.toFixed(1)} ms` : `${Math.round(ms)} ms`);

export function ago(date) {
  const seconds = (Date.now() - date.getTime()) / 1000;
  if (seconds < 60) return "just now";
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  return date.toLocaleDateString("en", { day: "numeric", month: "short", year: "numeric" });
}

let notice, fading;

// A line at the foot of the page that goes by itself; `action` is {text, run}.
export function notify(text, action, bad = false) {
  notice ??= document.body.appendChild(el("div", { class: "notice", role: "status" }));
  clearTimeout(fading);
  replace(
    notice,
    el("span", { class: bad ? "text-bad" : "" }, text),
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
