// What was done to labels in this session, to be taken back step by step; kept over a reload.

import { post } from "./api.js";
import { drop } from "./outbox.js";
import { author } from "./settings.js";

const KEY = "cfmr-undo";

/** @typedef {{ id: string, revision: number, sentence: string }} Step a state of a label that was made here */

/** @returns {{ steps: Step[], newest: Record<string, number> }} `newest`: the revision that each label has now */
function read() {
  try {
    return JSON.parse(sessionStorage.getItem(KEY) ?? "") ?? { steps: [], newest: {} };
  } catch {
    return { steps: [], newest: {} };
  }
}

const session = read();

function keep() {
  try {
    sessionStorage.setItem(KEY, JSON.stringify(session));
  } catch {
    /* private window: until the page is left */
  }
}

export const canUndo = () => session.steps.length > 0;

/** A label was made, changed or deleted here. */
export function did({ id, revision, sentence }) {
  session.steps.push({ id, revision, sentence });
  session.newest[id] = revision;
  keep();
}

/** @type {Promise<unknown>} */
let last = Promise.resolve();

/**
 * Take the last step back, after those that are being taken back.
 * @returns {Promise<Step | null>} what was taken back; null if there was nothing
 */
export function undoLast() {
  const next = last.then(undoOne);
  last = next.catch(() => {});
  return next;
}

async function undoOne() {
  const step = session.steps.at(-1);
  if (!step) return null;
  if (!drop(step.id)) {
    try {
      const body = { revision: step.revision, current: session.newest[step.id], author: author() };
      const label = await post(`/api/labels/${step.id}/undo`, body);
      session.newest[step.id] = label.revision;
    } catch (error) {
      // what someone else has changed since stays as they left it
      if (error.status >= 400 && error.status < 500) session.steps = session.steps.filter(({ id }) => id !== step.id);
      keep();
      throw error;
    }
  }
  session.steps.pop();
  keep();
  return step;
}
