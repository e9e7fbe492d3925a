// The label page: watch, press a key, say what happens, press Enter. Nothing asks for start and end.

import { Player, playerKeys } from "../components/player.js";
import { QuestionPanel } from "../components/question-panel.js";
import { Timeline } from "../components/timeline.js";
import { address, call, get, Problem } from "../lib/api.js";
import { changed, onChange } from "../lib/changes.js";
import { $, ago, clock, complain, el, normalized, notify, replace } from "../lib/dom.js";
import "../lib/jobs.js";
import { focusHome, keysGoTo, shortcut } from "../lib/keys.js";
import * as outbox from "../lib/outbox.js";
import { author, settings } from "../lib/settings.js";
import { text } from "../lib/texts.js";
import { canUndo, did, undoLast } from "../lib/undo.js";

const LONGEST_GAP = 120; // seconds between two labels; more was a pause
const SHOWN = 200;
const SAME = 0.5; // seconds between two labels of one sentence that are one
const words = text.label;

const sentence = $("#sentence");
const stage = $("#stage");
/** @type {import("../lib/types.js").Video | null} */
let current = null;
/** @type {number | null} the second that was marked */
let marked = null;
let markedAt = 0; // by the clock on the wall
/** @type {import("../lib/types.js").Label[]} */
let labels = [];
let total = 0;
/** @type {number | null} */
let lastSaved = null;
const gaps = []; // seconds a label took, from the one before (or from pressing play)
const typed = []; // seconds of them from mark to Enter
/** @type {Map<string, { glance: number, sentence: string }>} what was begun and not saved, by video */
const drafts = new Map();
/** @type {Map<string, HTMLElement>} rows with an open form, by label: they stay as they are while the list is drawn */
const editing = new Map();

const player = new Player(stage, {
  screen: $(".split"), // labels are made there, too
  onTime: (time) => timeline.setTime(time),
  onLoaded: () => {
    if (current && !current.duration) show({ ...current, duration: player.duration });
  },
  onPlaying: (on) => {
    if (on) lastSaved ??= performance.now();
  },
});
const timeline = new Timeline(stage, {
  onSeek: (time) => player.seek(time),
  picture: (time) => current && address("/api/thumbnail", { video: current.video, t: time.toFixed(2), width: 160 }),
  frame: () => player.frameLength(),
});
player.looping.hidden = true;
const title = el("h2", { class: "stage-title" });
stage.prepend(title, timeline.root);
timeline.root.classList.add("timeline-plain"); // there is no curve: nothing moves when the video comes
stage.append(player.controls);
keysGoTo(stage);

// --- which video -------------------------------------------------------------------------------------------------------

async function open(video, time = 0) {
  if (await reveal(video, time)) await list();
}

/** Show a video, whose labels are still to be listed. Says whether it is there. */
async function reveal(video, time) {
  try {
    const { videos } = await get("/api/videos", { video });
    const [found] = videos;
    if (!found) throw new Problem(404, words.missing(video));
    if (!found.watchable) throw new Problem(404, words.noFile(video));
    keepDraft();
    current = found;
    $("#mark").disabled = false;
    $("#video").value = "";
    $("#video").placeholder = video;
    player.show(video, time);
    show(found);
    history.replaceState(null, "", address("/label", { video }));
    lastSaved = null;
    labels = [];
    restoreDraft();
    return true;
  } catch (error) {
    complain(error);
    return false;
  }
}

// What is typed belongs to a video: it waits there while another is looked at.
function keepDraft() {
  if (current && marked !== null && sentence.value.trim()) {
    const { video } = current;
    drafts.set(video, { glance: marked, sentence: sentence.value });
    notify(words.draftKept(video), { text: words.goBack, run: () => open(video) });
  }
  reset();
}

function restoreDraft() {
  const draft = current && drafts.get(current.video);
  if (!current || !draft) return;
  drafts.delete(current.video);
  mark(draft.glance);
  sentence.value = draft.sentence;
}

async function handOut() {
  try {
    const { video } = await get("/api/videos/next", { after: current?.video });
    await open(video);
    if (marked === null) focusHome();
  } catch (error) {
    if (error.status !== 404) complain(error);
    else replace(title, words.noVideos, el("a", { href: "/add" }, words.addSome));
  }
}

// A part of a name is enough.
async function pick() {
  const part = $("#video").value.trim();
  if (!part) return;
  $("#video").value = ""; // Enter both changes the field and submits it
  focusHome(); // the next key is for the video
  try {
    const { videos } = await get("/api/videos", { contains: part, limit: 50 });
    const found = videos.find(({ video }) => video === part) ?? videos.find(({ watchable }) => watchable);
    if (!found) throw new Problem(404, words.noMatch(part));
    await open(found.video);
  } catch (error) {
    $("#video").value = part;
    $("#video").focus();
    complain(error);
  }
}

function show(video) {
  current = video;
  replace(title, el("a", { class: "stage-video", href: address("/", { video: video.video }) }, video.video));
  drawTimeline();
}

function drawTimeline() {
  if (!current?.duration) return;
  const { video, duration } = current;
  const own = [...labels, ...outbox.waiting()].filter((label) => label.video === video && !label.absent);
  timeline.show({ video, duration, labels: own });
  timeline.setTime(player.time || 0);
}

async function offerNames() {
  try {
    const { videos } = await get("/api/videos", { contains: $("#video").value.trim(), limit: 50 });
    replace(
      $("#video-names"),
      videos.map((one) => el("option", { value: one.video, label: one.labels ? text.labels.count(one.labels) : "" })),
    );
  } catch {
    /* without names one types them */
  }
}

$("#pick").addEventListener("submit", (event) => {
  event.preventDefault();
  pick();
});
$("#video").addEventListener("change", pick);
$("#video").addEventListener("focus", offerNames);
$("#video").addEventListener("input", offerNames);
$("#next").addEventListener("click", handOut);

// --- a label -----------------------------------------------------------------------------------------------------------

/** @param {boolean} on whether a second is marked, and waits for its sentence */
function showButtons(on) {
  $("#mark").hidden = on;
  $("#save").hidden = !on;
  $("#drop").hidden = !on;
}

function mark(time = player.time) {
  if (!current) return;
  player.pause();
  marked = Math.round(time * 100) / 100;
  markedAt = performance.now();
  $("#say").classList.add("label-marked");
  $("#say-what").textContent = words.prompt(clock(marked, true));
  showButtons(true);
  sentence.focus();
}

function reset() {
  marked = null;
  sentence.value = "";
  $("#say").classList.remove("label-marked");
  replace(
    $("#say-what"),
    words.idle,
    el("span", { class: "for-keyboard" }, words.press, el("kbd", {}, "Enter")),
    el("span", { class: "for-touch" }, words.touch),
  );
  showButtons(false);
}

function discard() {
  const dropped = { glance: marked ?? 0, sentence: sentence.value };
  const video = current?.video;
  reset();
  focusHome();
  if (dropped.sentence.trim() && video) {
    const restore = () => {
      drafts.set(video, dropped);
      if (current?.video === video) restoreDraft();
      else open(video);
    };
    notify(words.discarded, { text: words.restore, run: restore });
  }
}

function twin(said, glance) {
  const same = normalized(said);
  return labels.find(
    (label) =>
      !label.absent &&
      label.video === current?.video &&
      normalized(label.sentence) === same &&
      Math.abs(label.glance - glance) < SAME,
  );
}

async function save() {
  const said = sentence.value.trim();
  if (!current) return;
  if (marked === null) mark();
  if (!said || marked === null) {
    sentence.focus();
    return;
  }
  const there = twin(said, marked);
  if (there) {
    notify(text.labels.already(clock(there.glance, true)));
    reset();
    focusHome();
    return;
  }
  const label = { id: newId(), video: current.video, glance: marked, sentence: said, author: author() };
  const times = [performance.now() - (lastSaved ?? markedAt), performance.now() - markedAt];
  const arrived = await outbox.send(label);
  const refused = outbox.waiting().find(({ id }) => id === label.id)?.refused;
  if (refused) {
    outbox.drop(label.id);
    complain(new Problem(422, refused));
    sentence.focus();
    return;
  }
  did({ ...label, revision: 1 });
  if (arrived.some(({ id }) => id === label.id)) {
    lastSaved = performance.now();
    if (times[0] / 1000 < LONGEST_GAP) {
      gaps.push(times[0] / 1000);
      typed.push(times[1] / 1000);
    }
    changed("labels");
  } else notify(text.labels.unsaved, null, true);
  reset();
  focusHome();
  player.start();
  if (!arrived.length) await list();
}

// --- the most useful click ---------------------------------------------------------------------------------------------

const questions = new QuestionPanel($("#question"), {
  show: async ({ video, second }) => {
    if (await reveal(video, second)) list(); // one may answer before it is there
    focusHome();
  },
  label: answer,
  ended: () => {
    $("#suggest").hidden = false;
    focusHome();
  },
});

/** Yes is a label at the second that is shown, no a negative one where it was asked. */
async function answer({ video, second, sentence: said }, yes) {
  if (yes && (!current || current.video !== video)) {
    await open(video, second); // someone looked at another video meanwhile
    return false;
  }
  const glance = yes ? Math.round(player.time * 100) / 100 : second;
  const label = { id: newId(), video, glance, sentence: said, author: author(), absent: !yes };
  const arrived = await outbox.send(label);
  const refused = outbox.waiting().find(({ id }) => id === label.id)?.refused;
  if (refused) {
    outbox.drop(label.id);
    complain(new Problem(422, refused));
    return false;
  }
  did({ ...label, revision: 1 });
  if (arrived.length) changed("labels");
  else notify(text.labels.unsaved, null, true);
  return true;
}

$("#suggest").addEventListener("click", () => {
  $("#suggest").hidden = true;
  questions.begin();
});

// crypto.randomUUID is only there on https and this machine
function newId() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

outbox.onOutbox((arrived) => {
  // those just saved are told by the list alone
  if (arrived.length && !document.hidden && lastWaiting) notify(text.labels.sent(arrived.length));
  if (arrived.length) changed("labels");
  list();
});

$("#mark").addEventListener("click", () => mark());
$("#drop").addEventListener("click", discard);
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
  }
});

// --- the list ----------------------------------------------------------------------------------------------------------

let lastWaiting = 0;

async function list() {
  const everything = $("#everything").checked;
  try {
    const found = await get("/api/labels", { video: everything ? null : current?.video, limit: SHOWN });
    labels = found.labels;
    const more = found.total - labels.length;
    total = everything ? found.total : (await get("/api/labels", { limit: 1 })).total;
    draw(more);
  } catch (error) {
    draw(0); // with what was known, and what waits
    if (error.status !== 0 || !outbox.waiting().length) complain(error);
  }
}

function draw(more) {
  const everything = $("#everything").checked;
  const pending = outbox.waiting().filter(({ video }) => everything || video === current?.video);
  const ids = new Set(labels.map(({ id }) => id));
  const rows = [
    ...labels.map((label) => editing.get(label.id) ?? row(label)),
    ...pending.filter(({ id }) => !ids.has(id)).map(pendingRow),
    ...[...editing].filter(([id]) => !ids.has(id)).map(([, item]) => item), // deleted elsewhere, the text is here
  ];
  if (!everything) rows.sort((a, b) => Number(a.dataset.glance) - Number(b.dataset.glance));
  $("#labels-name").textContent = everything ? words.everywhere : words.here;
  const focused = document.activeElement;
  replace(
    $("#labels"),
    rows,
    more > 0 && el("li", { class: "text-soft" }, words.more(more)),
    !rows.length && el("li", { class: "text-soft" }, words.none),
  );
  if (focused instanceof HTMLElement && focused !== document.activeElement && $("#labels").contains(focused))
    focused.focus({ preventScroll: true }); // moving an element takes the focus from it
  drawTimeline();
  drawPace();
  $("#undo").disabled = !canUndo();
}

function drawPace() {
  const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
  lastWaiting = outbox.waiting().length;
  replace(
    $("#pace"),
    el("span", {}, words.total(total)),
    gaps.length > 0 &&
      el("span", {}, el("b", {}, words.pace(median(gaps).toFixed(1))), words.typing(median(typed).toFixed(1))),
    lastWaiting > 0 && el("strong", { class: "text-bad" }, words.waiting(lastWaiting)),
  );
}

function seekTo({ video, glance }) {
  if (video === current?.video) player.seek(glance);
  else open(video, glance);
}

function row(label) {
  const other = label.video !== current?.video;
  const when = clock(label.glance, true);
  const item = el("li", { "data-glance": label.glance, "data-label": label.id });
  const not = label.absent && el("b", { class: "text-soft" }, words.not, " ");
  const facts = [other && label.video, label.author, ago(new Date(label.at)), label.held_out && words.heldOut];
  replace(
    item,
    el(
      "button",
      {
        type: "button",
        class: "label-time",
        "aria-label": words.goTo(when, other ? label.video : ""),
        on: { click: () => seekTo(label) },
      },
      when,
    ),
    el("span", { class: "label-sentence" }, not, label.sentence, el("small", {}, facts.filter(Boolean).join(" · "))),
    el(
      "button",
      {
        type: "button",
        class: "button-quiet label-edit-button",
        "aria-label": words.editOf(label.sentence),
        on: { click: () => edit(item, label) },
      },
      words.edit,
    ),
    el(
      "button",
      {
        type: "button",
        class: "button-quiet label-delete-button",
        "aria-label": words.deleteOf(label.sentence),
        on: { click: () => remove(item, label) },
      },
      words.delete,
    ),
  );
  return item;
}

function pendingRow(label) {
  const when = clock(label.glance, true);
  const why = label.refused ? words.refused(label.refused) : words.notSaved;
  return el(
    "li",
    { class: "label-pending", "data-glance": label.glance },
    el(
      "button",
      { type: "button", class: "label-time", "aria-label": words.goTo(when, ""), on: { click: () => seekTo(label) } },
      when,
    ),
    el("span", { class: "label-sentence" }, label.sentence, el("small", { class: "text-bad" }, why)),
    label.refused && [
      el("button", { type: "button", class: "button-quiet", on: { click: () => takeUp(label) } }, words.edit),
      el("button", { type: "button", class: "button-quiet", on: { click: () => dropPending(label) } }, words.discard),
    ],
  );
}

// A label that was refused goes back to the form it came from.
async function takeUp(label) {
  outbox.drop(label.id);
  drafts.set(label.video, { glance: label.glance, sentence: label.sentence });
  if (label.video === current?.video) {
    restoreDraft();
    await list();
  } else await open(label.video, label.glance);
}

function dropPending(label) {
  outbox.drop(label.id);
  list();
}

// --- changing a label --------------------------------------------------------------------------------------------------

function edit(item, label) {
  let { revision } = label;
  const said = el("input", { value: label.sentence, maxLength: 500, "aria-label": words.sentence });
  const time = el("input", {
    type: "number",
    min: 0,
    step: 0.01,
    value: label.glance,
    "aria-label": words.second,
    class: "label-edit-time",
  });
  const saving = el("button", { class: "button-main" }, words.save);
  const cancel = el("button", { type: "button", on: { click: () => close() } }, words.cancel);
  const problem = el("p", { class: "label-edit-problem text-bad", role: "alert", hidden: true });
  const close = async () => {
    editing.delete(label.id);
    item.remove();
    await list();
    focusRow(label.id, ".label-edit-button");
  };
  const submit = async () => {
    const body = { revision, sentence: said.value, glance: Number(time.value), author: author() };
    try {
      did(await call("PATCH", `/api/labels/${label.id}`, { body }));
      changed("labels");
      await close();
    } catch (error) {
      problem.hidden = false;
      problem.textContent = error.message;
      if (error.status === 409 || error.status === 404) await showTheirs();
      said.focus();
    }
  };
  // What someone else made of it stands beside what was typed here; nothing is lost until one is chosen.
  const showTheirs = async () => {
    const { labels: found } = await get("/api/labels", { video: label.video, limit: 1000 });
    const theirs = found.find(({ id }) => id === label.id);
    cancel.textContent = words.useTheirs;
    if (theirs) {
      revision = theirs.revision;
      saving.textContent = words.saveMine;
      problem.textContent = words.theirs(theirs.author, clock(theirs.glance, true), theirs.sentence);
    } else {
      saving.hidden = true;
      problem.textContent = words.deletedElsewhere;
    }
  };
  const listeners = {
    submit: (event) => {
      event.preventDefault();
      submit();
    },
    keydown: (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      close();
    },
  };
  editing.set(label.id, item);
  replace(item, el("form", { class: "label-edit", on: listeners }, time, said, saving, cancel, problem));
  said.focus();
}

/** Where one goes on after a row has changed or gone. */
function focusRow(id, button, otherwise = -1) {
  const list = [...$("#labels").querySelectorAll("li[data-label]")];
  const at = list.findIndex((item) => item.dataset.label === id);
  const target = list[at >= 0 ? at : Math.min(otherwise, list.length - 1)]?.querySelector(button);
  if (target) target.focus();
  else focusHome();
}

async function remove(item, label) {
  const at = [...$("#labels").querySelectorAll("li[data-label]")].indexOf(item);
  try {
    const query = { revision: label.revision, author: author() };
    did(await call("DELETE", `/api/labels/${label.id}`, { query }));
    changed("labels");
    notify(words.deleted, { text: text.labels.undo, run: undo });
  } catch (error) {
    complain(error);
  }
  await list();
  focusRow(label.id, ".label-delete-button", at);
}

async function undo() {
  try {
    const step = await undoLast();
    notify(step ? text.labels.undone(step.sentence) : text.labels.nothingToUndo);
    if (step) changed("labels");
  } catch (error) {
    complain(error);
  }
  await list();
}

$("#undo").addEventListener("click", undo);
$("#everything").addEventListener("change", list);
onChange((kinds) => kinds.has("labels") && list());

// --- your name, import and export --------------------------------------------------------------------------------------

$("#author").value = author();
$("#author").addEventListener("change", () => settings.set("cfmr-author", $("#author").value.trim()));
$("#import").addEventListener("change", async () => {
  const [file] = $("#import").files;
  if (!file) return;
  replace($("#refused"));
  try {
    const answer = await take(file);
    notify(words.imported(answer.added, answer.already, answer.refused));
    const rows = answer.reasons.map(({ row: number, reason }) => el("li", {}, words.refusedRow(number, reason)));
    const more = answer.refused - rows.length;
    replace($("#refused"), rows, more > 0 && el("li", {}, words.more(more)));
    changed("labels");
  } catch (error) {
    complain(error);
  }
  $("#import").value = "";
  await list();
});

// Subtitles do not say which video they are of: the file's name does, or it is the one that is open.
async function take(file) {
  const query = { name: file.name, author: author() };
  const send = (more) => call("POST", "/api/labels/import", { query: { ...query, ...more }, body: file });
  if (!/\.(srt|vtt|edl)$/i.test(file.name) || !current) return send({});
  const part = file.name.replace(/(\.[a-z-]{2,8})?\.[^.]+$/i, "");
  const { videos } = await get("/api/videos", { contains: part, limit: 1 });
  return send(videos.length ? {} : { video: current.video });
}

$("#format").addEventListener("change", () => {
  $("#export").href = address("/api/labels/export", { format: $("#format").value });
});

// --- keys --------------------------------------------------------------------------------------------------------------

shortcut(["Enter", "m"], words.keys.mark, () => mark());
shortcut(["u", "Control+z"], words.keys.undo, undo);
shortcut("n", words.keys.next, () => (questions.asking ? questions.answer("no") : handOut()));
shortcut("y", words.keys.yes, () => questions.asking && questions.answer("yes"));
shortcut("s", words.keys.skip, () => questions.asking && questions.answer("skip"));
shortcut("Escape", words.keys.discard, () => {
  if (marked === null) return false;
  discard();
});
playerKeys(player, timeline, { muteKey: false });

async function begin() {
  const query = new URLSearchParams(location.search);
  const video = query.get("video");
  if (video) await open(video, Number.parseFloat(query.get("t") ?? "") || 0);
  else await handOut();
  const label = labels.find(({ id }) => id === query.get("label"));
  const item = label && $("#labels").querySelector(`li[data-label="${label.id}"]`);
  if (item) edit(item, label);
  else if (marked === null) focusHome(); // someone quick may be typing already
  if (outbox.waiting().length) await outbox.flush();
}

begin();
