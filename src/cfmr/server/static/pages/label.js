// The label page: watch, press a key, say what happens, press Enter. Nothing asks for start and end.

import { Player } from "../components/player.js";
import { address, call, get, Problem, post } from "../lib/api.js";
import { $, ago, clock, complain, el, notify, plural, replace } from "../lib/dom.js";
import "../lib/jobs.js";
import { Timeline } from "../components/timeline.js";
import { shortcut } from "../lib/keys.js";
import { author, settings } from "../lib/settings.js";

const UNSENT = "cfmr-unsent"; // labels that the server did not get yet, kept over a reload
const LONGEST_GAP = 120; // seconds between two labels; more was a pause
const SHOWN = 200;

const sentence = $("#sentence");
const stage = $("#stage");
/** @type {import("../lib/types.js").Video | null} */
let current = null; // {video, duration}
/** @type {number | null} */
let marked = null; // the second that was marked
let markedAt = 0; // when, by the clock on the wall
/** @type {import("../lib/types.js").Label[]} */
let labels = [];
const done = []; // what can be undone: {id, revision}
/** @type {number | null} */
let lastSaved = null;
const gaps = []; // seconds a label took, from the one before (or from pressing play)
const typed = []; // seconds of them from mark to Enter

const player = new Player(stage, {
  onTime: (time) => timeline.setTime(time),
  onLoaded: () => {
    if (current && !current.duration) show({ ...current, duration: player.duration });
  },
  onPlaying: (on) => {
    if (on) lastSaved ??= performance.now();
  },
});
const timeline = new Timeline(stage, { onSeek: (time) => player.seek(time) });
player.looping.hidden = true;
const title = el("h2", { class: "stage-title" });
stage.prepend(title, timeline.root);
stage.append(player.controls);

// --- which video -------------------------------------------------------------------------------------------------------

async function open(video, time = 0) {
  try {
    const { videos } = await get("/api/videos", { contains: video, limit: 1000 });
    const found = videos.find((one) => one.video === video);
    if (!found) throw new Problem(404, `There is no video ${video}`);
    if (!found.watchable) throw new Problem(404, `The file of ${video} is not in the folder`);
    discard();
    current = found;
    $("#mark").disabled = false;
    $("#video").value = video;
    player.show(video, time);
    show(found);
    history.replaceState(null, "", address("/label", { video }));
    lastSaved = null;
    await list();
  } catch (error) {
    complain(error);
  }
}

async function handOut() {
  try {
    const { video } = await get("/api/videos/next", { after: current?.video });
    await open(video);
    if (marked === null) focusStage();
  } catch (error) {
    if (error.status !== 404) complain(error);
    else replace(title, "No videos yet: ", el("a", { href: "/add" }, "add some"));
  }
}

function show(video) {
  current = video;
  replace(title, el("span", { class: "stage-video" }, video.video));
  drawTimeline();
}

function drawTimeline() {
  if (!current?.duration) return;
  const { video, duration } = current;
  const own = labels.filter((label) => label.video === video);
  timeline.show({ duration, labels: own });
  timeline.setTime(player.time || 0);
}

const focusStage = () => player.button.focus({ preventScroll: true });

$("#pick").addEventListener("submit", (event) => {
  event.preventDefault();
  open($("#video").value.trim());
});
$("#video").addEventListener("change", () => open($("#video").value.trim()));
for (const name of ["focus", "input"]) {
  $("#video").addEventListener(name, async () => {
    const contains = name === "focus" ? "" : $("#video").value.trim();
    try {
      const { videos } = await get("/api/videos", { contains, limit: 50 });
      replace(
        $("#video-names"),
        videos.map((one) => el("option", { value: one.video, label: one.labels ? plural(one.labels, "label") : "" })),
      );
    } catch {
      /* without names one types them */
    }
  });
}
$("#next").addEventListener("click", handOut);

// --- a label -----------------------------------------------------------------------------------------------------------

/** @param {boolean} marked whether a second is marked, and waits for its sentence */
function showButtons(marked) {
  $("#mark").hidden = marked;
  $("#save").hidden = !marked;
  $("#drop").hidden = !marked;
}

function mark() {
  if (!current) return;
  player.pause();
  marked = Math.round(player.time * 100) / 100;
  markedAt = performance.now();
  $("#say").classList.add("label-marked");
  $("#say-what").textContent = `What happens at ${clock(marked, true)}?`;
  showButtons(true);
  sentence.focus();
}

function discard() {
  marked = null;
  sentence.value = "";
  $("#say").classList.remove("label-marked");
  replace(
    $("#say-what"),
    "When something happens, ",
    el("span", { class: "for-keyboard" }, "press ", el("kbd", {}, "Enter")),
    el("span", { class: "for-touch" }, "mark it"),
  );
  showButtons(false);
}

async function save() {
  const text = sentence.value.trim();
  if (!current) return;
  if (marked === null) mark();
  if (!text) {
    sentence.focus();
    return;
  }
  const label = { id: newId(), video: current.video, glance: marked, sentence: text, author: author() };
  const times = [performance.now() - (lastSaved ?? markedAt), performance.now() - markedAt];
  keepUnsent([...unsent(), label]);
  try {
    const made = await send(label);
    done.push(made);
    lastSaved = performance.now();
    if (times[0] / 1000 < LONGEST_GAP) {
      gaps.push(times[0] / 1000);
      typed.push(times[1] / 1000);
    }
    discard();
    focusStage();
    player.start();
  } catch (error) {
    if (error.status !== 0) {
      complain(error);
      sentence.focus();
      return;
    }
    notify(`Not saved yet: ${error.message}`, { text: "Try again", run: sendAll }, true);
    discard();
  }
  await list();
}

// crypto.randomUUID is only there on https and this machine
function newId() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

const unsent = () => JSON.parse(settings.get(UNSENT) ?? "[]");
const keepUnsent = (list) => settings.set(UNSENT, JSON.stringify(list));

// Sent again with the same id, it is the same label, so trying again is safe.
async function send(label) {
  try {
    const made = await post("/api/labels", label);
    keepUnsent(unsent().filter((one) => one.id !== label.id));
    return made;
  } catch (error) {
    if (error.status) keepUnsent(unsent().filter((one) => one.id !== label.id));
    throw error;
  }
}

async function sendAll() {
  for (const label of unsent()) {
    try {
      done.push(await send(label));
    } catch (error) {
      complain(error);
      if (!error.status) return;
    }
  }
  await list();
}

$("#mark").addEventListener("click", mark);
$("#drop").addEventListener("click", () => {
  discard();
  focusStage();
});
$("#say").addEventListener("submit", (event) => {
  event.preventDefault();
  save();
});
sentence.addEventListener("focus", () => {
  if (marked === null && current && !player.paused) mark();
});
sentence.addEventListener("keydown", (event) => {
  if (event.isComposing) return;
  if (event.key === "Enter" && !event.shiftKey) {
    event.preventDefault();
    save();
  } else if (event.key === "Escape") {
    event.preventDefault();
    event.stopPropagation();
    discard();
    focusStage();
  }
});

// --- the list ----------------------------------------------------------------------------------------------------------

async function list() {
  const everything = $("#everything").checked;
  try {
    const found = await get("/api/labels", { video: everything ? null : current?.video, limit: SHOWN });
    labels = found.labels;
    $("#labels-name").textContent = everything ? "All labels" : "Labels of this video";
    const rows = labels.map(row);
    if (!everything) rows.sort((a, b) => a.glance - b.glance);
    replace(
      $("#labels"),
      rows,
      found.total > SHOWN && el("li", { class: "text-soft" }, `and ${found.total - SHOWN} more`),
      !rows.length && el("li", { class: "text-soft" }, "none yet"),
    );
    drawTimeline();
    pace(everything ? found : await get("/api/labels", { limit: 1 }));
  } catch (error) {
    complain(error);
  }
  $("#undo").disabled = !done.length;
}

function pace({ total }) {
  const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
  const waiting = unsent().length;
  replace(
    $("#pace"),
    el("span", {}, plural(total, "label"), " in all"),
    gaps.length > 0 &&
      el(
        "span",
        {},
        el("b", {}, `${median(gaps).toFixed(1)} s`),
        ` a label, ${median(typed).toFixed(1)} s of it typing`,
      ),
    waiting > 0 && el("strong", { class: "text-bad" }, `${plural(waiting, "label")} not saved yet`),
  );
}

function row(label) {
  const item = el("li", {});
  item.glance = label.glance;
  const other = label.video !== current?.video;
  const seek = () => (other ? open(label.video, label.glance) : player.seek(label.glance));
  replace(
    item,
    el(
      "button",
      {
        type: "button",
        class: "label-time",
        "aria-label": `Go to ${clock(label.glance, true)}${other ? ` in ${label.video}` : ""}`,
        on: { click: seek },
      },
      clock(label.glance, true),
    ),
    el(
      "span",
      { class: "label-sentence" },
      label.sentence,
      el(
        "small",
        {},
        [other && label.video, label.author, ago(new Date(label.at)), label.held_out && "held out"]
          .filter(Boolean)
          .join(" · "),
      ),
    ),
    el(
      "button",
      {
        type: "button",
        class: "button-quiet",
        "aria-label": `Edit: ${label.sentence}`,
        on: { click: () => edit(item, label) },
      },
      "Edit",
    ),
    el(
      "button",
      {
        type: "button",
        class: "button-quiet",
        "aria-label": `Delete: ${label.sentence}`,
        on: { click: () => remove(label) },
      },
      "Delete",
    ),
  );
  return item;
}

function edit(item, label) {
  const text = el("input", { value: label.sentence, maxLength: 500, "aria-label": "Sentence" });
  const time = el("input", {
    type: "number",
    min: 0,
    step: 0.01,
    value: label.glance,
    "aria-label": "Second",
    class: "label-edit-time",
  });
  const back = () => item.replaceWith(row(label));
  const form = el(
    "form",
    {
      class: "label-edit",
      on: {
        submit: (event) => {
          event.preventDefault();
          change(() =>
            call("PATCH", `/api/labels/${label.id}`, {
              body: {
                revision: label.revision,
                sentence: text.value,
                glance: Number(time.value),
                author: author(),
              },
            }),
          );
        },
        keydown: (event) => {
          if (event.key === "Escape") {
            event.stopPropagation();
            back();
          }
        },
      },
    },
    time,
    text,
    el("button", { class: "button-main" }, "Save"),
    el("button", { type: "button", on: { click: back } }, "Leave"),
  );
  replace(item, form);
  text.focus();
}

const remove = (label) =>
  change(
    () => call("DELETE", `/api/labels/${label.id}`, { query: { revision: label.revision, author: author() } }),
    "Deleted",
  );

async function change(request, text) {
  try {
    done.push(await request());
    if (text) notify(text, { text: "Undo", run: undo });
  } catch (error) {
    complain(error);
  }
  await list();
}

async function undo() {
  const last = done.pop();
  if (!last) return;
  try {
    await post(`/api/labels/${last.id}/undo`, { revision: last.revision, author: author() });
    notify(`Undone: ${last.sentence}`);
  } catch (error) {
    complain(error);
  }
  await list();
}

$("#undo").addEventListener("click", undo);
$("#everything").addEventListener("change", list);

// --- you, export, import -----------------------------------------------------------------------------------------------

$("#author").value = author();
$("#author").addEventListener("change", () => settings.set("cfmr-author", $("#author").value.trim()));
$("#import").addEventListener("change", async () => {
  const [file] = $("#import").files;
  if (!file) return;
  try {
    const answer = await call("POST", "/api/labels/import", { query: { author: author() }, body: await file.text() });
    notify(
      `${plural(answer.added, "label")} imported${answer.already ? `, ${answer.already} were there already` : ""}`,
    );
  } catch (error) {
    complain(error);
  }
  $("#import").value = "";
  await list();
});

// --- keys --------------------------------------------------------------------------------------------------------------

shortcut(["Enter", "m"], "something happens: mark this second", mark);
shortcut([" ", "p"], "play or pause", () => player.toggle());
shortcut("ArrowLeft", "a second back", () => player.seek(player.time - 1));
shortcut("ArrowRight", "a second on", () => player.seek(player.time + 1));
shortcut(["u", "Control+z"], "undo", undo);
shortcut("n", "next video", handOut);
shortcut("Escape", "discard the mark", () => {
  if (marked === null) return false;
  discard();
  focusStage();
});

async function begin() {
  const query = new URLSearchParams(location.search);
  const video = query.get("video");
  if (video) await open(video, Number.parseFloat(query.get("t") ?? "") || 0);
  else await handOut();
  if (marked === null) focusStage(); // someone quick may be typing already
  if (unsent().length) await sendAll();
}

begin();
