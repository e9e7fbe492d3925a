// A list of any length of which only the rows on the screen are there; they are fetched in pages.

import { complain, el } from "../lib/dom.js";

const PAGE = 100;
const AROUND = 8; // rows above and below the screen
const REST = 120; // milliseconds without scrolling before pictures are fetched

/**
 * @template Item
 */
export class VirtualList {
  /**
   * @param {HTMLElement} root a list element; its rows have the height that its style gives them
   * @param {(offset: number, limit: number) => Promise<{ total: number, items: Item[] }>} fetch
   * @param {(item: Item, index: number) => HTMLElement} render
   */
  constructor(root, fetch, render) {
    this.root = root;
    this.fetch = fetch;
    this.render = render;
    this.total = 0;
    this.active = 0;
    this.awaited = -1; // a row that gets the focus once it is fetched
    /** @type {Map<number, Item>} */
    this.items = new Map();
    /** @type {Map<number, HTMLElement>} */
    this.rows = new Map();
    /** @type {Set<number>} */
    this.asked = new Set();
    this.version = 0;
    this.due = false; // there is something new to fetch, once no menu is open
    const later = () => requestAnimationFrame(() => this.draw());
    addEventListener("scroll", later, { passive: true });
    addEventListener("resize", () => {
      this.height = 0;
      later();
    });
    root.addEventListener("toggle", () => this.due && this.reload().catch(complain), { capture: true });
    root.addEventListener("focusin", ({ target }) => {
      const row = /** @type {HTMLElement} */ (target).closest("[data-index]");
      if (row instanceof HTMLElement) this.active = Number(row.dataset.index);
    });
  }

  /** Whether somebody is using a menu of a row, which would go with the row. */
  held() {
    return this.root.querySelector("details[open]") !== null;
  }

  /** Fetch anew what is on the screen. Rows stay until the new ones are there, and those that say the same for good. */
  async reload() {
    this.due = this.held();
    if (this.due) return;
    this.version += 1;
    this.asked.clear();
    const version = this.version;
    const first = Math.floor(Math.max(this.visible()[0], 0) / PAGE) * PAGE;
    this.asked.add(first);
    const { total, items } = await this.fetch(first, PAGE);
    if (version !== this.version) return;
    this.due = this.held();
    if (this.due) return;
    const inside = this.root.contains(document.activeElement);
    this.total = total;
    this.replace(first, items);
    this.active = Math.min(this.active, Math.max(total - 1, 0));
    this.draw();
    if (inside && !this.root.contains(document.activeElement)) this.focus(this.active);
  }

  /** @param {number} first @param {Item[]} items */
  replace(first, items) {
    const before = new Map(this.items);
    this.items.clear();
    this.keep(first, items);
    for (const [index, row] of this.rows) {
      const item = this.items.get(index);
      if (item && JSON.stringify(item) === JSON.stringify(before.get(index))) {
        row.setAttribute("aria-setsize", String(this.total));
        continue;
      }
      row.remove();
      this.rows.delete(index);
    }
  }

  /** @param {number} first @param {Item[]} items */
  keep(first, items) {
    for (const [at, item] of items.entries()) this.items.set(first + at, item);
  }

  /** @returns {[number, number]} the first row on the screen, and the row behind the last */
  visible() {
    const height = this.rowHeight();
    const top = -this.root.getBoundingClientRect().top;
    return [Math.floor(top / height), Math.ceil((top + innerHeight) / height)];
  }

  rowHeight() {
    if (!this.height) this.height = Number.parseFloat(getComputedStyle(this.root).getPropertyValue("--row")) || 72;
    return this.height;
  }

  draw() {
    const height = this.rowHeight();
    this.root.style.height = `${this.total * height}px`;
    const [top, bottom] = this.visible();
    const first = Math.max(top - AROUND, 0);
    const last = Math.min(bottom + AROUND, this.total);
    for (const [index, row] of this.rows) {
      const there = index >= first && index < last;
      if (!there && !row.contains(document.activeElement)) {
        row.remove();
        this.rows.delete(index);
      }
    }
    for (let index = first; index < last; index++) {
      if (!this.rows.has(index)) this.place(index);
    }
    for (let page = Math.floor(first / PAGE) * PAGE; page < last; page += PAGE) this.need(page);
    clearTimeout(this.resting);
    this.resting = setTimeout(() => this.showPictures(), REST);
  }

  /** @param {number} index */
  place(index) {
    const item = this.items.get(index);
    if (!item) return;
    const row = this.render(item, index);
    row.dataset.index = String(index);
    row.style.top = `${index * this.rowHeight()}px`;
    row.setAttribute("aria-setsize", String(this.total));
    row.setAttribute("aria-posinset", String(index + 1));
    const after = [...this.rows.keys()].filter((other) => other > index).sort((a, b) => a - b)[0];
    this.root.insertBefore(row, after === undefined ? null : (this.rows.get(after) ?? null));
    this.rows.set(index, row);
  }

  /** @param {number} first of a page */
  async need(first) {
    if (this.asked.has(first) || this.items.has(first)) return;
    this.asked.add(first);
    const version = this.version;
    try {
      const { items } = await this.fetch(first, PAGE);
      if (version !== this.version) return;
      this.keep(first, items);
      this.draw();
      if (this.items.has(this.awaited)) this.focus(this.awaited);
    } catch {
      this.asked.delete(first); // the next scrolling asks again
    }
  }

  showPictures() {
    for (const picture of this.root.querySelectorAll("img[data-source]")) {
      if (!(picture instanceof HTMLImageElement)) continue;
      picture.src = picture.dataset.source ?? "";
      delete picture.dataset.source;
    }
  }

  /**
   * Put a row on the screen and the focus on its link.
   * @param {number} index
   */
  focus(index) {
    if (!this.total) return;
    this.active = Math.min(Math.max(index, 0), this.total - 1);
    const height = this.rowHeight();
    const top = this.root.getBoundingClientRect().top + this.active * height;
    if (top < 0) scrollBy(0, top - height);
    else if (top + height > innerHeight) scrollBy(0, top + 2 * height - innerHeight);
    this.draw();
    this.awaited = this.rows.has(this.active) ? -1 : this.active;
    const name = this.rows.get(this.active)?.querySelector('a:not([tabindex="-1"])');
    if (name instanceof HTMLElement) name.focus({ preventScroll: true });
  }
}

/** A picture that is fetched when the list has come to rest. */
export const laterPicture = (source) =>
  el("img", { alt: "", width: 112, height: 63, "data-source": source, decoding: "async" });
