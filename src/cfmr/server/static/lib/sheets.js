// Sheets of small pictures of a video, as the server makes them: asked for until they are there, the newest wish first.

import { address } from "./api.js";

export const WIDTH = 160; // pixels of one picture
export const HEIGHT = 90;
const COLUMNS = 5;
const PICTURES = 25;
const INTERVALS = [0.2, 0.5, 1, 2, 5, 10, 20, 60, 120, 300, 600, 1800]; // seconds, as the server makes them
const ACROSS = 150; // pictures that tell places on the time line apart
const KEPT = 40; // sheets in memory, of 1.5 MB
const ASKED = 6; // at once
const PAUSE = 400; // milliseconds until a sheet that is being made is asked for again
const PATIENCE = 30_000; // milliseconds without a wish, after which nothing is asked for

/** @typedef {{ interval: number, number: number, bitmap: ImageBitmap | null, refused?: boolean }} Sheet */

export class Sheets {
  /** @param {() => void} onReady called when one has arrived */
  constructor(onReady) {
    this.onReady = onReady;
    /** @type {string | null} */
    this.video = null;
    /** @type {Map<string, Sheet>} that wanted last comes last */
    this.sheets = new Map();
    this.wanted = 0; // when, by performance.now
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
  }

  /** @param {string | null} video */
  use(video) {
    if (video === this.video) return;
    for (const { bitmap } of this.sheets.values()) bitmap?.close();
    this.sheets.clear();
    this.video = video;
  }

  /** Seconds from picture to picture that suit a part of the video of so many seconds. */
  static interval(seen) {
    return INTERVALS.find((one) => one >= seen / ACROSS) ?? /** @type {number} */ (INTERVALS.at(-1));
  }

  /**
   * @param {number} time
   * @param {number} interval
   */
  want(time, interval) {
    const number = Math.floor(time / (interval * PICTURES) + 1e-9);
    const key = `${interval} ${number}`;
    const sheet = this.sheets.get(key) ?? { interval, number, bitmap: null };
    this.sheets.delete(key);
    this.sheets.set(key, sheet);
    this.wanted = performance.now();
    if (!sheet.bitmap && !sheet.refused) this.timer ??= setTimeout(() => this.ask(), 0);
  }

  /**
   * The picture of a time that is nearest to what was wanted.
   * @param {number} time
   * @param {number} interval
   * @returns {{ bitmap: ImageBitmap, left: number, top: number } | null}
   */
  picture(time, interval) {
    let best = null;
    let nearest = Number.POSITIVE_INFINITY;
    for (const sheet of this.sheets.values()) {
      const at = Math.floor(time / sheet.interval + 1e-9) - sheet.number * PICTURES;
      if (!sheet.bitmap || at < 0 || at >= PICTURES) continue;
      const far = Math.abs(Math.log(sheet.interval / interval));
      if (far >= nearest) continue;
      nearest = far;
      const left = (at % COLUMNS) * WIDTH;
      const top = Math.floor(at / COLUMNS) * HEIGHT;
      best = { bitmap: sheet.bitmap, left, top };
    }
    return best;
  }

  async ask() {
    const { video } = this;
    const missing = [...this.sheets.values()].filter((one) => !one.bitmap && !one.refused);
    // the last to be asked for is the first to be made
    const now = missing.slice(-ASKED);
    for (const sheet of now) {
      if (this.video !== video) break;
      await this.fetch(sheet);
    }
    this.timer = undefined;
    const left = [...this.sheets.values()].some((one) => !one.bitmap && !one.refused);
    if (left && performance.now() - this.wanted < PATIENCE) this.timer = setTimeout(() => this.ask(), PAUSE);
  }

  /** @param {Sheet} sheet */
  async fetch(sheet) {
    const { video } = this;
    try {
      const { interval, number } = sheet;
      const response = await fetch(address("/api/sheet", { video, interval, number }));
      if (response.status === 202) return;
      sheet.refused = !response.ok; // the file cannot be decoded, say
      if (!response.ok) return;
      const bitmap = await createImageBitmap(await response.blob());
      if (this.video !== video) {
        bitmap.close();
        return;
      }
      sheet.bitmap = bitmap;
      this.forget();
      this.onReady();
    } catch {
      /* no answer: it is asked for again */
    }
  }

  forget() {
    const there = [...this.sheets].filter(([, sheet]) => sheet.bitmap);
    for (const [key, sheet] of there.slice(0, Math.max(there.length - KEPT, 0))) {
      sheet.bitmap?.close();
      this.sheets.delete(key);
    }
  }
}
