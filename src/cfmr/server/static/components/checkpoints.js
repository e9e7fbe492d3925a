// Vision-language checkpoints that can be downloaded and used, each with what can be done with it now.

import { get, post } from "../lib/api.js";
import { changed } from "../lib/changes.js";
import { complain, el, lasting, notify, replace } from "../lib/dom.js";
import { follow, lookAtJobs, onJobs } from "../lib/jobs.js";
import { text } from "../lib/texts.js";

const words = text.checkpoints;

/** Shows in an element the checkpoints that the server knows, for as long as the page is open. */
export class CheckpointList {
  /**
   * @param {HTMLElement} root
   * @param {() => void} onUsed called when another model is in use
   */
  constructor(root, onUsed) {
    this.root = root;
    this.onUsed = onUsed;
    /** @type {import("../lib/types.js").Checkpoint[]} */
    this.known = [];
    /** @type {import("../lib/types.js").Job[]} */
    this.jobs = [];
    this.list = el("ul", { class: "model-list" });
    replace(
      root,
      el("h2", { id: "checkpoints-name" }, words.title),
      el("p", { class: "text-soft" }, words.lead),
      this.list,
    );
    onJobs((jobs, ended) => {
      this.jobs = jobs;
      if (ended.some((job) => ["fetch", "use"].includes(job.kind))) this.refresh();
      else this.draw();
      if (ended.some((job) => job.kind === "use" && job.state === "done")) {
        changed("model");
        this.onUsed();
      }
    });
    this.refresh();
  }

  async refresh() {
    try {
      this.known = await get("/api/checkpoints");
      this.root.hidden = !this.known.length;
      this.draw();
    } catch (error) {
      complain(error);
    }
  }

  draw() {
    const focused = this.list.contains(document.activeElement) ? document.activeElement?.id : "";
    replace(
      this.list,
      this.known.map((one) => this.line(one)),
    );
    if (focused) document.getElementById(focused)?.focus();
  }

  line(one) {
    const said = [words.size(one.size), words.languages(one.languages), words.licence(one.licence)].join(", ");
    return el(
      "li",
      { class: "checkpoint" },
      el("span", {}, el("b", {}, one.name), " ", el("span", { class: "text-soft" }, said), this.state(one)),
      el("span", { class: "row" }, this.action(one)),
    );
  }

  // The newest job of a kind for this checkpoint.
  job(kind, one) {
    return this.jobs.find((job) => job.kind === kind && job.title.endsWith(` ${one.name}`));
  }

  state(one) {
    const lines = [];
    for (const kind of ["fetch", "use"]) {
      const job = this.job(kind, one);
      if (!job) continue;
      if (["queued", "running"].includes(job.state)) lines.push(this.progress(kind, one, job));
      else if (job.state === "failed" && !(kind === "fetch" && one.here) && !(kind === "use" && one.read)) {
        lines.push(el("span", { class: "checkpoint-line text-bad", role: "alert" }, job.message));
      }
    }
    if (one.missing.length) {
      lines.push(el("span", { class: "checkpoint-line" }, words.needs(one.missing), " ", el("code", {}, one.install)));
    }
    return lines;
  }

  progress(kind, one, job) {
    const bar = el("progress", { "aria-label": job.title, max: 1 });
    if (job.progress !== null) bar.value = job.progress;
    const loading = kind === "fetch" && job.progress !== null;
    const far = loading ? words.arrived(job.progress * one.size, one.size) : job.message || words.waits;
    return el(
      "span",
      { class: "checkpoint-line" },
      bar,
      " ",
      job.left ? `${far}, ${text.reading.left(lasting(job.left))}` : far,
    );
  }

  action(one) {
    const going = ["fetch", "use"]
      .map((kind) => this.job(kind, one))
      .find((job) => job && ["queued", "running"].includes(job.state));
    const button = (label, spoken, run, properties = {}) =>
      el(
        "button",
        { type: "button", id: `do-${one.name}`, "aria-label": spoken, on: { click: run }, ...properties },
        label,
      );
    if (going)
      return button(text.jobs.cancel, words.cancelOf(going.title), () => this.post(`/api/jobs/${going.id}/cancel`));
    if (one.served) return el("span", { class: "model-current" }, text.learn.inUse);
    if (one.here || one.read) {
      const disabled = !one.read && one.missing.length > 0;
      return button(text.learn.use, text.learn.useOf(one.name), () => this.use(one), { disabled });
    }
    const label = one.arrived ? words.goOn : words.download;
    const spoken = `${label} ${one.name}, ${words.size(one.size)}`;
    return button(label, spoken, () => this.post(`/api/checkpoints/${one.name}/fetch`), {
      disabled: !one.downloadable,
    });
  }

  async use(one) {
    const answer = await this.post(`/api/checkpoints/${one.name}/use`);
    if (!answer) return;
    notify(answer.job ? words.reading(one.name) : text.learn.nowInUse(one.name));
    if (answer.job) return;
    changed("model");
    this.onUsed();
    await this.refresh();
  }

  async post(path) {
    try {
      const answer = await post(path);
      if (answer.job || answer.kind) await follow({ id: answer.job ?? answer.id });
      else await lookAtJobs();
      return answer;
    } catch (error) {
      complain(error);
      return null;
    }
  }
}
