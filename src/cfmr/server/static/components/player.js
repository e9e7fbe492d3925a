// The player: plays moments, tells the time, and falls back to a clip where the browser cannot play a file.

import { address, get } from "../lib/api.js";
import { clock, el, replace } from "../lib/dom.js";
import { shortcut } from "../lib/keys.js";
import { settings } from "../lib/settings.js";
import { text } from "../lib/texts.js";

/** @typedef {import("../lib/types.js").Span} Span */

const VOLUME = "cfmr-volume";
const RATES = [0.25, 0.5, 1, 1.5, 2, 3, 5, 8];
const SKIP = 10; // seconds
const FRAME = 1 / 25; // seconds between two frames, until a video has told its own

const icons = {
  play: "M8 5v14l11-7z",
  pause: "M7 5h4v14H7zM13 5h4v14h-4z",
  loop: "M7 7h9V4l5 4.5L16 13v-3H8v4H5V9a2 2 0 0 1 2-2zm10 10H8v3l-5-4.5L8 11v3h8v-4h3v5a2 2 0 0 1-2 2z",
  full: "M5 5h6v2H7v4H5zm8 0h6v6h-2V7h-4zM5 13h2v4h4v2H5zm12 0h2v6h-6v-2h4z",
  sound:
    "M4 9v6h4l5 4V5L8 9zm11.5 3a3.5 3.5 0 0 0-1.5-2.9v5.8a3.5 3.5 0 0 0 1.5-2.9zM14 4.5v2.1a6 6 0 0 1 0 10.8v2.1a8 8 0 0 0 0-15z",
  silent:
    "M4 9v6h4l5 4V5L8 9zm17-.6L19.6 7 17 9.6 14.4 7 13 8.4l2.6 2.6L13 13.6 14.4 15l2.6-2.6 2.6 2.6 1.4-1.4-2.6-2.6z",
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

export class Player {
  /**
   * @param {HTMLElement} root
   * @param {object} listeners
   * @param {(seconds: number) => void} [listeners.onTime] called as time passes and jumps
   * @param {() => void} [listeners.onLoaded] called when a video can be watched
   * @param {(on: boolean) => void} [listeners.onPlaying]
   * @param {HTMLElement} [listeners.screen] becomes the whole screen with everything in it; default: `root`
   */
  constructor(root, { onTime = () => {}, onLoaded = () => {}, onPlaying = () => {}, screen = root } = {}) {
    this.screen = screen;
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
        seeking: () => {
          this.shown = null;
        },
        seeked: () => this.tell(),
        error: () => this.failed(),
        volumechange: () => this.drawVolume(),
      },
    });
    this.message = el("p", { class: "player-overlay", hidden: true });
    this.frame = el("div", { class: "player-frame" }, this.video, this.message);
    this.button = this.roundButton("play", text.player.play, () => this.toggle());
    this.button.classList.add("button-main");
    this.clock = el("span", { class: "player-clock" });
    this.looping = this.roundButton("loop", text.player.loop, () => this.loop());
    this.looping.setAttribute("aria-pressed", "false");
    this.speed = el(
      "select",
      { "aria-label": text.player.speed, on: { change: () => this.setRate(Number(this.speed.value)) } },
      RATES.map((rate) => el("option", { value: rate, selected: rate === 1 }, `${rate}×`)),
    );
    this.sound = this.roundButton("sound", text.player.mute, () => this.mute());
    this.volume = el("input", {
      type: "range",
      class: "player-volume",
      min: 0,
      max: 1,
      step: 0.05,
      "aria-label": text.player.volume,
      on: { input: () => this.setVolume(Number(this.volume.value)) },
    });
    this.fullscreen = this.roundButton("full", text.player.fullscreen, () => this.toggleFullscreen());
    this.controls = el(
      "div",
      { class: "player-controls" },
      this.button,
      this.clock,
      this.looping,
      this.speed,
      el("span", { class: "player-sound" }, this.sound, this.volume),
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
    /** @type {{ name: string, length: Promise<number> } | null} how long a frame lasts */
    this.frames = null;
    /** @type {number | null} when the frame began that is on the screen */
    this.shown = null;
    /** @type {number | null} the middle of the frame that is being gone to */
    this.aim = null;
    const look = (_, { mediaTime }) => {
      this.shown = mediaTime;
      this.video.requestVideoFrameCallback(look);
    };
    this.video.requestVideoFrameCallback?.(look);
    const kept = Number.parseFloat(settings.get(VOLUME) ?? "");
    if (kept >= 0 && kept <= 1) this.video.volume = kept;
    this.drawVolume();
  }

  roundButton(name, label, click) {
    const properties = { type: "button", class: "button-round", "aria-label": label, title: label, on: { click } };
    return el("button", properties, icon(name));
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
    this.shown = null;
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
    replace(this.message, text.player.unplayable, " ", this.span ? "" : text.player.clips);
    this.message.hidden = false;
    this.button.disabled = false;
  }

  get duration() {
    return (this.video.duration || 0) + this.offset;
  }

  seek(time, keep = false) {
    if (!keep) this.within = this.span !== null && time >= this.span[0] && time < this.span[1];
    if (this.ready) this.video.currentTime = Math.max(time - this.offset, 0);
    else this.begin = Math.max(time, 0);
    this.onTime(Math.max(time, 0));
  }

  /** How long a frame of the video lasts, as its file tells. */
  frameLength() {
    const { name } = this;
    if (name === null) return Promise.resolve(FRAME);
    if (this.frames?.name !== name) {
      const length = get("/api/timing", { video: name }).then(
        ({ fps }) => 1 / fps,
        () => FRAME,
      );
      this.frames = { name, length };
    }
    return this.frames.length;
  }

  /**
   * To the next frame, or back to the one before: into its middle, which no rounding takes for another.
   * @param {1 | -1} direction
   */
  async step(direction) {
    this.pause();
    const { name } = this;
    const frame = await this.frameLength();
    if (name !== this.name || !this.ready) return;
    const now = this.video.currentTime;
    let begin = Math.floor(now / frame + 0.01) * frame;
    if (this.video.seeking && this.aim !== null) begin = this.aim - frame / 2;
    else if (this.shown !== null && this.shown <= now + 1e-3) begin = this.shown;
    this.aim = Math.max(begin + (direction > 0 ? 1.5 : -0.5) * frame, 0);
    this.seek(this.aim + this.offset);
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

  setRate(rate) {
    this.speed.value = String(rate);
    this.video.playbackRate = rate;
  }

  /** @param {1 | -1} direction */
  changeRate(direction) {
    const at = RATES.indexOf(Number(this.speed.value)) + direction;
    if (at in RATES) this.setRate(RATES[at]);
  }

  mute() {
    this.video.muted = !this.video.muted;
  }

  setVolume(volume) {
    this.video.muted = false;
    this.video.volume = volume;
    settings.set(VOLUME, String(volume));
  }

  drawVolume() {
    const silent = this.video.muted || this.video.volume === 0;
    replace(this.sound, icon(silent ? "silent" : "sound"));
    this.sound.setAttribute("aria-label", this.video.muted ? text.player.unmute : text.player.mute);
    this.volume.value = String(this.video.muted ? 0 : this.video.volume);
  }

  toggleFullscreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    // phones that give a whole screen to nothing but a video: the page's window is then all there is
    else if (this.screen.requestFullscreen) this.screen.requestFullscreen().catch(() => {});
    else this.screen.classList.toggle("whole-window");
  }

  playing(on) {
    const label = on ? text.player.pause : text.player.play;
    this.button.setAttribute("aria-label", label);
    this.button.title = label;
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

/**
 * The keys that every page with a player has.
 * @param {Player} player
 * @param {{ zoom: (by: number) => void, zoomToSpan: () => void, pan: (by: number) => void }} timeline
 * @param {{ muteKey?: boolean }} [options]
 */
export function playerKeys(player, timeline, { muteKey = true } = {}) {
  const words = text.watch;
  /** @type {(keys: string | string[], meaning: string, run: (event: KeyboardEvent) => any) => void} */
  const key = (keys, meaning, run) => shortcut(keys, meaning, (event) => (player.name ? run(event) : false));
  key([" ", "p", "k"], words.toggle, () => player.toggle());
  key(["ArrowLeft", "ArrowRight"], words.second, ({ key }) =>
    player.seek(player.time + (key === "ArrowLeft" ? -1 : 1)),
  );
  key(["j", "l"], words.skip, ({ key }) => player.seek(player.time + (key === "j" ? -SKIP : SKIP)));
  key([",", "."], words.frame, ({ key }) => void player.step(key === "," ? -1 : 1));
  key(["<", ">"], words.speed, ({ key }) => player.changeRate(key === "<" ? -1 : 1));
  key([..."0123456789"], words.tenths, ({ key }) =>
    player.duration ? player.seek((player.duration * Number(key)) / 10) : false,
  );
  key("f", words.fullscreen, () => player.toggleFullscreen());
  if (muteKey) key("m", words.mute, () => player.mute());
  key(["+", "=", "-"], words.zoom, ({ key }) => timeline.zoom(key === "-" ? 2 : 0.5));
  key(["Shift+ArrowLeft", "Shift+ArrowRight"], words.pan, ({ key }) => timeline.pan(key === "ArrowLeft" ? -0.5 : 0.5));
  key("z", words.whole, () => timeline.zoomToSpan());
}
