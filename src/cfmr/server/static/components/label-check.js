// Labels that are likely wrong, offered for a second look, and what more labels are worth.

import { address, call, get, post } from "../lib/api.js";
import { changed } from "../lib/changes.js";
import { clock, complain, el, notify, replace } from "../lib/dom.js";
import { follow } from "../lib/jobs.js";
import { author } from "../lib/settings.js";
import { text } from "../lib/texts.js";
import { did } from "../lib/undo.js";

const words = text.check;

/** @typedef {import("../lib/types.js").Doubtful} Doubtful */

export class LabelCheck {
  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
    this.start = el("button", { type: "button", on: { click: () => this.begin() } }, words.start);
    this.found = el("div", { class: "check-found" });
    replace(
      root,
      el("h2", { id: "check-name" }, words.title),
      el("p", { class: "text-soft" }, words.lead),
      el("p", { class: "row" }, this.start),
      this.found,
    );
  }

  /** @param {boolean} busy whether labels are being checked */
  running(busy) {
    this.start.disabled = busy;
  }

  async begin() {
    this.start.disabled = true;
    try {
      await follow(await post("/api/labels/check"));
    } catch (error) {
      complain(error);
      this.start.disabled = false;
    }
  }

  /** @param {number} labels how many there are to learn from */
  async refresh(labels) {
    this.root.hidden = !labels;
    if (!labels) return;
    const { checked, worth, doubtful } = await get("/api/labels/check");
    replace(
      this.found,
      worth && el("p", {}, text.questions.worth(worth.found, worth.gain, worth.more)),
      worth && curve(worth),
      el("p", {}, !checked ? words.never : doubtful.length ? words.doubtful(doubtful.length) : words.none),
      doubtful.length > 0 &&
        el(
          "ul",
          { class: "check-list" },
          doubtful.map((one) => this.line(one)),
        ),
    );
  }

  /** @param {Doubtful} one */
  line({ label, second }) {
    const { id, revision, video, glance, sentence } = label;
    const to = { video, t: glance.toFixed(2) };
    const keep = () =>
      this.done(words.kept, call("PATCH", `/api/labels/${id}`, { body: { revision, author: author() } }));
    const remove = () =>
      this.done(words.deleted, call("DELETE", `/api/labels/${id}`, { query: { revision, author: author() } }));
    const button = (said, name, click) =>
      el("button", { type: "button", class: "button-quiet", "aria-label": name, on: { click } }, said);
    return el(
      "li",
      {},
      el(
        "span",
        { class: "check-sentence" },
        label.absent && el("b", { class: "text-soft" }, text.label.not, " "),
        sentence,
        el(
          "small",
          {},
          el("a", { href: address("/label", to) }, `${clock(glance, true)}, ${video}`),
          " · ",
          second === null
            ? words.denied
            : el(
                "a",
                { href: address("/label", { video, t: second.toFixed(2) }) },
                words.expected(clock(second, true)),
              ),
        ),
      ),
      el(
        "span",
        { class: "row" },
        button(words.keep, words.keepOf(sentence), keep),
        el(
          "a",
          {
            class: "button button-quiet",
            href: address("/label", { ...to, label: id }),
            "aria-label": words.changeOf(sentence),
          },
          words.change,
        ),
        button(words.delete, words.deleteOf(sentence), remove),
      ),
    );
  }

  /** @param {string} said @param {Promise<any>} request */
  async done(said, request) {
    try {
      did(await request);
      changed("labels");
      notify(said);
    } catch (error) {
      complain(error);
    }
    await this.refresh(1);
    const rest = /** @type {HTMLElement | null} */ (this.found.querySelector("li button"));
    (rest ?? this.start).focus();
  }
}

/** @param {import("../lib/types.js").Worth} worth */
function curve(worth) {
  const heading = (name) => el("th", { scope: "col" }, name);
  const row = ([labels, found, of]) =>
    el("tr", {}, el("td", {}, labels.toLocaleString("en")), el("td", {}, `${Math.round((found / of) * 100)} %`));
  return el(
    "table",
    {},
    el("caption", { class: "visually-hidden" }, words.curve),
    el("thead", {}, el("tr", {}, heading(words.learned), heading(words.found))),
    el("tbody", {}, worth.points.map(row)),
  );
}
