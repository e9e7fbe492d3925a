// Time from left to right: relevance as a curve, found spans, known ones, labels, and where the player is.

import { clock, el, replace, spoken } from "../lib/dom.js";

const STEP = 0.25;
const ticks = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600];

export class Timeline {
  /**
   * @param {Element} root
   * @param {object} listeners
   * @param {(seconds: number) => void} [listeners.onSeek]
   * @param {(span: [number, number]) => void} [listeners.onSpan] called when a boundary of the active span was moved
   */
  constructor(root, { onSeek = () => {}, onSpan = () => {} } = {}) {
    this.onSeek = onSeek;
    this.onSpan = onSpan;
    this.svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    this.svg.setAttribute("viewBox", "0 0 1000 100");
    this.svg.setAttribute("preserveAspectRatio", "none");
    this.svg.setAttribute("aria-hidden", "true");
    this.area = this.svg.appendChild(document.createElementNS(this.svg.namespaceURI, "path"));
    this.area.setAttribute("class", "timeline-area");
    this.line = this.svg.appendChild(document.createElementNS(this.svg.namespaceURI, "path"));
    this.line.setAttribute("class", "timeline-curve");
    this.others = el("div", { class: "timeline-others" });
    this.active = el("div", { class: "timeline-span", hidden: true });
    this.known = el("div", { class: "timeline-truths" });
    this.marks = el("div", { class: "timeline-labels" });
    this.head = this.slider("timeline-head", "Position", (time) => this.onSeek(time), 1);
    this.start = this.slider("timeline-edge", "Start of the moment", (time) => this.move(0, time), STEP);
    this.end = this.slider("timeline-edge", "End of the moment", (time) => this.move(1, time), STEP);
    this.axis = el("div", { class: "timeline-axis", "aria-hidden": "true" });
    this.legend = el("p", { class: "timeline-legend" });
    this.track = el(
      "div",
      { class: "timeline-track" },
      this.svg,
      this.others,
      this.active,
      this.known,
      this.marks,
      this.start,
      this.end,
      this.head,
    );
    this.duration = 0;
    /** @type {string | null} the video that is shown */
    this.video = null;
    /** @type {[number, number] | null} */
    this.span = null;
    this.root = root.appendChild(el("div", { class: "timeline" }, this.track, this.axis, this.legend));
    this.setSpan(null);
    this.track.addEventListener("pointerdown", (event) => this.drag(event));
    new ResizeObserver(() => this.drawAxis()).observe(this.track);
  }

  slider(name, label, move, step) {
    const slider = el("div", { class: name, role: "slider", tabIndex: 0, "aria-label": label, "aria-valuemin": "0" });
    slider.addEventListener("keydown", (event) => {
      const now = Number(slider.dataset.time);
      const by = event.shiftKey ? step * 5 : step;
      const target = {
        ArrowLeft: now - by,
        ArrowDown: now - by,
        ArrowRight: now + by,
        ArrowUp: now + by,
        Home: 0,
        End: this.duration,
      };
      if (!(event.key in target)) return;
      event.preventDefault();
      move(Math.min(Math.max(target[event.key], 0), this.duration));
    });
    slider.move = move;
    return slider;
  }

  place(slider, time) {
    slider.dataset.time = time;
    slider.style.left = `${this.share(time)}%`;
    slider.setAttribute("aria-valuemax", this.duration.toFixed(1));
    slider.setAttribute("aria-valuenow", time.toFixed(1));
    slider.setAttribute("aria-valuetext", spoken(time));
  }

  share = (time) => (this.duration ? Math.min(Math.max(time / this.duration, 0), 1) * 100 : 0);

  at(event) {
    const box = this.track.getBoundingClientRect();
    return Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1) * this.duration;
  }

  drag(event) {
    if (event.button !== 0 || !this.duration) return;
    const edge = event.target.closest(".timeline-edge");
    const move = edge ? edge.move : this.head.move;
    event.preventDefault();
    (edge ?? this.head).focus({ preventScroll: true });
    this.track.setPointerCapture(event.pointerId);
    if (!edge) move(this.at(event));
    const follow = (moved) => move(this.at(moved));
    this.track.addEventListener("pointermove", follow);
    const done = () => this.track.removeEventListener("pointermove", follow);
    this.track.addEventListener("pointerup", done, { once: true });
    this.track.addEventListener("pointercancel", done, { once: true });
  }

  /**
   * Everything that does not change while a video is watched.
   * @param {{ duration: number, scores?: number[], times?: number[], others?: [number, number][],
   *   known?: [number, number][], labels?: { glance: number, sentence: string }[] }} what
   */
  show({ duration, scores = [], times = [], others = [], known = [], labels = [] }) {
    this.duration = duration;
    this.root.classList.toggle("timeline-plain", !scores.length && !this.span);
    this.curve(times, scores);
    replace(
      this.others,
      others.map(([start, end]) => this.band("timeline-other", start, end)),
    );
    replace(
      this.known,
      known.map(([start, end]) => this.band("timeline-truth", start, end)),
    );
    replace(
      this.marks,
      labels.map(({ glance, sentence }) => {
        const mark = el("i", { class: "timeline-label", title: `${clock(glance, true)}  ${sentence}` });
        mark.style.left = `${this.share(glance)}%`;
        return mark;
      }),
    );
    this.drawAxis();
    replace(
      this.legend,
      scores.length > 0 && el("span", { class: "timeline-key-curve" }, "fit over time"),
      (this.span || others.length > 0) && el("span", { class: "key-found" }, "found"),
      known.length > 0 && el("span", { class: "timeline-key-truth" }, "annotated"),
      labels.length > 0 && el("span", { class: "timeline-key-label" }, labels.length === 1 ? "label" : "labels"),
    );
    this.setTime(0);
  }

  band(name, start, end) {
    const band = el("i", { class: name });
    band.style.left = `${this.share(start)}%`;
    band.style.width = `${this.share(end) - this.share(start)}%`;
    return band;
  }

  curve(times, scores) {
    const low = Math.min(...scores);
    const spread = Math.max(Math.max(...scores) - low, 1e-9);
    const points = scores.map(
      (score, at) =>
        `${((times[at] / this.duration) * 1000).toFixed(1)} ${(92 - ((score - low) / spread) * 78).toFixed(1)}`,
    );
    if (points.length) {
      points.unshift(`0 ${points[0].split(" ")[1]}`);
      points.push(`1000 ${points.at(-1).split(" ")[1]}`);
    }
    this.line.setAttribute("d", points.length ? `M${points.join("L")}` : "");
    this.area.setAttribute("d", points.length ? `M0 100L${points.join("L")}L1000 100Z` : "");
  }

  setSpan(span) {
    this.span = span;
    for (const part of [this.active, this.start, this.end]) part.hidden = !span;
    if (!span) return;
    this.active.style.left = `${this.share(span[0])}%`;
    this.active.style.width = `${this.share(span[1]) - this.share(span[0])}%`;
    this.place(this.start, span[0]);
    this.place(this.end, span[1]);
  }

  // Move a boundary; a moment lasts at least a tenth of a second.
  move(which, time) {
    if (!this.span) return;
    /** @type {[number, number]} */
    const span = [...this.span];
    span[which] = which ? Math.max(time, span[0] + 0.1) : Math.min(time, span[1] - 0.1);
    span[which] = Math.round(Math.min(Math.max(span[which], 0), this.duration) * 100) / 100;
    this.setSpan(span);
    this.onSpan(span);
  }

  nudge(which, by) {
    if (this.span) this.move(which, this.span[which] + by);
  }

  setTime(time) {
    this.place(this.head, Math.min(time, this.duration));
  }

  drawAxis() {
    const width = this.track.clientWidth;
    if (!this.duration || !width) return;
    const step = ticks.find((one) => (one / this.duration) * width >= 64) ?? Math.ceil(this.duration / 4);
    const marks = [];
    for (let time = 0; time === 0 || ((this.duration - time) / this.duration) * width >= 56; time += step) {
      const mark = el("span", {}, clock(time, step < 1));
      mark.style.left = `${this.share(time)}%`;
      marks.push(mark);
    }
    marks.push(el("span", { class: "timeline-axis-end" }, clock(this.duration, this.duration < 10)));
    replace(this.axis, marks);
  }
}
