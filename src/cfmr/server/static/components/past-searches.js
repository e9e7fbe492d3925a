// Searches that were looked at, and those that were saved; kept in this browser.

import { el, notify, replace } from "../lib/dom.js";
import { settings } from "../lib/settings.js";
import { text } from "../lib/texts.js";
import { closing, shut } from "./menu.js";

const KEY = "cfmr-searches";
const MOST = 30;
const words = text.search;

/** @typedef {{ name: string, url: string }} Search */

/** @returns {{ saved: Search[], recent: Search[] }} */
function read() {
  try {
    const { saved = [], recent = [] } = JSON.parse(settings.get(KEY) ?? "{}");
    return { saved, recent };
  } catch {
    return { saved: [], recent: [] };
  }
}

/** Sentences that were searched for, saved ones first, without those that name examples or what is not meant. */
export function soughtSentences() {
  const { saved, recent } = read();
  const sentences = [...saved, ...recent].map(({ url }) => {
    const query = new URL(url, location.origin).searchParams;
    return query.has("like") || query.has("unlike") ? "" : (query.get("q") ?? "");
  });
  return [...new Set(sentences)].filter((said) => said && !/(^|\s)-/.test(said));
}

export class PastSearches {
  /**
   * @param {HTMLDetailsElement} root
   * @param {() => Search | null} current the search on the page
   */
  constructor(root, current) {
    this.root = root;
    this.current = current;
    this.list = el("ul", {});
    root.append(el("summary", {}, words.searches), this.list);
    root.addEventListener("toggle", () => root.open && this.draw());
    closing(root);
  }

  /** A search was looked at. */
  looked(name, url) {
    const { saved, recent } = read();
    this.keep(saved, [{ name, url }, ...recent.filter((one) => one.url !== url)].slice(0, MOST));
  }

  /** @param {Search[]} saved @param {Search[]} recent */
  keep(saved, recent) {
    settings.set(KEY, JSON.stringify({ saved, recent }));
  }

  draw() {
    const { saved, recent } = read();
    const now = this.current();
    const known = saved.some((one) => one.url === now?.url);
    const save = () => {
      if (now) this.keep([now, ...saved], recent);
      shut(this.root);
      notify(words.searchSaved);
    };
    replace(
      this.list,
      now && !known && this.button(words.saveSearch, save),
      saved.length > 0 && el("li", { class: "search-past-head" }, words.savedOnes),
      saved.map((one) =>
        this.entry(one, () =>
          this.keep(
            saved.filter((other) => other !== one),
            recent,
          ),
        ),
      ),
      recent.length > 0 && el("li", { class: "search-past-head" }, words.recent),
      recent.map((one) =>
        this.entry(one, () =>
          this.keep(
            saved,
            recent.filter((other) => other !== one),
          ),
        ),
      ),
      recent.length > 0 && this.button(words.clear, () => this.again(() => this.keep(saved, []))),
      !saved.length && !recent.length && !now && el("li", { class: "search-past-head" }, words.noSearches),
      el("li", {}, el("a", { class: "button", href: "/script" }, words.list)),
    );
  }

  /** @param {() => void} change */
  again(change) {
    change();
    this.draw();
    this.root.querySelector("summary")?.focus();
  }

  /** @param {string} said @param {() => void} run */
  button(said, run) {
    return el("li", {}, el("button", { type: "button", on: { click: run } }, said));
  }

  /** @param {Search} one @param {() => void} forget */
  entry(one, forget) {
    const click = () => this.again(forget);
    return el(
      "li",
      { class: "search-past-entry" },
      el("a", { href: one.url }, one.name),
      el("button", { type: "button", class: "button-quiet", "aria-label": words.forget(one.name), on: { click } }, "✕"),
    );
  }
}
