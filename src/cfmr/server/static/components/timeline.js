// Time from left to right: relevance as a curve, found spans, known ones, labels, and where the player is. Of long
// videos a part is shown: it is zoomed with the wheel, the buttons or the keys, and follows the player.

import { clock, el, replace, spoken } from "../lib/dom.js";
import { text } from "../lib/texts.js";
import { Preview } from "./preview.js";

/** @typedef {import("../lib/types.js").Span} Span */
/** @typedef {{ times: number[], scores: number[] }} Curve */

const STEP = 0.25;
const LEAST = 8; // frames that are always seen
const SHORT = 2; // seconds that need not be
const CLOSE = 10; // seconds below which frames are told apart
const FRAME_WIDTH = 5; // pixels from which on frames are marked
const LONG = 120; // seconds from which on the wheel zooms
const JUMP = 1.5; // seconds between two times of the player from which on it did not play from one to the other
const COLUMNS = 1000; // points of the curve at most
const CURVE_PAUSE = 150; // milliseconds that what is seen stays, before its curve is asked for
const BESIDE = 1; // how much is asked for on each side, in shares of what is seen
const TIGHT = 30; // pixels between start and end below which their handles would be in each other's way
const LETTER = 7; // pixels, about
const ticks = [0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600];

export class Timeline {
  /**
   * @param {Element} root
   * @param {object} listeners
   * @param {(seconds: number) => void} [listeners.onSeek]
   * @param {(span: Span) => void} [listeners.onSpan] called when a boundary of the active span was moved
   * @param {(seconds: number) => string | null} [listeners.picture] the address of what is on the screen at a time
   * @param {() => Promise<number>} [listeners.frame] how long a frame of the video lasts
   * @param {((from: number, to: number) => Promise<Curve | null>) | null} [listeners.curve] the curve of a part
   */
  constructor(
    root,
    { onSeek = () => {}, onSpan = () => {}, picture = () => null, frame = async () => 0.04, curve = null } = {},
  ) {
    this.onSeek = onSeek;
    this.onSpan = onSpan;
    this.askFrame = frame;
    this.askCurve = curve;
    this.preview = new Preview(picture);
    this.svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    this.svg.setAttribute("preserveAspectRatio", "none");
    this.svg.setAttribute("viewBox", "0 0 1000 100");
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
    this.frames = el("div", { class: "timeline-frames", hidden: true });
    this.part = el("i", { class: "timeline-part-shown" });
    this.overview = el("div", { class: "timeline-part", "aria-hidden": "true" }, el("div", {}, this.part));
    const zoom = (label, sign, run) =>
      el(
        "button",
        { type: "button", class: "button-quiet", "aria-label": label, title: label, on: { click: run } },
        sign,
      );
    this.whole = zoom(text.timeline.zoomMoment, "↔", () => this.zoomToSpan());
    this.zooms = el(
      "span",
      { class: "timeline-zoom" },
      zoom(text.timeline.zoomOut, "−", () => this.zoom(2)),
      zoom(text.timeline.zoomIn, "+", () => this.zoom(0.5)),
      this.whole,
    );
    this.track = el(
      "div",
      { class: "timeline-track" },
      this.frames,
      this.svg,
      this.others,
      this.active,
      this.known,
      this.marks,
      this.start,
      this.end,
      this.head,
      this.preview.root,
    );
    this.duration = 0;
    /** @type {Span} the part that is seen */
    this.view = [0, 0];
    /** @type {string | null} the video that is shown */
    this.video = null;
    /** @type {Span | null} */
    this.span = null;
    this.time = 0;
    /** @type {number | null} how long a frame lasts; null as long as it is not known */
    this.frame = null;
    /** @type {Map<number, number>} fingers on the track, and where */
    this.fingers = new Map();
    this.pinched = false; // until all fingers are lifted
    this.low = 0;
    this.high = 0;
    /** @type {Curve | null} of the part that is seen, where the whole one is too coarse for it */
    this.fine = null;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.refining = undefined;
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
    this.track.addEventListener("pointermove", (event) => this.hover(event));
    this.track.addEventListener("pointerleave", () => this.preview.hide());
    this.overview.addEventListener("pointerdown", (event) => this.dragPart(event));
    this.track.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    new ResizeObserver(() => {
      this.drawAxis();
      this.drawFrames();
      this.drawSpan();
    }).observe(this.track);
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
    if (event.pointerType === "touch") {
      if (!this.fingers.size) this.pinched = false;
      this.fingers.set(event.pointerId, event.clientX);
      if (this.fingers.size === 2) this.pinch();
      this.follow(
        event,
        () => {},
        () => this.fingers.delete(event.pointerId),
      );
      if (this.fingers.size > 1) return;
    }
    const edge = event.target.closest(".timeline-edge");
    const move = edge ? edge.move : this.head.move;
    event.preventDefault();
    (edge ?? this.head).focus({ preventScroll: true });
    if (!edge) move(this.at(event));
    this.follow(event, (moved) => {
      if (!this.pinched) move(this.at(moved));
    });
  }

  /**
   * What one pointer does from now on, until it is lifted.
   * @param {PointerEvent} event
   * @param {(event: PointerEvent) => void} move
   * @param {() => void} [done]
   */
  follow(event, move, done = () => {}) {
    const element = /** @type {HTMLElement} */ (event.currentTarget);
    element.setPointerCapture(event.pointerId);
    const moved = (/** @type {PointerEvent} */ next) => {
      if (next.pointerId === event.pointerId) move(next);
    };
    const lifted = (/** @type {PointerEvent} */ next) => {
      if (next.pointerId !== event.pointerId) return;
      element.removeEventListener("pointermove", moved);
      element.removeEventListener("pointerup", lifted);
      element.removeEventListener("pointercancel", lifted);
      if (next.pointerType === "touch") this.preview.hide();
      done();
    };
    element.addEventListener("pointermove", moved);
    element.addEventListener("pointerup", lifted);
    element.addEventListener("pointercancel", lifted);
  }

  // Two fingers: what is under each of them stays under it.
  pinch() {
    const box = this.track.getBoundingClientRect();
    const share = (x) => (x - box.left) / box.width;
    const held = [...this.fingers].map(([finger, x]) => ({ finger, time: this.view[0] + share(x) * this.seen }));
    this.pinched = true;
    this.preview.hide();
    const moved = (/** @type {PointerEvent} */ event) => {
      if (!this.fingers.has(event.pointerId)) return;
      this.fingers.set(event.pointerId, event.clientX);
      const [first, second] = held.map(({ finger, time }) => ({ at: share(this.fingers.get(finger)), time }));
      const length = (second.time - first.time) / (second.at - first.at);
      if (!(length > 0)) return; // the fingers have passed each other
      const kept = this.limited(length);
      this.see((first.time + second.time) / 2 - ((first.at + second.at) / 2) * kept, kept);
    };
    const lifted = () => {
      this.track.removeEventListener("pointermove", moved);
      this.track.removeEventListener("pointerup", lifted);
      this.track.removeEventListener("pointercancel", lifted);
    };
    this.track.addEventListener("pointermove", moved);
    this.track.addEventListener("pointerup", lifted);
    this.track.addEventListener("pointercancel", lifted);
  }

  // The bar below stands for the whole video: what is seen is taken along it.
  dragPart(event) {
    if (event.button !== 0 || !this.duration || this.seen >= this.duration) return;
    event.preventDefault();
    const box = this.overview.getBoundingClientRect();
    const time = (x) => ((x - box.left) / box.width) * this.duration;
    const there = time(event.clientX);
    const grip = this.isOutside(there) ? this.seen / 2 : there - this.view[0];
    const move = (/** @type {PointerEvent} */ moved) => this.see(time(moved.clientX) - grip, this.seen);
    move(event);
    this.follow(event, move);
  }

  // --- which part is seen ----------------------------------------------------------------------------------------------

  /**
   * See `by` times as much, around a time that stays where it is.
   * @param {number} by
   * @param {number} [around] default: where the player is, if that is seen
   */
  zoom(by, around = this.isOutside(this.time) ? (this.view[0] + this.view[1]) / 2 : this.time) {
    if (!this.duration) return;
    const length = this.limited(this.seen * by);
    const share = this.seen > 0 ? (around - this.view[0]) / this.seen : 0.5;
    this.see(around - share * length, length);
  }

  /** A length of what is seen that is neither less than some frames nor more than the video. */
  limited(length) {
    const least = Math.min(LEAST * (this.frame ?? 1 / 25), SHORT); // some files have a frame in many seconds
    return Math.min(Math.max(length, Math.min(least, this.duration)), this.duration);
  }

  /**
   * See what is before or after.
   * @param {number} by shares of what is seen
   */
  pan(by) {
    if (this.duration) this.see(this.view[0] + by * this.seen, this.seen);
  }

  /** See the moment with what is around it, or the whole video if it is that already. */
  zoomToSpan() {
    const [start, end] = this.span ?? [this.time - 5, this.time + 5];
    const length = Math.min(Math.max((end - start) * 3, 2), this.duration);
    const from = (start + end - length) / 2;
    const there = Math.abs(this.seen - length) < 1e-3 && Math.abs(this.view[0] - Math.max(from, 0)) < 1e-3;
    if (there) this.see(0, this.duration);
    else this.see(from, length);
  }

  see(from, length) {
    const start = Math.min(Math.max(from, 0), Math.max(this.duration - length, 0));
    this.view = [start, start + length];
    this.draw();
    if (length < CLOSE) this.learnFrame();
    clearTimeout(this.refining);
    if (this.askCurve && this.needsFine()) this.refining = setTimeout(() => this.refine(), CURVE_PAUSE);
  }

  // Whether a point of the curve is wider than a clip is, and some pixels, where one looks.
  needsFine() {
    const { scores = [] } = this.shown;
    if (!scores.length || this.seen >= this.duration / 2 || this.duration / scores.length < 0.5) return false;
    const fine = this.fine?.times ?? [];
    const step = fine[1] - fine[0];
    const covers = fine.length > 1 && fine[0] <= this.view[0] + step && (fine.at(-1) ?? 0) >= this.view[1] - step;
    return !covers || (fine.at(-1) ?? 0) - fine[0] > 6 * this.seen;
  }

  async refine() {
    const { shown, seen } = this;
    const [from, to] = this.view;
    const curve = await this.askCurve?.(Math.max(from - BESIDE * seen, 0), Math.min(to + BESIDE * seen, this.duration));
    if (!curve || shown !== this.shown) return;
    this.fine = curve;
    this.low = curve.scores.reduce((least, score) => Math.min(least, score), this.low); // the whole has only its peaks
    this.draw();
  }

  async learnFrame() {
    if (this.frame !== null) return;
    const { video } = this;
    const frame = await this.askFrame();
    if (video !== this.video || this.frame !== null) return;
    this.frame = frame;
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

  hover(event) {
    const touches = event.pointerType === "touch";
    if (!this.duration || (touches && (this.pinched || !this.fingers.size))) return;
    const { left, width } = this.track.getBoundingClientRect();
    const { video, view } = this;
    this.preview.show({ video, time: this.at(event), view, left: event.clientX - left, width });
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
    if (other) this.frame = null;
    if (what.video !== undefined) this.video = what.video;
    this.duration = what.duration;
    this.shown = what;
    this.fine = null;
    const { scores = [] } = what;
    this.low = scores.reduce((least, score) => Math.min(least, score), Number.POSITIVE_INFINITY);
    this.high = scores.reduce((most, score) => Math.max(most, score), Number.NEGATIVE_INFINITY);
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
    this.drawCurve();
    this.drawFrames();
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
    this.overview.classList.toggle("timeline-part-whole", whole);
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
    const points = this.points();
    this.line.setAttribute("d", points.length ? `M${points.join("L")}` : "");
    this.area.setAttribute("d", points.length ? `M0 100L${points.join("L")}L1000 100Z` : "");
  }

  // The curve where it is seen, a thousand wide and a hundred high. Of many points the best of each column is drawn:
  // where something fits is not to be lost among what does not.
  points() {
    const [from, to] = this.view;
    const { fine } = this;
    const { times = [], scores = [] } =
      fine && fine.times[0] <= to && (fine.times.at(-1) ?? 0) >= from ? fine : this.shown;
    if (!scores.length || !(this.seen > 0)) return [];
    let first = times.findIndex((time) => time >= from);
    first = first < 0 ? times.length - 1 : Math.max(first - 1, 0);
    let last = times.findIndex((time) => time > to);
    last = last < 0 ? times.length - 1 : last;
    const step = Math.max(Math.ceil((last - first + 1) / COLUMNS), 1);
    const spread = Math.max(this.high - this.low, 1e-9);
    const points = [];
    for (let at = first; at <= last; at += step) {
      let best = at;
      for (let other = at + 1; other < Math.min(at + step, last + 1); other += 1) {
        if (scores[other] > scores[best]) best = other;
      }
      const x = ((times[best] - from) / this.seen) * 1000;
      points.push(`${x.toFixed(2)} ${(92 - ((scores[best] - this.low) / spread) * 78).toFixed(1)}`);
    }
    // before the first and after the last point it goes on as it was there
    if (times[first] > from) points.unshift(`0 ${points[0].split(" ")[1]}`);
    if (times[last] < to) points.push(`1000 ${points.at(-1)?.split(" ")[1]}`);
    return points;
  }

  // Where frames begin, once they are wide enough to be told apart.
  drawFrames() {
    const width = this.track.clientWidth;
    const pixels = this.frame && this.seen > 0 ? (this.frame / this.seen) * width : 0;
    this.frames.hidden = pixels < FRAME_WIDTH;
    if (this.frames.hidden || this.frame === null) return;
    const before = (this.view[0] % this.frame) / this.frame;
    this.frames.style.backgroundSize = `${pixels}px 100%`;
    this.frames.style.backgroundPositionX = `${-before * pixels}px`;
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
    const apart = ((span[1] - span[0]) / (this.seen || 1)) * this.track.clientWidth;
    this.track.classList.toggle("timeline-tight", apart < TIGHT);
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
    const jumped = Math.abs(time - this.time) > JUMP;
    this.time = time;
    // the part that is seen goes on with the player, unless one looks elsewhere; to where one jumps one looks
    if (jumped && this.isOutside(time)) this.see(time - this.seen / 2, this.seen);
    else if (wasSeen && this.isOutside(time) && this.seen < this.duration) this.see(time - this.seen * 0.1, this.seen);
    else this.place(this.head, Math.min(time, this.duration));
  }

  drawAxis() {
    const width = this.track.clientWidth;
    if (!this.duration || !width || !(this.seen > 0)) return;
    const [from, to] = this.view;
    const end = clock(to, this.seen < 1 ? 2 : this.seen < 10);
    const room = 24 + end.length * LETTER; // pixels that a time takes
    const step = ticks.find((one) => (one / this.seen) * width >= room) ?? Math.ceil(this.seen / 4);
    const marks = [];
    const first = Math.ceil(from / step - 1e-6);
    for (
      let number = first;
      number * step === from || ((to - number * step) / this.seen) * width >= room;
      number += 1
    ) {
      const mark = el("span", {}, clock(number * step, step < 0.1 ? 2 : step < 1));
      mark.style.left = `${this.share(number * step)}%`;
      mark.classList.toggle("timeline-axis-start", (this.share(number * step) / 100) * width < room / 2);
      marks.push(mark);
    }
    marks.push(el("span", { class: "timeline-axis-end" }, end));
    replace(this.axis, marks);
  }
}
