// The most useful click: a sentence at a second of a video, to be answered by one key.

import { post } from "../lib/api.js";
import { clock, complain, el, normalized, replace } from "../lib/dom.js";
import { text } from "../lib/texts.js";
import { soughtSentences } from "./past-searches.js";

const KEY = "cfmr-skipped";
const AT_ONCE = 5; // later questions follow from the answers to these
const MOST_SKIPPED = 500;
const LONGEST = 500; // characters
const MOST_SENTENCES = 100;
const words = text.questions;

/** @typedef {import("../lib/types.js").Question} Question */
/** @typedef {"yes" | "no" | "skip"} Answer */

/** @returns {{ video: string, sentence: string }[]} */
function skipped() {
  try {
    return JSON.parse(sessionStorage.getItem(KEY) ?? "[]");
  } catch {
    return [];
  }
}

export class QuestionPanel {
  /**
   * @param {HTMLElement} root
   * @param {{ show: (question: Question) => Promise<unknown>, label: (question: Question, yes: boolean) => Promise<boolean>,
   *   ended: () => void }} actions `label` says whether it was taken
   */
  constructor(root, actions) {
    this.root = root;
    this.actions = actions;
    /** @type {Question[]} */
    this.left = [];
    /** @type {Question | null} */
    this.now = null;
    this.busy = false;
    this.sentence = el("p", { class: "question-sentence" });
    this.where = el("p", { class: "text-soft" });
    this.worth = el("p", { class: "text-soft", role: "status" });
    this.buttons = [
      this.button("yes", "button-main"),
      this.button("no"),
      this.button("skip"),
      el("button", { type: "button", class: "button-quiet", on: { click: () => this.stop() } }, words.stop),
    ];
    replace(
      root,
      el("h2", { id: "question-name" }, words.title),
      this.sentence,
      this.where,
      el("div", { class: "row" }, this.buttons),
      el("p", { class: "text-soft" }, words.hint),
      this.worth,
    );
  }

  /** @param {Answer} kind @param {string} [look] */
  button(kind, look = "") {
    const click = () => this.answer(kind);
    return el("button", { type: "button", class: look, on: { click } }, words[kind], el("kbd", {}, words.keyOf[kind]));
  }

  get asking() {
    return !this.root.hidden;
  }

  async begin() {
    this.left = [];
    this.root.hidden = false;
    await this.next();
  }

  stop() {
    this.root.hidden = true;
    this.now = null;
    this.left = [];
    this.actions.ended();
  }

  async next() {
    try {
      if (!this.left.length) await this.fetch();
      const next = this.left.shift() ?? null;
      if (!this.asking) return; // stopped meanwhile
      this.now = next;
      for (const button of this.buttons.slice(0, 3)) button.hidden = !next;
      this.sentence.textContent = next ? next.sentence : words.none;
      this.where.textContent = next ? words.where(next.video, clock(next.second, true)) : "";
      if (next) await this.actions.show(next);
    } catch (error) {
      complain(error);
      this.stop();
    }
  }

  async fetch() {
    const sentences = soughtSentences().filter((said) => said.length <= LONGEST);
    const body = { sentences: sentences.slice(0, MOST_SENTENCES), skipped: skipped(), count: AT_ONCE };
    const { questions, worth } = await post("/api/questions", body);
    this.left = questions;
    replace(
      this.worth,
      worth
        ? words.worth(worth.found, worth.gain, worth.more)
        : [words.unknownWorth, el("a", { href: "/learn" }, words.check)],
    );
  }

  /** @param {Answer} kind */
  async answer(kind) {
    const question = this.now;
    if (!question || this.busy) return;
    this.busy = true; // a key that is pressed twice answers once
    try {
      if (kind === "skip") this.skip(question);
      else if (!(await this.actions.label(question, kind === "yes"))) return;
      if (kind === "yes") this.left = this.left.filter((other) => !sameSentence(other, question));
      await this.next();
    } finally {
      this.busy = false;
    }
  }

  /** @param {Question} question */
  skip({ video, sentence }) {
    try {
      sessionStorage.setItem(KEY, JSON.stringify([{ video, sentence }, ...skipped()].slice(0, MOST_SKIPPED)));
    } catch {
      /* private window: it may come again */
    }
  }
}

/** What is in the same video and says the same is answered, too. */
function sameSentence(one, other) {
  return one.video === other.video && normalized(one.sentence) === normalized(other.sentence);
}
