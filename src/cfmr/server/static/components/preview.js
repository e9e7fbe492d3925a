// Time and picture of the place on the time line that the pointer is over.

import { clock, el } from "../lib/dom.js";
import { HEIGHT, Sheets, WIDTH } from "../lib/sheets.js";

const PAUSE = 120; // milliseconds that the pointer rests before a single picture is asked for
const CLOSE = 30; // seconds on the time line below which sheets are too coarse
const AHEAD = 8; // sheets of what is seen that are asked for as the pointer comes

export class Preview {
  /** @param {(seconds: number) => string | null} picture the address of what is on the screen at a time */
  constructor(picture) {
    this.address = picture;
    this.canvas = el("canvas", { width: WIDTH, height: HEIGHT, hidden: true });
    this.label = el("span");
    this.root = el("div", { class: "timeline-hover", "aria-hidden": "true", hidden: true }, this.canvas, this.label);
    this.sheets = new Sheets(() => this.draw());
    this.time = 0;
    this.seen = 0;
    this.still = false; // whether the single picture of this very time is shown
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.resting = undefined;
  }

  /**
   * The pointer is over a time.
   * @param {{ video: string | null, time: number, view: [number, number], left: number, width: number }} what
   *   `left`: where, in pixels from the left of the time line, which is `width` wide
   */
  show({ video, time, view, left, width }) {
    const seen = view[1] - view[0];
    const comes = this.root.hidden;
    const watchable = this.address(time) !== null;
    this.sheets.use(watchable ? video : null);
    this.root.hidden = false;
    this.label.textContent = clock(time, seen < 20 ? 2 : seen < 600 ? 1 : 0);
    const half = WIDTH / 2 + 5;
    this.root.style.left = `${Math.min(Math.max(left, half), Math.max(width - half, half))}px`;
    if (Math.abs(time - this.time) > seen / Math.max(width, 1) / 2) this.still = false;
    this.time = time;
    this.seen = seen;
    clearTimeout(this.resting);
    if (!watchable) {
      this.canvas.hidden = true;
      return;
    }
    const interval = Sheets.interval(seen);
    if (comes) this.askAround(view, interval);
    this.sheets.want(time, interval);
    this.draw();
    this.resting = setTimeout(() => this.rest(), PAUSE);
  }

  // What is seen of the video, if it is not too much; what is under the pointer comes first.
  askAround([from, to], interval) {
    const step = interval * 25;
    if ((to - from) / step > AHEAD) return;
    for (let time = from; time < to; time += step) this.sheets.want(time, interval);
  }

  hide() {
    clearTimeout(this.resting);
    this.root.hidden = true;
    this.canvas.hidden = true;
    this.still = false;
  }

  draw() {
    if (this.root.hidden || this.still) return;
    const found = this.sheets.picture(this.time, Sheets.interval(this.seen));
    if (!found) {
      this.canvas.hidden = true;
      return;
    }
    const { bitmap, left, top } = found;
    this.paint(bitmap, left, top, WIDTH, HEIGHT);
  }

  paint(source, left, top, width, height) {
    const context = this.canvas.getContext("2d");
    const scale = Math.min(WIDTH / width, HEIGHT / height);
    const [w, h] = [width * scale, height * scale];
    context.clearRect(0, 0, WIDTH, HEIGHT);
    context.drawImage(source, left, top, width, height, (WIDTH - w) / 2, (HEIGHT - h) / 2, w, h);
    this.canvas.hidden = false;
  }

  // A picture of the very time, where sheets are too coarse or not there yet.
  rest() {
    const { time } = this;
    if (this.seen > CLOSE && !this.canvas.hidden) return;
    const address = this.address(time);
    if (!address || this.root.hidden) return;
    const image = new Image();
    image.src = address;
    image.decode().then(
      () => {
        if (this.root.hidden || this.time !== time) return;
        this.paint(image, 0, 0, image.naturalWidth, image.naturalHeight);
        this.still = true;
      },
      () => {}, // it cannot be decoded: the time alone is shown
    );
  }
}
