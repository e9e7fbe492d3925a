// Vision-language checkpoints that can be downloaded and used, each with what can be done with it now.

import { get, post } from "../lib/api.js";
import { changed } from "../lib/changes.js";
import { complain, el, lasting, notify, replace } from "../lib/dom.js";
import { follow, lookAtJobs, onJobs } from "../lib/jobs.js";
import { text } from "../lib/texts.js";

const words = text.checkpoints;

const going = (job) => Boolean(job) && ["queued", "running"].includes(job.state);

/** A checkpoint. Its elements stay and change, so that a click is not lost while jobs are looked at. */
class Line {
  /** @param {CheckpointList} list */
  constructor(list, one) {
    this.list = list;
    this.one = one;
    const said = [words.size(one.size), words.languages(one.languages), words.licence(one.licence)].join(", ");
    this.bar = el("progress", { max: 1 });
    this.far = el("span");
    this.progress = el("span", { class: "checkpoint-line", hidden: true }, this.bar, " ", this.far);
    this.problem = el("span", { class: "checkpoint-line text-bad", role: "alert", hidden: true });
    this.needs = el("span", { class: "checkpoint-line", hidden: true });
    this.button = el("button", { type: "button", on: { click: () => this.run() } });
    this.current = el("span", { class: "model-current", hidden: true }, text.learn.inUse);
    this.run = () => {};
    const about = el("span", {}, el("b", {}, one.name), " ", el("span", { class: "text-soft" }, said));
    about.append(this.progress, this.problem, this.needs);
    this.root = el("li", { class: "checkpoint" }, about, el("span", { class: "row" }, this.button, this.current));
  }

  /** @param {import("../lib/types.js").Checkpoint} one @param {import("../lib/types.js").Job[]} jobs newest first */
  show(one, jobs) {
    this.one = one;
    const [fetch, use] = ["fetch", "use"].map((kind) =>
      jobs.find((job) => job.kind === kind && job.title.endsWith(` ${one.name}`)),
    );
    const job = [fetch, use].find(going);
    this.showProgress(job);
    const failed = one.here || one.read ? use : fetch;
    this.problem.hidden = Boolean(job) || failed?.state !== "failed" || (failed === use && one.read);
    if (!this.problem.hidden) this.problem.textContent = failed?.message;
    this.needs.hidden = !one.missing.length;
    if (one.missing.length) replace(this.needs, words.needs(one.missing), " ", el("code", {}, one.install));
    this.showAction(job);
  }

  showProgress(job) {
    this.progress.hidden = !job;
    if (!job) return;
    this.bar.setAttribute("aria-label", job.title);
    if (job.progress === null) this.bar.removeAttribute("value");
    else this.bar.value = job.progress;
    const loading = job.kind === "fetch" && job.progress !== null;
    const far = loading ? words.arrived(job.progress * this.one.size, this.one.size) : job.message || words.waits;
    this.far.textContent = job.left ? `${far}, ${text.reading.left(lasting(job.left))}` : far;
  }

  showAction(job) {
    const one = this.one;
    const usable = one.here || one.read;
    this.current.hidden = !one.served || Boolean(job);
    this.button.hidden = one.served && !job;
    this.button.disabled = !job && (usable ? !one.read && one.missing.length > 0 : !one.downloadable);
    const act = (label, spoken, run) => {
      this.button.textContent = label;
      this.button.setAttribute("aria-label", spoken);
      this.run = run;
    };
    if (job) act(text.jobs.cancel, words.cancelOf(job.title), () => this.list.post(`/api/jobs/${job.id}/cancel`));
    else if (usable) act(text.learn.use, text.learn.useOf(one.name), () => this.list.use(one));
    else {
      const label = one.arrived ? words.goOn : words.download;
      const spoken = `${label} ${one.name}, ${words.size(one.size)}`;
      act(label, spoken, () => this.list.post(`/api/checkpoints/${one.name}/fetch`));
    }
  }
}

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
    /** @type {Map<string, Line>} */
    this.lines = new Map();
    this.list = el("ul", { class: "model-list" });
    const lead = el("p", { class: "text-soft" }, words.lead);
    replace(root, el("h2", { id: "checkpoints-name" }, words.title), lead, this.list);
    onJobs((jobs, ended) => {
      this.jobs = jobs;
      if (ended.some((job) => ["fetch", "use"].includes(job.kind))) this.refresh();
      else this.draw();
      if (ended.some((job) => job.kind === "use" && job.state === "done")) {
        changed("model");
        this.onUsed();
      }
    });
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
    for (const one of this.known) {
      let line = this.lines.get(one.name);
      if (!line) {
        line = new Line(this, one);
        this.lines.set(one.name, line);
        this.list.append(line.root);
      }
      line.show(one, this.jobs);
    }
  }

  async use(one) {
    const answer = await this.post(`/api/checkpoints/${one.name}/use`);
    if (!answer) return;
    notify(answer.job ? words.reading(one.name) : text.learn.nowInUse(one.name));
    if (answer.job) return;
    changed("model");
    this.onUsed();
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
