// A job with its progress, its log and a way to stop it.

import { get, post } from "../lib/api.js";
import { complain, el, lasting, replace } from "../lib/dom.js";
import { lookAtJobs } from "../lib/jobs.js";
import { text } from "../lib/texts.js";

const words = text.jobs;
const colours = { done: "job-done", failed: "job-failed", cancelled: "job-cancelled" };

export class JobView {
  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
    this.name = el("h2", { id: "job-name" });
    this.message = el("p", { class: "job-message" });
    this.progress = el("progress", { "aria-labelledby": "job-name" });
    this.cancel = el("button", { type: "button", on: { click: () => this.stop() } }, words.cancel);
    this.log = el("pre", { tabIndex: 0, "aria-label": words.log });
    this.details = el(
      "details",
      { class: "disclosure", on: { toggle: () => this.readLog() } },
      el("summary", {}, words.log),
      this.log,
    );
    this.more = el("p", { class: "text-soft", hidden: true });
    replace(
      root,
      el("div", { class: "list-head" }, this.name, this.cancel),
      this.progress,
      this.message,
      this.more,
      this.details,
    );
  }

  /**
   * @param {import("../lib/types.js").Job | undefined} job
   * @param {number} [queued] how many wait behind it
   */
  show(job, queued = 0) {
    this.root.hidden = !job;
    if (!job) return;
    if (job.id !== this.job?.id) {
      this.offset = 0;
      this.log.textContent = "";
    }
    this.job = job;
    const over = !["queued", "running"].includes(job.state);
    const seconds = (job.finished ?? Date.now() / 1000) - (job.started ?? job.created);
    this.name.textContent = job.title;
    this.cancel.hidden = over;
    this.progress.hidden = over;
    if (job.progress === null) this.progress.removeAttribute("value");
    else this.progress.value = job.progress;
    replace(
      this.message,
      words.states[job.state] && el("strong", { class: colours[job.state] }, `${words.states[job.state]}  `),
      job.message === job.state ? "" : job.message,
      el("span", { class: "text-soft" }, `  ${job.started ? lasting(seconds) : ""}`),
      job.left ? el("span", { class: "text-soft" }, `, ${text.reading.left(lasting(job.left))}`) : "",
    );
    this.more.hidden = queued === 0;
    this.more.textContent = words.more(queued);
    if (this.details.open) this.readLog();
  }

  async stop() {
    try {
      await post(`/api/jobs/${this.job?.id}/cancel`);
      lookAtJobs();
    } catch (error) {
      complain(error);
    }
  }

  async readLog() {
    if (!this.details.open || this.reading || !this.job) return;
    this.reading = true;
    try {
      const job = this.job.id;
      const piece = await get(`/api/jobs/${job}/log`, { offset: this.offset });
      if (job === this.job.id && piece.offset > (this.offset ?? 0)) {
        const atEnd = this.log.scrollTop + this.log.clientHeight >= this.log.scrollHeight - 8;
        this.log.append(piece.text);
        this.offset = piece.offset;
        if (atEnd) this.log.scrollTop = this.log.scrollHeight;
      }
    } catch (error) {
      complain(error);
    } finally {
      this.reading = false;
    }
  }
}
