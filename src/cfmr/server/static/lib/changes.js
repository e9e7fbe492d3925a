// What changes elsewhere, in another tab or by someone else: labels, the model in use, the videos.

import { get } from "./api.js";

const PAUSE = 10000; // milliseconds between two looks

/** @typedef {"labels" | "model" | "videos"} Kind */

/** @type {((kinds: Set<Kind>) => void)[]} */
const listeners = [];
const channel = "BroadcastChannel" in globalThis ? new BroadcastChannel("cfmr") : null;
/** @type {any} */
let seen = null;

/** Told what has changed, when it has. */
export function onChange(listener) {
  listeners.push(listener);
}

/**
 * Tell other tabs of this browser what was changed here.
 * @param {Kind} kind
 */
export function changed(kind) {
  channel?.postMessage(kind);
}

function tell(kinds) {
  for (const listener of listeners) listener(kinds);
}

channel?.addEventListener("message", ({ data }) => tell(new Set([data])));

async function look() {
  if (document.visibilityState === "visible") {
    try {
      const now = await get("/api/status");
      const kinds = new Set();
      if (seen && now.labels !== seen.labels) kinds.add("labels");
      if (seen && (now.model !== seen.model || now.ready !== seen.ready)) kinds.add("model");
      if (seen && (now.videos !== seen.videos || now.indexed !== seen.indexed)) kinds.add("videos");
      seen = now;
      if (kinds.size) tell(kinds);
    } catch {
      /* the next look may succeed */
    }
  }
  setTimeout(look, PAUSE);
}

setTimeout(look, PAUSE / 5);
