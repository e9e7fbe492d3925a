// How far the server is with reading the folder of the videos.

import { el, lasting, replace } from "../lib/dom.js";
import { onJobs } from "../lib/jobs.js";
import { text } from "../lib/texts.js";

const words = text.reading;

/**
 * Shows in an element how far the reading is, for as long as it goes on.
 * @param {HTMLElement} root
 * @param {(reading: boolean) => void} [onStep] called now and then while videos are read, and when that ends
 */
export function showReading(root, onStep = () => {}) {
  const bar = el("progress", { "aria-label": words.bar, max: 1 });
  const said = el("span");
  replace(root, bar, said);
  let before = false;
  onJobs((jobs) => {
    const job = jobs.find((one) => ["add", "use"].includes(one.kind) && one.state === "running");
    root.hidden = !job;
    if (job) {
      said.textContent = job.left ? `${job.message}, ${words.left(lasting(job.left))}` : job.message;
      if (job.progress === null) bar.removeAttribute("value");
      else bar.value = job.progress;
    }
    if (job || before) onStep(Boolean(job));
    before = Boolean(job);
  });
}
