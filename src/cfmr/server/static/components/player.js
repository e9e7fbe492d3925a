// The player: plays moments, tells the time, and falls back to a clip where the browser cannot play a file.

import { address } from "../lib/api.js";
import { clock, el, replace } from "../lib/dom.js";

const icons = {
  play: "M8 5v14l11-7z",
  pause: "M7 5h4v14H7zM13 5h4v14h-4z",
  loop: "M7 7h9V4l5 4.5L16 13v-3H8v4H5V9a2 2 0 0 1 2-2zm10 10H8v3l-5-4.5L8 11v3h8v-4h3v5a2 2 0 0 1-2 2z",
  full: "M5 5h6v2H7v4H5zm8 0h6v6h-2V7h-4zM5 13h2v4h4v2H5zm12 0h2v6h-6v-2h4z",
};

export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(svg.namespaceURI, "path");
  path.setAttribute("d", icons[name]);
  svg.append(path);
  return svg;
}

/** @typedef {import("../lib/types.js").Span} Span */

export class Player {
  /**
   * @param {Element} root
   * @param {object} listeners
   * @param {(seconds: number) => void} [listeners.onTime] called as time passes and jumps
   * @param {() => void} [listeners.onLoaded] called when a video can be watched
   * @param {(on: boolean) => void} [listeners.onPlaying]
   */
  constructor(root, { onTime = () => {}, onLoaded = () => {}, onPlaying = () => {} } = {}) {
    this.onTime = onTime;
    this.onLoaded = onLoaded;
    this.onPlaying = onPlaying;
    this.video = el("video", {
      playsInline: true,
      preload: "metadata",
      tabIndex: -1,
      on: {
        click: () => this.toggle(),
        play: () => this.playing(true),
        pause: () => this.playing(false),
        loadedmetadata: () => this.loaded(),
        seeked: () => this.tell(),
        error: () => this.failed(),
      },
    });
    this.message = el("p", { class: "player-overlay", hidden: true });
    this.frame = el("div", { class: "player-frame" }, this.video, this.message);
    this.button = el(
      "button",
      { type: "button", class: "button-round button-main", "aria-label": "Play", on: { click: () => this.toggle() } },
      icon("play"),
    );
    this.clock = el("span", { class: "player-clock" });
    this.looping = el(
      "button",
      {
        type: "button",
        class: "button-round",
        "aria-label": "Loop the moment",
        "aria-pressed": "false",
        title: "Loop the moment",
        on: { click: () => this.loop() },
      },
      icon("loop"),
    );
    this.speed = el(
      "select",
      {
        "aria-label": "Speed",
        on: {
          change: () => {
            this.video.playbackRate = Number(this.speed.value);
          },
        },
      },
      [0.5, 1, 1.5, 2, 3].map((rate) => el("option", { value: rate, selected: rate === 1 }, `${rate}×`)),
    );
    this.fullscreen = el(
      "button",
      {
        type: "button",
        class: "button-round",
        "aria-label": "Full screen",
        title: "Full screen",
        on: {
          click: () => (document.fullscreenElement ? document.exitFullscreen() : this.frame.requestFullscreen?.()),
        },
      },
      icon("full"),
    );
    this.controls = el(
      "div",
      { class: "player-controls" },
      this.button,
      this.clock,
      this.looping,
      this.speed,
      this.fullscreen,
    );
    root.append(this.frame);
    /** @type {Span | null} */
    this.span = null;
    /** @type {string | null} */
    this.name = null;
    /** @type {number | undefined} the frame that is waited for */
    this.tick = undefined;
    this.wanted = false;
    this.offset = 0;
  }

  get time() {
    return this.video.currentTime + this.offset;
  }
  get paused() {
    return this.video.paused;
  }

  /**
   * Show a video at a time.
   * @param {string} name
   * @param {number} time
   * @param {Span | null} [span] the moment that `playMoment` plays
   */
  show(name, time, span = null) {
    this.span = span;
    this.within = span !== null;
    if (name !== this.name) {
      this.name = name;
      this.clip = false;
      this.load(address("/api/stream", { video: name }), 0, time);
      this.video.poster = address("/api/thumbnail", { video: name, t: time.toFixed(1), width: 640 });
    } else if (this.clip && span) this.loadClip(span);
    else this.seek(time, true);
  }

  load(source, offset, time) {
    this.offset = offset;
    this.begin = time;
    this.ready = false;
    this.message.hidden = true;
    this.video.removeAttribute("poster");
    this.video.src = source;
    this.video.playbackRate = Number(this.speed.value);
    this.onTime(time);
  }

  loadClip([start, end]) {
    this.clip = true;
    this.load(address("/api/clip", { video: this.name, start: start.toFixed(3), end: end.toFixed(3) }), start, start);
  }

  loaded() {
    this.ready = true;
    const { videoWidth: width, videoHeight: height } = this.video;
    if (width && height) this.frame.style.aspectRatio = `${width} / ${height}`;
    if (this.begin > this.offset) this.video.currentTime = this.begin - this.offset;
    this.tell();
    this.onLoaded();
    if (this.wanted) this.start();
  }

  failed() {
    if (!this.video.error || !this.name) return;
    if (!this.clip && this.span) {
      const wanted = this.wanted;
      this.loadClip(this.span);
      this.wanted = wanted;
      return;
    }
    replace(
      this.message,
      "This browser cannot play this file. ",
      this.span ? "" : "Found moments of it can still be saved as clips.",
    );
    this.message.hidden = false;
    this.button.disabled = false;
  }

  get duration() {
    return (this.video.duration || 0) + this.offset;
  }

  seek(time, keep = false) {
    if (!keep) this.within = this.span !== null && time >= this.span[0] && time < this.span[1];
    if (this.ready) this.video.currentTime = Math.max(time - this.offset, 0);
    else this.begin = time;
    this.onTime(time);
  }

  // Play the moment from its beginning, or the video where there is none.
  playMoment() {
    if (this.span) this.seek(this.span[0], true);
    this.within = this.span !== null;
    this.start();
  }

  start() {
    this.wanted = true;
    if (!this.ready) return;
    if (this.within && this.span && this.time >= this.span[1] - 0.05) this.seek(this.span[0], true);
    this.video.play().catch(() => {});
  }

  pause() {
    this.wanted = false;
    this.video.pause();
  }

  toggle() {
    if (this.paused) this.start();
    else this.pause();
  }

  loop() {
    const on = this.looping.getAttribute("aria-pressed") !== "true";
    this.looping.setAttribute("aria-pressed", String(on));
    if (on && this.span && !this.within) this.playMoment();
  }

  playing(on) {
    this.button.setAttribute("aria-label", on ? "Pause" : "Play");
    replace(this.button, icon(on ? "pause" : "play"));
    this.onPlaying(on);
    if (this.tick !== undefined) cancelAnimationFrame(this.tick);
    if (on) this.follow();
    else this.tell();
  }

  // A moment ends where it ends, not at the next of the four times a second that browsers tell the time.
  follow() {
    this.tell();
    if (this.within && this.span && this.time >= this.span[1] - 0.01) {
      if (this.looping.getAttribute("aria-pressed") === "true") this.video.currentTime = this.span[0] - this.offset;
      else {
        this.pause();
        return;
      }
    }
    this.tick = requestAnimationFrame(() => this.follow());
  }

  tell() {
    const time = this.ready ? this.time : (this.begin ?? 0);
    this.clock.textContent = clock(time, true);
    this.onTime(time);
  }
}
