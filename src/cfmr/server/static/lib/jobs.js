// The jobs of the server, asked for again and again: what runs is shown in the header.

import { get } from "./api.js";
import { $ } from "./dom.js";

const listeners = [];
let known = new Map();
let looks = 0;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;

// Told the newest jobs whenever they were asked for, and those that ended since.
export function onJobs(listener) {
  listeners.push(listener);
}

// A job that was just started here: its end is told even if it comes before the next look.
export async function follow(job) {
  if (!known.has(job.id)) known.set(job.id, "queued");
  await lookAtJobs();
}

export async function lookAtJobs() {
  clearTimeout(timer);
  looks += 1;
  const look = looks;
  let pause = 3000;
  try {
    const jobs = await get("/api/jobs", { limit: 50 });
    if (look !== looks) return; // a newer look is under way
    pause = 15000;
    const running = jobs.filter((job) => ["queued", "running"].includes(job.state));
    const ended = jobs.filter((job) => known.has(job.id) && !running.includes(job) && known.get(job.id) !== job.state);
    known = new Map(jobs.map((job) => [job.id, job.state]));
    const working = $("#working");
    if (working) {
      working.hidden = !running.length;
      const now = running.find((job) => job.state === "running") ?? running[0];
      if (now) {
        working.href = ["learn", "switch", "check"].includes(now.kind) ? "/learn" : "/library";
        working.textContent = now.progress === null ? now.title : `${now.title}, ${Math.round(now.progress * 100)} %`;
      }
    }
    for (const listener of listeners) listener(jobs, ended);
    if (running.length) pause = 700;
  } catch {
    /* the next look may succeed */
  }
  clearTimeout(timer);
  timer = setTimeout(lookAtJobs, pause);
}

lookAtJobs();
