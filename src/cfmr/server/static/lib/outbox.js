// Labels on their way to the server. They wait in this browser, over a reload too, and are sent until they arrive.

import { post } from "./api.js";
import { settings } from "./settings.js";

const KEY = "cfmr-unsent";
const PAUSE = 2000; // milliseconds between two attempts

/**
 * @typedef {{ id: string, video: string, glance: number, sentence: string, author: string, absent?: boolean,
 *   refused?: string }} Waiting
 * a label with the id that it will have; `refused`: why the server does not take it
 */

/** @type {Waiting[]} where there is no storage */
let memory = [];
/** @type {((sent: any[]) => void)[]} */
const listeners = [];
/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;
/** @type {Promise<any[]> | null} */
let sending = null;

/** @returns {Waiting[]} */
export function waiting() {
  try {
    return JSON.parse(settings.get(KEY) ?? "null") ?? memory;
  } catch {
    return memory;
  }
}

function keep(labels) {
  memory = labels;
  settings.set(KEY, JSON.stringify(labels));
}

/** Told the labels that arrived, whenever what waits has changed. */
export function onOutbox(listener) {
  listeners.push(listener);
}

/**
 * Put a label in and send what waits.
 * @param {Waiting} label
 * @returns {Promise<any[]>} labels that arrived
 */
export async function send(label) {
  keep([...waiting().filter(({ id }) => id !== label.id), label]);
  await sending;
  return flush();
}

/** Take a label out, if it waits. */
export function drop(id) {
  const there = waiting().some((label) => label.id === id);
  if (there) keep(waiting().filter((label) => label.id !== id));
  return there;
}

/** Send what waits. With the same id it is the same label, so that sending it twice makes one. */
export function flush() {
  sending ??= sendAll().finally(() => {
    sending = null;
  });
  return sending;
}

async function sendAll() {
  clearTimeout(timer);
  const arrived = [];
  let changed = false;
  for (const label of waiting().filter(({ refused }) => !refused)) {
    try {
      arrived.push(await post("/api/labels", label));
      drop(label.id);
    } catch (error) {
      if (error.status < 400 || error.status >= 500) {
        timer = setTimeout(flush, PAUSE);
        break;
      }
      keep(waiting().map((one) => (one.id === label.id ? { ...one, refused: error.message } : one)));
      changed = true;
    }
  }
  if (arrived.length || changed) for (const listener of listeners) listener(arrived);
  return arrived;
}

addEventListener("online", flush);
