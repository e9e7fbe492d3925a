// Time from left to right: relevance as a curve, found spans, known ones, labels, and where the player is. Of long
// videos a part is shown: it is zoomed with the wheel, the buttons or the keys, and follows the player.

import { clock, el, replace, spoken } from "../lib/dom.js";
import { text } from "../lib/texts.js";

/** @typedef {import("../lib/types.js").Span} Span */

const STEP = 0.25;
const LEAST = 1; // seconds that are always seen
const LONG = 120; // seconds from which on the wheel zooms
const PREVIEW = 160; // pixels of a picture under the pointer
const PAUSE = 120; // milliseconds that the pointer rests before a picture is asked for
const ticks = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600];

export class Timeline {
  /**
   * @param {Element} root
   * @param {object} listeners
   * @param {(seconds: number) => void} [listeners.onSeek]
   * @param {(span: Span) => void} [listeners.onSpan] called when a boundary of the active span was moved
   * @param {(seconds: number) => string | null} [listeners.picture] the address of what is on the screen at a time
   */
  constructor(root, { onSeek = () => {}, onSpan = () => {}, picture = () => null } = {}) {
    this.onSeek = onSeek;
    this.onSpan = onSpan;
    this.picture = picture;
    this.svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
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
    this.head = this.slider("timeline-head", text.timeline.position, (time) => this.onSeek(time), 1);
    this.start = this.slider("timeline-edge", text.timeline.start, (time) => this.move(0, time), STEP);
    this.end = this.slider("timeline-edge", text.timeline.end, (time) => this.move(1, time), STEP);
    this.axis = el("div", { class: "timeline-axis", "aria-hidden": "true" });
    this.legend = el("p", { class: "timeline-legend" });
    this.hover = el("div", { class: "timeline-hover", "aria-hidden": "true", hidden: true });
    this.part = el("i", { class: "timeline-part-shown" });
    this.overview = el("div", { class: "timeline-part", "aria-hidden": "true", hidden: true }, this.part);
    this.zooms = el(
      "span",
      { class: "timeline-zoom" },
      [
        [text.timeline.zoomOut, "−", 2],
        [text.timeline.zoomIn, "+", 0.5],
      ].map(([label, sign, by]) =>
        el(
          "button",
          {
            type: "button",
            class: "button-quiet",
            "aria-label": label,
            title: label,
            on: {
              click: () => this.zoom(Number(by)),
            },
          },
          sign,
        ),
      ),
    );
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
      this.hover,
    );
    this.duration = 0;
    /** @type {Span} the part that is seen */
    this.view = [0, 0];
    /** @type {string | null} the video that is shown */
    this.video = null;
    /** @type {Span | null} */
    this.span = null;
    this.time = 0;
    /** @type {{ duration: number, scores?: number[], times?: number[], others?: Span[], known?: Span[],
     *   labels?: { glance: number, sentence: string }[] }} */
    this.shown = { duration: 0 };
    this.root = root.appendChild(
      el(
        "div",
        { class: "timeline" },
        this.track,
        this.overview,
        this.axis,
        el("div", { class: "timeline-foot" }, this.legend, this.zooms),
      ),
    );
    this.setSpan(null);
    this.track.addEventListener("pointerdown", (event) => this.drag(event));
    this.track.addEventListener("pointermove", (event) => this.preview(event));
    this.track.addEventListener("pointerleave", () => this.endPreview());
    this.track.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
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
    slider.classList.toggle("timeline-outside", this.isOutside(time));
    slider.setAttribute("aria-valuemax", this.duration.toFixed(1));
    slider.setAttribute("aria-valuenow", time.toFixed(1));
    slider.setAttribute("aria-valuetext", spoken(time));
  }

  get seen() {
    return this.view[1] - this.view[0];
  }

  isOutside(time) {
    return time < this.view[0] - 1e-6 || time > this.view[1] + 1e-6;
  }

  share = (time) => (this.seen > 0 ? Math.min(Math.max((time - this.view[0]) / this.seen, 0), 1) * 100 : 0);

  at(event) {
    const box = this.track.getBoundingClientRect();
    return this.view[0] + Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1) * this.seen;
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

  // --- which part is seen ----------------------------------------------------------------------------------------------

  /**
   * See `by` times as much, around a time that stays where it is.
   * @param {number} by
   * @param {number} [around] default: where the player is, if that is seen
   */
  zoom(by, around = this.isOutside(this.time) ? (this.view[0] + this.view[1]) / 2 : this.time) {
    if (!this.duration) return;
    const length = Math.min(Math.max(this.seen * by, Math.min(LEAST, this.duration)), this.duration);
    const share = this.seen > 0 ? (around - this.view[0]) / this.seen : 0.5;
    this.see(around - share * length, length);
  }

  /** See the moment with what is around it, or the whole video if it is that already. */
  zoomToSpan() {
    const [start, end] = this.span ?? [this.time - 5, this.time + 5];
    const length = Math.min(Math.max((end - start) * 3, 2 * LEAST), this.duration);
    const from = (start + end - length) / 2;
    const there = Math.abs(this.seen - length) < 1e-3 && Math.abs(this.view[0] - Math.max(from, 0)) < 1e-3;
    if (there) this.see(0, this.duration);
    else this.see(from, length);
  }

  see(from, length) {
    const start = Math.min(Math.max(from, 0), Math.max(this.duration - length, 0));
    this.view = [start, start + length];
    this.draw();
  }

  wheel(event) {
    if (!this.duration) return;
    const sideways = event.shiftKey
      ? event.deltaY || event.deltaX
      : Math.abs(event.deltaX) > Math.abs(event.deltaY) && event.deltaX;
    const whole = this.seen >= this.duration - 1e-6;
    if (sideways) {
      if (whole) return;
      event.preventDefault();
      this.see(this.view[0] + (sideways / this.track.clientWidth) * this.seen, this.seen);
      return;
    }
    if (!event.ctrlKey && this.duration < LONG) return; // the page scrolls
    if (whole && event.deltaY > 0 && !event.ctrlKey) return;
    event.preventDefault();
    this.zoom(Math.exp(Math.min(Math.max(event.deltaY, -120), 120) / 240), this.at(event));
  }

  // --- what is under the pointer ---------------------------------------------------------------------------------------

  preview(event) {
    if (event.pointerType === "touch" || !this.duration) return;
    const time = this.at(event);
    this.hover.hidden = false;
    const half = PREVIEW / 2;
    const box = this.track.getBoundingClientRect();
    const left = Math.min(Math.max(event.clientX - box.left, half), Math.max(box.width - half, half));
    this.hover.style.left = `${left}px`;
    const label = el("span", {}, clock(time, this.seen < 600));
    replace(this.hover, this.hover.querySelector("img"), label);
    clearTimeout(this.resting);
    this.resting = setTimeout(() => this.showPicture(time), PAUSE);
  }

  // Times are rounded to what a pixel or two can tell apart, so that few pictures are made and those are kept.
  showPicture(time) {
    const step = Math.max(ticks.find((one) => one >= this.seen / 100) ?? 60, 0.1);
    const address = this.picture(Math.min(Math.round(time / step) * step, this.duration));
    if (!address || this.hover.hidden) return;
    const there = this.hover.querySelector("img");
    if (there?.getAttribute("src") === address) return;
    const picture = el("img", { src: address, alt: "", width: PREVIEW, height: (PREVIEW * 9) / 16 });
    if (there) there.replaceWith(picture);
    else this.hover.prepend(picture);
  }

  endPreview() {
    clearTimeout(this.resting);
    this.hover.hidden = true;
    replace(this.hover);
  }

  // --- drawing ---------------------------------------------------------------------------------------------------------

  /**
   * Everything that does not change while a video is watched.
   * @param {{ duration: number, scores?: number[], times?: number[], others?: Span[], known?: Span[],
   *   labels?: { glance: number, sentence: string }[], video?: string }} what
   */
  show(what) {
    const other = what.video !== undefined && what.video !== this.video;
    if (other || what.duration !== this.duration) this.view = [0, what.duration];
    if (what.video !== undefined) this.video = what.video;
    this.duration = what.duration;
    this.shown = what;
    this.drawCurve();
    this.drawLegend();
    this.draw();
  }

  drawLegend() {
    const { scores = [], others = [], known = [], labels = [] } = this.shown;
    this.root.classList.toggle("timeline-plain", !scores.length && !this.span);
    replace(
      this.legend,
      scores.length > 0 && el("span", { class: "timeline-key-curve" }, text.timeline.relevance),
      this.span && el("span", {}, text.timeline.moment),
      others.length > 0 && el("span", { class: "timeline-key-other" }, text.timeline.others),
      known.length > 0 && el("span", { class: "timeline-key-truth" }, text.timeline.annotated),
      labels.length > 0 && el("span", { class: "timeline-key-label" }, text.timeline.labels(labels.length)),
    );
  }

  /** What depends on which part is seen. */
  draw() {
    const { others = [], known = [], labels = [] } = this.shown;
    const scale = this.duration ? 1000 / this.duration : 0;
    this.svg.setAttribute("viewBox", `${this.view[0] * scale} 0 ${Math.max(this.seen * scale, 1e-3)} 100`);
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
      labels
        .filter(({ glance }) => !this.isOutside(glance))
        .map(({ glance, sentence }) => {
          const mark = el("i", { class: "timeline-label", title: `${clock(glance, true)}  ${sentence}` });
          mark.style.left = `${this.share(glance)}%`;
          return mark;
        }),
    );
    this.drawSpan();
    this.place(this.head, Math.min(this.time, this.duration));
    this.drawAxis();
    const whole = this.seen >= this.duration - 1e-6;
    this.overview.hidden = whole;
    this.part.style.left = `${(this.view[0] / this.duration) * 100}%`;
    this.part.style.width = `${(this.seen / this.duration) * 100}%`;
  }

  band(name, start, end) {
    const band = el("i", { class: name, hidden: end < this.view[0] || start > this.view[1] });
    band.style.left = `${this.share(start)}%`;
    band.style.width = `${this.share(end) - this.share(start)}%`;
    return band;
  }

  drawCurve() {
    const { times = [], scores = [] } = this.shown;
    const low = Math.min(...scores);
    const spread = Math.max(Math.max(...scores) - low, 1e-9);
    const points = scores.map(
      (score, at) =>
        `${((times[at] / this.duration) * 1000).toFixed(2)} ${(92 - ((score - low) / spread) * 78).toFixed(1)}`,
    );
    if (points.length) {
      points.unshift(`0 ${points[0].split(" ")[1]}`);
      points.push(`1000 ${points.at(-1)?.split(" ")[1]}`);
    }
    this.line.setAttribute("d", points.length ? `M${points.join("L")}` : "");
    this.area.setAttribute("d", points.length ? `M0 100L${points.join("L")}L1000 100Z` : "");
  }

  /** @param {Span | null} span */
  setSpan(span) {
    const appears = (span === null) !== (this.span === null);
    this.span = span;
    this.drawSpan();
    if (appears) this.drawLegend();
  }

  drawSpan() {
    const { span } = this;
    for (const part of [this.active, this.start, this.end]) part.hidden = !span;
    if (!span) return;
    this.active.hidden = span[1] < this.view[0] || span[0] > this.view[1];
    this.active.style.left = `${this.share(span[0])}%`;
    this.active.style.width = `${this.share(span[1]) - this.share(span[0])}%`;
    this.place(this.start, span[0]);
    this.place(this.end, span[1]);
  }

  // Move a boundary; a moment lasts at least a tenth of a second.
  move(which, time) {
    if (!this.span) return;
    /** @type {Span} */
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
    const wasSeen = !this.isOutside(this.time);
    this.time = time;
    // the part that is seen goes on with the player, unless one looks elsewhere
    if (wasSeen && this.isOutside(time) && this.seen < this.duration) this.see(time - this.seen * 0.1, this.seen);
    else this.place(this.head, Math.min(time, this.duration));
  }

  drawAxis() {
    const width = this.track.clientWidth;
    if (!this.duration || !width || !(this.seen > 0)) return;
    const [from, to] = this.view;
    const step = ticks.find((one) => (one / this.seen) * width >= 64) ?? Math.ceil(this.seen / 4);
    const marks = [];
    const first = Math.ceil(from / step - 1e-6);
    for (let number = first; number * step === from || ((to - number * step) / this.seen) * width >= 56; number += 1) {
      const mark = el("span", {}, clock(number * step, step < 1));
      mark.style.left = `${this.share(number * step)}%`;
      marks.push(mark);
    }
    marks.push(el("span", { class: "timeline-axis-end" }, clock(to, this.seen < 10)));
    replace(this.axis, marks);
  }
}
