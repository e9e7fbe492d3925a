// What every page has: keyboard shortcuts with their dialog, the job that runs, the reader's name.

import { get } from "./api.js";
import { $, el } from "./dom.js";

const OFF = "cfmr-keys-off";
const shortcuts = [];

export const settings = {
  get: (key) => { try { return localStorage.getItem(key); } catch { return null; } },
  set: (key, value) => { try { localStorage.setItem(key, value); } catch { /* private window */ } },
};

export const author = () => settings.get("cfmr-author") ?? "";

// keys: as in KeyboardEvent.key, "Control+z" with a modifier. `inText`: also while typing.
export function shortcut(keys, meaning, run, { inText = false } = {}) {
  shortcuts.push({ keys: [keys].flat(), meaning, run, inText });
}

const named = { " ": "Space", ArrowDown: "↓", ArrowUp: "↑", ArrowLeft: "←", ArrowRight: "→", Control: "Ctrl", Escape: "Esc" };
const readable = (key) => key.split("+").map((part) => named[part] ?? (part.length === 1 ? part.toUpperCase() : part)).join(" ");

document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.isComposing || event.altKey || event.metaKey || $("dialog[open]")) return;
  const target = event.target;
  const typing = target.matches?.("input:not([type=checkbox]):not([type=file]), textarea, select");
  const pressed = event.ctrlKey ? `Control+${event.key}` : event.key;
  for (const { keys, run, inText } of shortcuts) {
    if (!keys.includes(pressed)) continue;
    if (typing && !inText) continue;
    const single = !event.ctrlKey && (event.key.length === 1);
    if (single && settings.get(OFF)) continue;
    if (!typing && [" ", "Enter"].includes(event.key) && target.closest?.("button, a, summary, label, input")) continue;
    if (event.key.startsWith("Arrow") && target.closest?.("[role=slider], input[type=checkbox]")) continue;
    if (run(event) !== false) event.preventDefault();
    return;
  }
});

function dialog() {
  const off = el("input", { type: "checkbox", checked: !settings.get(OFF), on: {
    change: () => settings.set(OFF, off.checked ? "" : "1"),
  } });
  const box = el("dialog", { class: "keys", "aria-labelledby": "keys-name" },
    el("h2", { id: "keys-name" }, "Keys"),
    el("dl", {}, shortcuts.filter((one) => one.meaning).map(({ keys, meaning }) => [
      el("dt", {}, keys.map((key) => el("kbd", {}, readable(key)))), el("dd", {}, meaning),
    ])),
    el("label", { class: "check" }, off, " single-letter keys"),
    el("form", { method: "dialog", class: "row" }, el("button", { class: "main", autofocus: true }, "Close"),
      el("a", { href: "/docs" }, "HTTP API")));
  box.addEventListener("close", () => box.remove());
  box.addEventListener("click", (event) => event.target === box && box.close());
  document.body.append(box);
  box.showModal();
}

shortcut("?", "show the keys", dialog);
$("#keys-button")?.addEventListener("click", dialog);

// --- the job that runs -------------------------------------------------------------------------------------------------

const listeners = [];
let known = new Map();

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
  clearTimeout(lookAtJobs.timer);
  const look = (lookAtJobs.looks = (lookAtJobs.looks ?? 0) + 1);
  let pause = 3000;
  try {
    const jobs = await get("/api/jobs", { limit: 50 });
    if (look !== lookAtJobs.looks) return; // a newer look is under way
    pause = 15000;
    const running = jobs.filter((job) => ["queued", "running"].includes(job.state));
    const ended = jobs.filter((job) => known.has(job.id) && !running.includes(job) && known.get(job.id) !== job.state);
    known = new Map(jobs.map((job) => [job.id, job.state]));
    const working = $("#working");
    if (working) {
      working.hidden = !running.length;
      const now = running.find((job) => job.state === "running") ?? running[0];
      if (now) {
        working.href = now.kind === "add" ? "/add" : "/learn";
        working.textContent = now.progress === null ? now.title : `${now.title}, ${Math.round(now.progress * 100)} %`;
      }
    }
    for (const listener of listeners) listener(jobs, ended);
    if (running.length) pause = 700;
  } catch { /* the next look may succeed */ }
  clearTimeout(lookAtJobs.timer);
  lookAtJobs.timer = setTimeout(lookAtJobs, pause);
}

lookAtJobs();
