// The search page.

import { exportMenu } from "../components/export-menu.js";
import { PastSearches } from "../components/past-searches.js";
import { Player, playerKeys } from "../components/player.js";
import { showReading } from "../components/reading.js";
import { Timeline } from "../components/timeline.js";
import { address, get, post } from "../lib/api.js";
import { changed, onChange } from "../lib/changes.js";
import { $, clock, complain, el, lasting, milliseconds, normalized, notify, replace, stretch } from "../lib/dom.js";
import "../lib/jobs.js";
import { focusHome, keysGoTo, shortcut } from "../lib/keys.js";
import { author, settings } from "../lib/settings.js";
import { text } from "../lib/texts.js";
import { canUndo, did, undoLast } from "../lib/undo.js";

/** @typedef {import("../lib/types.js").Moment} Moment */
/** @typedef {import("../lib/types.js").Span} Span */
/** @typedef {{ video: string, span: Span | null }} Meant what a link names */

const PAUSE = 12; // milliseconds without a key before a search: about what an answer takes, and one is asked for at a time
const REST = 150; // and before pictures are fetched and the player takes up what was found
const SETTLED = 1500; // after which an answer was looked at, so that Back leads to it
const TOP = 10;
const MORE = 20; // moments of a further page
const MOST = 1000; // of one answer
const NUDGE = 0.25;
const GROUPED = "cfmr-grouped";
const words = text.search;

const box = $("#q");
const within = $("#within");
/** @type {Moment[]} */
let moments = [];
let chosen = -1;
/** @type {string | null} the sentence that the results on the page answer; "" where only a moment was the query */
let answered = null;
/** @type {Record<string, any> | null} all that they answer */
let searched = null;
/** @type {string[]} words of it that the model does not know */
let unknown = [];
let further = false; // whether there are more moments than are listed
/** @type {ReturnType<typeof setTimeout> | undefined} */
let waiting;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let resting;

// --- what is searched for beside the sentence --------------------------------------------------------------------------

/** @typedef {{ video: string, span: Span }} Example */
/** @type {Example[]} */
let like = [];
/** @type {Example[]} */
let unlike = [];
/** @type {string[]} videos to search in; none: all */
let only = [];

const written = ({ video, span }) => `${video}@${span.map((time) => Number(time.toFixed(2))).join("-")}`;
const sought = () => Boolean(box.value.trim() || like.length);
/** What a search and a curve are asked for. */
const asked = () => ({ q: box.value.trim(), like: like.map(written), unlike: unlike.map(written) });

/** @param {string} text @returns {Example | null} */
function example(text) {
  const found = /^(.+)@([\d.]+)-([\d.]+)$/s.exec(text);
  return found && { video: found[1], span: [Number(found[2]), Number(found[3])] };
}

// Each can be taken off again; words with a minus are taken out of the box.
function drawChips(without = []) {
  const chip = (said, off, no = false) => {
    const run = () => {
      off();
      ask();
      box.focus();
    };
    return el(
      "li",
      { class: no ? "search-chip search-chip-not" : "search-chip" },
      el("span", {}, said),
      el("button", { type: "button", "aria-label": words.dropChip(said), on: { click: run } }, "✕"),
    );
  };
  const minus = (said) => () => {
    box.value = box.value.replaceAll(`-"${said}"`, "").replaceAll(`-${said}`, "").replace(/\s+/g, " ").trim();
  };
  replace(
    $("#chips"),
    like.map((one) =>
      chip(words.likeChip(one.video, stretch(one.span)), () => {
        like = like.filter((other) => other !== one);
      }),
    ),
    unlike.map((one) =>
      chip(
        words.unlikeChip(one.video, stretch(one.span)),
        () => {
          unlike = unlike.filter((other) => other !== one);
        },
        true,
      ),
    ),
    without.map((said) => chip(words.withoutChip(said), minus(said), true)),
    only.length > 0 &&
      chip(only.length === 1 ? words.onlyOne(only[0]) : words.onlyChip(only.length), () => {
        only = [];
      }),
  );
  $("#chips").hidden = !$("#chips").childElementCount;
}

/** @param {"like" | "unlike"} kind */
function byExample(kind) {
  const moment = moments[chosen];
  if (!moment?.span) return;
  const one = { video: moment.video, span: /** @type {Span} */ ([...moment.span]) };
  if (kind === "like") like = [...like, one];
  else if (!sought()) return;
  else unlike = [...unlike, one];
  ask();
}

// --- the stage ---------------------------------------------------------------------------------------------------------

const stage = $("#stage");
const player = new Player(stage, { onTime: (time) => timeline.setTime(time) });
const timeline = new Timeline(stage, {
  onSeek: (time) => player.seek(time),
  onSpan: (span) => changeSpan(span),
  picture: (time) => {
    const moment = moments[chosen];
    return moment?.watchable
      ? address("/api/thumbnail", { video: moment.video, t: time.toFixed(2), width: 160 })
      : null;
  },
  frame: () => player.frameLength(),
  curve: async (start, end) => {
    const { video } = moments[chosen] ?? {};
    return video && searched ? get("/api/curve", { ...searched, video, start, end }).catch(() => null) : null;
  },
});
const title = el("h2", { class: "stage-title" });
const label = el(
  "button",
  { type: "button", class: "button-main", on: { click: () => confirmMoment() } },
  words.confirm,
);
const save = el("a", { class: "button", download: "" }, words.save);
const link = el("button", { type: "button", on: { click: () => copyLink() } }, words.link);
const more = el(
  "button",
  { type: "button", class: "button-quiet", on: { click: () => byExample("like") } },
  words.like,
);
const less = el(
  "button",
  { type: "button", class: "button-quiet", on: { click: () => byExample("unlike") } },
  words.unlike,
);
stage.prepend(title, timeline.root);
player.controls.append(el("div", { class: "row player-actions" }, link, save, label));
stage.append(player.controls);
keysGoTo(stage);

const thumbnail = (video, time, width) => address("/api/thumbnail", { video, t: time.toFixed(1), width });

function changeSpan(span) {
  moments[chosen].span = span;
  player.span = span;
  describe();
}

function describe() {
  const { video, span, watchable } = moments[chosen];
  const at = span ? span[0].toFixed(2) : undefined;
  replace(
    title,
    el("a", { class: "stage-video", href: address("/", { video, t: at }) }, video),
    span && el("span", { class: "stage-span" }, `${clock(span[0], true)} – ${clock(span[1], true)}`),
    el("span", { class: "stage-examples" }, more, less),
    watchable && el("a", { class: "stage-label-link", href: address("/label", { video, t: at }) }, words.label),
  );
  save.hidden = !span;
  more.hidden = !span;
  less.hidden = !span || !sought();
  label.hidden = !span || !answered;
  if (span) save.href = address("/api/clip", { video, start: span[0].toFixed(3), end: span[1].toFixed(3) });
  remember();
}

async function draw() {
  const here = chosen;
  const { video, duration } = moments[here];
  const others = moments
    .filter((one, at) => one.video === video && at !== here && one.span)
    .map((one) => /** @type {Span} */ (one.span));
  if (timeline.video !== video) {
    timeline.setSpan(null);
    timeline.show({ video, duration });
  }
  timeline.setSpan(moments[here].span);
  try {
    const curve = searched
      ? await get("/api/curve", { ...searched, video })
      : { duration, ...(await get("/api/labels", { video, limit: 500 })) };
    if (here !== chosen || moments[chosen]?.video !== video) return;
    timeline.show({ ...curve, video, others });
    timeline.setSpan(moments[chosen].span);
    timeline.setTime(player.time || (moments[chosen].span?.[0] ?? 0));
    moments[chosen].labels = curve.labels;
  } catch (error) {
    // a video that is not indexed has no curve; it can be watched all the same
    if (error.status !== 422) complain(error);
  }
}

function choose(at, { play = false, scroll = true, rest = 0 } = {}) {
  if (!moments.length) return;
  clearTimeout(resting);
  chosen = Math.min(Math.max(at, 0), moments.length - 1);
  const moment = moments[chosen];
  for (const [number, one] of moments.entries()) {
    cards.get(keyOf(one))?.firstElementChild?.setAttribute("aria-current", String(number === chosen));
  }
  if (scroll) cards.get(keyOf(moment))?.scrollIntoView({ block: "nearest" });
  describe();
  stage.classList.toggle("stage-no-file", !moment.watchable);
  if (rest) {
    player.pause();
    timeline.setSpan(null); // what it shows is of the moment before
    resting = setTimeout(watch, rest);
    return;
  }
  watch();
  if (play) {
    $("#found").classList.add("search-watching");
    settle();
    player.playMoment();
    if (matchMedia("(max-width: 899px)").matches) stage.scrollIntoView({ block: "start" });
  } else player.pause();
}

function watch() {
  const moment = moments[chosen];
  if (!moment) return;
  showPictures();
  if (moment.watchable) player.show(moment.video, moment.span?.[0] ?? moment.start, moment.span);
  draw();
}

// --- labels ------------------------------------------------------------------------------------------------------------

async function confirmMoment({ anyway = false } = {}) {
  const moment = moments[chosen];
  if (!moment?.span || !answered) return;
  const { video, span } = moment;
  const [start, end] = span;
  const inside = player.name === video && player.time > start + 0.05 && player.time <= end;
  const glance = Math.round((inside ? player.time : (start + end) / 2) * 100) / 100;
  const same = normalized(answered);
  const twin = moment.labels?.find(
    (one) => normalized(one.sentence) === same && one.glance >= start && one.glance <= end,
  );
  if (twin && !anyway) {
    const again = { text: text.labels.anyway, run: () => confirmMoment({ anyway: true }) };
    notify(text.labels.already(clock(twin.glance, true)), again);
    return;
  }
  try {
    const made = await post("/api/labels", { video, glance, sentence: answered, author: author() });
    did(made);
    changed("labels");
    const hint = unknown.length ? ` ${text.labels.newWords(unknown)}` : "";
    notify(words.labelled(clock(glance, true), video) + (hint && `.${hint}`), { text: text.labels.undo, run: undo });
    draw();
  } catch (error) {
    complain(error);
  }
}

async function undo() {
  try {
    const step = await undoLast();
    notify(step ? text.labels.undone(step.sentence) : text.labels.nothingToUndo);
    if (!step) return;
    changed("labels");
    if (chosen >= 0) draw();
  } catch (error) {
    complain(error);
  }
}

async function copyLink() {
  remember();
  try {
    await navigator.clipboard.writeText(location.href);
    notify(words.copied);
  } catch {
    notify(words.notCopied);
  }
}

// --- results -----------------------------------------------------------------------------------------------------------

/** @type {Map<string, HTMLElement>} what stands in the list: what is found again stays, with its picture */
let cards = new Map();
const fetched = new Set(); // addresses of pictures

/** @param {Moment} moment */
const keyOf = ({ video, start, end, fromLink }) => `${video}|${start}|${end}|${Boolean(fromLink)}`;

/**
 * @param {Moment} moment
 * @param {number | null} threshold the score that tells true matches from others, if one is known
 */
function card(moment, threshold) {
  const when = stretch(moment.span ?? [moment.start, moment.end]);
  const picture = moment.watchable
    ? el("img", { alt: "", width: 128, height: 72 })
    : el("span", { class: "no-picture" }, words.noFile);
  if (moment.watchable) {
    const address = thumbnail(moment.video, (moment.start + moment.end) / 2, 320);
    if (fetched.has(address)) picture.src = address;
    else picture.dataset.source = address;
  }
  const click = () => choose(moments.indexOf(moment), { play: true, scroll: false });
  const keydown = (event) => {
    // Space on the moment that plays is for the player, not to begin again
    if (event.key !== " " || moments[chosen] !== moment) return;
    event.preventDefault();
    player.toggle();
  };
  const button = el(
    "button",
    { type: "button", class: "result", "aria-current": "false", on: { click, keydown } },
    picture,
    el(
      "span",
      { class: "result-text" },
      el("span", { class: "result-time" }, when),
      el("span", { class: "result-video" }, moment.video),
      el("span", { class: "result-score" }, source(moment, threshold)),
    ),
  );
  return el("li", {}, button);
}

// One scale for all queries: empty up to the threshold, full at twice the threshold. Without one there is none to draw.
function meter(score, threshold) {
  const fill = el("i");
  const share = (score - threshold) / (Math.abs(threshold) || 1);
  fill.style.width = `${Math.min(Math.max(share, 0), 1) * 100}%`;
  return el("span", { class: "result-meter" }, fill);
}

function source(moment, threshold) {
  if (moment.fromLink) return words.fromLink;
  if (moment.label) return words.ownLabel(moment.label.sentence);
  return [threshold !== null && meter(moment.score, threshold), moment.score.toFixed(2)];
}

/** A card with its place in the list in its name. */
function numbered(moment, at, threshold) {
  const item = card(moment, threshold);
  const when = stretch(moment.span ?? [moment.start, moment.end]);
  const name = moment.label
    ? words.labelCard(at + 1, moment.video, when, moment.label.sentence)
    : words.card(at + 1, moment.video, when, moment.fromLink ? "–" : moment.score.toFixed(2));
  item.firstElementChild?.setAttribute("aria-label", name);
  return item;
}

/** @type {number | null} of the present answer */
let threshold = null;

function drawResults() {
  const before = cards;
  cards = new Map();
  for (const [at, moment] of moments.entries()) {
    const key = keyOf(moment);
    // a card belongs to its moment object; the picture is what is worth keeping
    const item = numbered(moment, at, threshold);
    const picture = before.get(key)?.querySelector("img");
    if (picture) item.querySelector("img")?.replaceWith(picture);
    cards.set(key, item);
  }
  arrange();
  $("#more").hidden = !further;
  clearTimeout(picturing);
  picturing = setTimeout(showPictures, REST);
}

/** @type {ReturnType<typeof setTimeout> | undefined} */
let picturing;

// Pictures come when the typing has paused: those of results that nobody sees are never fetched.
function showPictures() {
  clearTimeout(picturing);
  for (const item of cards.values()) {
    const picture = item.querySelector("img");
    const source = picture?.dataset.source;
    if (!picture || !source) continue;
    delete picture.dataset.source;
    fetched.add(source);
    picture.loading = "lazy";
    picture.src = source;
  }
}

// One list, best first; or a list for each video, in the order of their best moments.
function arrange() {
  const items = moments.map((moment) => /** @type {HTMLElement} */ (cards.get(keyOf(moment))));
  if (!$("#grouped").checked) {
    replace($("#results"), items);
    return;
  }
  const groups = new Map();
  for (const [at, moment] of moments.entries()) {
    if (!groups.has(moment.video)) groups.set(moment.video, []);
    groups.get(moment.video).push(items[at]);
  }
  moments = [...groups.keys()].flatMap((video) => moments.filter((moment) => moment.video === video));
  replace(
    $("#results"),
    [...groups].map(([video, list]) => el("li", { class: "results-group" }, el("h3", {}, video), el("ol", {}, list))),
  );
}

$("#grouped").checked = settings.get(GROUPED) === "1";
$("#grouped").addEventListener("change", () => {
  settings.set(GROUPED, $("#grouped").checked ? "1" : "");
  ask({ keep: true });
});
// --- further pages -----------------------------------------------------------------------------------------------------

let adding = false;

async function showMore() {
  if (adding || asking || !further || !searched) return;
  adding = true;
  const at = searched;
  const known = new Set(moments.map(keyOf));
  const there = moments.filter((one) => !one.fromLink).length;
  try {
    const found = await get("/api/search", { ...place(), ...at, top: MORE, offset: there });
    if (at !== searched || asking) return;
    further = found.more;
    const fresh = found.moments
      .map((moment) => ({ ...moment, span: [moment.start, moment.end] }))
      .filter((moment) => !known.has(keyOf(moment)));
    const now = moments[chosen];
    moments = [...moments, ...fresh];
    for (const moment of fresh)
      cards.set(keyOf(moment), numbered(moment, moments.length - fresh.length + fresh.indexOf(moment), threshold));
    if ($("#grouped").checked) arrange();
    else $("#results").append(...fresh.map((moment) => /** @type {HTMLElement} */ (cards.get(keyOf(moment)))));
    chosen = moments.indexOf(now);
    $("#more").hidden = !further;
    showPictures();
  } catch (error) {
    complain(error);
  } finally {
    adding = false;
  }
}
$("#more").addEventListener("click", showMore);
// scrolling to the end of the list is asking for more
let scrolled = false;
addEventListener(
  "scroll",
  () => {
    scrolled = true;
  },
  { passive: true },
);
new IntersectionObserver(([{ isIntersecting }]) => isIntersecting && scrolled && showMore(), {
  rootMargin: "300px",
}).observe($("#more"));

// What is listed now leaves as it is listed, with the starts and ends that the handles were moved to.
exportMenu($("#export"), () => ({
  title: answered ?? "",
  moments: moments
    .filter((moment) => moment.span)
    .map(({ video, span, score, fromLink }) => ({
      video,
      start: span?.[0],
      end: span?.[1],
      text: answered ?? "",
      score: fromLink ? null : score,
    })),
}));

function tally(answer, shown) {
  const used = answer.unknown.filter((one) => one.used);
  const lost = answer.unknown.filter((one) => !one.used).map((one) => one.word);
  replace(
    $("#tally"),
    el("span", {}, words.moments(answer.moments.length, answer.videos)),
    el(
      "span",
      { class: "search-latency", title: words.timing(milliseconds(answer.encode_ms), milliseconds(answer.search_ms)) },
      words.took(milliseconds(shown)),
    ),
    answer.convincing === false && !answer.moments.some((one) => one.label) && el("strong", {}, words.weak),
    used.length > 0 && el("strong", {}, used.map((one) => words.replaced(one.word, one.used)).join(" ")),
    lost.length > 0 && el("strong", {}, words.dropped(lost)),
  );
}

// --- asking ------------------------------------------------------------------------------------------------------------

/** @typedef {{ play?: boolean, meant?: Meant | null, keep?: boolean }} Wish */

/** @type {Wish | null} the search that comes next */
let next = null;
let asking = false;

/**
 * Search for what is in the box. One search is under way at a time; what is asked meanwhile comes after it.
 * @param {Wish} [wish] `meant`: what a link names; `keep`: the chosen moment stays chosen
 */
async function ask(wish = {}) {
  next = wish;
  if (asking) return;
  asking = true;
  while (next) {
    const now = next;
    next = null;
    await answer(now);
  }
  asking = false;
}

/** Where is searched. */
const place = () => ({ contains: within.value.trim(), video: only });

/** @param {Wish} wish */
async function answer({ play = false, meant = null, keep = false }) {
  if (!sought()) {
    if (meant) await showMeant(meant);
    else rest();
    return;
  }
  const began = performance.now();
  const before = moments[chosen];
  const query = asked();
  const there = moments.filter((one) => !one.fromLink).length;
  const top = keep ? Math.min(Math.max(there, TOP), MOST) : TOP;
  try {
    const found = await get("/api/search", { ...place(), ...query, top });
    if (next) return; // it is out of date
    turnPage();
    answered = found.sentence;
    searched = query;
    threshold = found.threshold;
    further = found.more;
    scrolled &&= keep;
    drawChips(found.without);
    unknown = found.unknown.map((one) => one.word);
    moments = found.moments.map((moment) => ({ ...moment, span: [moment.start, moment.end] }));
    chosen = -1;
    if (keep && before?.fromLink) moments.unshift(before);
    const target = moments[meant ? await addMeant(meant) : 0];
    $("#start").hidden = true;
    $("#found").hidden = !moments.length;
    $("#list").hidden = false;
    drawResults();
    tally(found, performance.now() - began);
    const same = keep && before ? moments.findIndex((one) => keyOf(one) === keyOf(before)) : -1;
    if (!moments.length) remember();
    else if (same >= 0) {
      moments[same].span = before.span; // it is watched already
      chosen = same;
      cards.get(keyOf(before))?.firstElementChild?.setAttribute("aria-current", "true");
      draw();
    } else choose(moments.indexOf(target), { play, scroll: false, rest: player.name && !play ? REST : 0 });
  } catch (error) {
    if (next) return;
    turnPage();
    player.pause();
    $("#found").hidden = true;
    moments = [];
    chosen = -1;
    answered = null;
    searched = null;
    further = false;
    drawChips();
    replace($("#tally"), el("strong", {}, error.message));
    remember();
  }
}

function rest() {
  turnPage();
  player.pause();
  moments = [];
  chosen = -1;
  answered = null;
  searched = null;
  further = false;
  drawChips();
  $("#found").hidden = true;
  $("#found").classList.remove("search-watching");
  $("#start").hidden = false;
  replace($("#tally"));
  remember();
}

box.addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(ask, PAUSE);
});
$("#ask").addEventListener("submit", (event) => {
  event.preventDefault();
  clearTimeout(waiting);
  if (searched?.q === box.value.trim() && chosen >= 0 && !asking) choose(chosen, { play: true });
  else ask({ play: true });
});

// --- filter by video ---------------------------------------------------------------------------------------------------

async function offerNames() {
  try {
    const { videos } = await get("/api/videos", { contains: within.value.trim(), limit: 50 });
    replace(
      $("#within-names"),
      videos.map(({ video }) => el("option", { value: video })),
    );
  } catch {
    /* without names one types them */
  }
}
within.addEventListener("focus", offerNames);
within.addEventListener("input", offerNames);
within.addEventListener("change", () => ask());

// --- links and history -------------------------------------------------------------------------------------------------

/** @type {string | null} the search that the present entry of the history is about; null before the first */
let entry = null;
let settled = true;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let settling;

// An answer that was looked at keeps its entry in the history, and the next search gets one of its own. What was only
// passed through while typing does not.
function turnPage() {
  const search = searchNow();
  if (search === entry) return;
  if (entry !== null && settled) history.pushState(null, "", location.href);
  entry = search;
  settled = false;
  clearTimeout(settling);
  settling = setTimeout(settle, SETTLED);
}

function settle() {
  clearTimeout(settling);
  settled = true;
  if (searched && sought()) past.looked(searchName(), address("/", searchQuery()));
}

const searchQuery = () => ({
  q: box.value.trim(),
  in: within.value.trim(),
  only,
  like: like.map(written),
  unlike: unlike.map(written),
});
const searchNow = () => JSON.stringify(searchQuery());
const searchName = () =>
  [box.value.trim(), ...[...$("#chips").children].map((chip) => chip.firstElementChild?.textContent ?? "")]
    .filter(Boolean)
    .join(", ");

const past = new PastSearches($("#past"), () =>
  searched ? { name: searchName(), url: address("/", searchQuery()) } : null,
);

/** @type {string | null} */
let remembered = null;

function remember() {
  const moment = moments[chosen];
  /** @type {Record<string, any>} */
  const query = searchQuery();
  if (moment) {
    const t = moment.span?.map((time) => Number(time.toFixed(2))).join(",");
    Object.assign(query, { video: moment.video, t });
  }
  const url = address("/", query);
  if (url === remembered && location.pathname + location.search === url) return;
  remembered = url;
  history.replaceState(null, "", url);
}

// ?q=...&video=...&t=12.3 or t=12.3,18.9: the video and the stretch that were meant, whatever is found
/** @returns {Meant | null} */
function fromAddress() {
  const query = new URLSearchParams(location.search);
  box.value = query.get("q") ?? "";
  within.value = query.get("in") ?? "";
  only = query.getAll("only");
  like = query
    .getAll("like")
    .map(example)
    .filter((one) => one !== null);
  unlike = query
    .getAll("unlike")
    .map(example)
    .filter((one) => one !== null);
  const video = query.get("video");
  if (!video) return null;
  const [start, end] = (query.get("t") ?? "").split(",").map(Number.parseFloat).filter(Number.isFinite);
  if (start === undefined) return { video, span: null };
  return { video, span: [start, end > start ? end : start + 5] };
}

/**
 * The place among the moments of what a link means; it comes first if it was not found.
 * @param {Meant} meant
 */
async function addMeant({ video, span }) {
  const near = moments.findIndex((one) => one.video === video && (!span || Math.abs(one.start - span[0]) < 0.5));
  if (near >= 0) {
    if (span && new URLSearchParams(location.search).get("t")?.includes(",")) moments[near].span = span;
    return near;
  }
  const { videos } = await get("/api/videos", { video });
  if (!videos.length) {
    notify(words.linkGone(video), null, true);
    return 0;
  }
  const [there] = videos;
  const duration = there.duration ?? span?.[1] ?? 0;
  /** @type {Span | null} */
  const clipped = span && [Math.min(span[0], duration), Math.min(span[1], duration)];
  moments.unshift({
    video,
    start: clipped?.[0] ?? 0,
    end: clipped?.[1] ?? duration,
    span: clipped && clipped[1] > clipped[0] ? clipped : null,
    score: 0,
    duration,
    watchable: there.watchable,
    fromLink: true,
  });
  return 0;
}

/** @param {Meant} meant a video to watch, without a search */
async function showMeant(meant) {
  moments = [];
  answered = null;
  searched = null;
  try {
    await addMeant(meant);
  } catch (error) {
    complain(error);
  }
  if (!moments.length) {
    rest();
    return;
  }
  $("#start").hidden = true;
  $("#found").hidden = false;
  $("#found").classList.add("search-watching");
  $("#list").hidden = true;
  replace($("#tally"));
  cards = new Map();
  choose(0, { scroll: false });
  focusHome();
}

addEventListener("popstate", () => {
  if (location.pathname + location.search === remembered) return; // only to a part of the page
  const meant = fromAddress();
  clearTimeout(waiting);
  entry = searchNow();
  settled = true;
  remembered = null;
  ask({ meant });
});

async function begin() {
  const early = box.value; // someone quick types before this runs
  const meant = fromAddress();
  box.value ||= early;
  remembered = location.pathname + location.search;
  entry = searchNow();
  drawChips();
  const first = sought() || meant ? ask({ meant }) : null;
  try {
    welcome(await get("/api/status"));
  } catch (error) {
    complain(error);
  }
  await first;
  if (!sought() && !moments.length) $("#start").hidden = false;
}

let ready = true;

// While the folder is read, what is there changes, and a search that found nothing to search in can be made soon.
showReading($("#reading"), async (reading) => {
  if (ready && reading) return;
  const status = await get("/api/status").catch(() => null);
  if (!status) return;
  const first = status.ready && !ready;
  welcome(status, reading);
  if (first && sought() && !searched) ask();
});

/** What is wrong with the folder, for people. */
function troubles({ folder, reachable, unread, unread_total }) {
  const one = ({ video, reason }) => el("li", {}, reason.includes(video) ? reason : `${video}: ${reason}`);
  return [
    !reachable && el("p", { class: "text-bad" }, text.reading.unreachable(folder)),
    unread_total > 0 &&
      el(
        "details",
        { class: "disclosure" },
        el("summary", {}, text.reading.unread(unread_total)),
        el(
          "ul",
          {},
          unread.map(one),
          unread_total > unread.length && el("li", {}, text.reading.more(unread_total - unread.length)),
        ),
      ),
  ];
}

function welcome(status, reading = !$("#reading").hidden) {
  const { indexed, videos, seconds, labels, examples, folder, reads } = status;
  ready = status.ready;
  if (!ready && reads) {
    const said = reading ? text.reading.soon : videos ? text.reading.nothing(folder) : text.reading.noVideos(folder);
    replace(
      $("#start"),
      el("p", { class: "lead" }, said),
      !videos && el("p", { class: "row" }, el("a", { class: "button button-main", href: "/add" }, words.addVideos)),
      troubles(status),
    );
    return;
  }
  if (!ready) {
    replace(
      $("#start"),
      el("p", { class: "lead" }, videos ? words.noModel : words.noVideos),
      el("p", { class: "text-soft" }, words.howMany),
      el(
        "p",
        { class: "row" },
        el(
          "a",
          { class: "button button-main", href: videos ? "/label" : "/add" },
          videos ? words.labelMoments : words.addVideos,
        ),
        labels > 0 && el("a", { class: "button", href: "/learn" }, words.train),
      ),
    );
    return;
  }
  const suggestion = (sentence) => {
    const click = (event) => {
      event.preventDefault();
      box.value = sentence;
      box.focus();
      ask();
    };
    return el("li", {}, el("a", { href: address("/", { q: sentence }), on: { click } }, sentence));
  };
  replace(
    $("#start"),
    el("p", { class: "lead" }, words.collection(indexed, lasting(seconds)), examples.length ? words.examples : ""),
    el("ul", { class: "search-examples" }, examples.map(suggestion)),
    el("p", {}, el("a", { href: "/script" }, words.list)),
    troubles(status),
  );
}

onChange(async (kinds) => {
  if (kinds.has("model")) {
    if (searched) {
      notify(words.newModel);
      await ask({ keep: true });
    }
    const status = await get("/api/status").catch(() => null);
    if (status) welcome(status);
    if (status?.ready && !searched && sought()) await ask();
  } else if (kinds.has("videos")) {
    const status = await get("/api/status").catch(() => null);
    if (status) welcome(status);
    if (searched && player.paused) await ask({ keep: true });
  } else if (kinds.has("labels") && chosen >= 0) draw();
});

// --- keys --------------------------------------------------------------------------------------------------------------

const { keys } = words;
shortcut("/", keys.box, () => {
  box.focus();
  box.select();
});
shortcut(
  "Escape",
  keys.leave,
  (event) => {
    if (event.target !== box && event.target !== within) return false;
    if (moments.length) focusHome();
    else event.target.blur();
  },
  { inText: true },
);
shortcut("ArrowDown", keys.next, (event) => step(event, 1), { inText: true });
shortcut("ArrowUp", keys.previous, (event) => step(event, -1), { inText: true });
shortcut("Enter", keys.play, () => (chosen >= 0 ? choose(chosen, { play: true }) : false));
shortcut("r", keys.loop, () => player.loop());
shortcut("[", keys.startEarlier, () => timeline.nudge(0, -NUDGE));
shortcut("]", keys.startLater, () => timeline.nudge(0, NUDGE));
shortcut("{", keys.endEarlier, () => timeline.nudge(1, -NUDGE));
shortcut("}", keys.endLater, () => timeline.nudge(1, NUDGE));
shortcut("t", keys.confirm, () => confirmMoment());
shortcut(["u", "Control+z"], keys.undo, () => (canUndo() ? undo() : false));
shortcut("s", keys.save, () => chosen >= 0 && save.click());
shortcut("c", keys.link, () => chosen >= 0 && copyLink());
shortcut("a", keys.like, () => byExample("like"));
shortcut("n", keys.unlike, () => byExample("unlike"));
playerKeys(player, timeline);

function step(event, by) {
  const typing = event.target.matches("input:not([type=checkbox]):not([type=range]), textarea, select");
  if (typing && (event.target !== box || event.key.length === 1)) return false;
  if (!moments.length) return false;
  choose(chosen + by);
}

begin();
