// The search page.

import { Player } from "../components/player.js";
import { address, get, post } from "../lib/api.js";
import { $, clock, complain, el, lasting, milliseconds, notify, plural, replace } from "../lib/dom.js";
import "../lib/jobs.js";
import { Timeline } from "../components/timeline.js";
import { shortcut } from "../lib/keys.js";
import { author } from "../lib/settings.js";

const PAUSE = 25; // milliseconds without a key before a search
const REST = 150; // and before the player takes up what was found
const TOP = 10;
const NUDGE = 0.25;

const box = $("#q");
const within = $("#within");
/** @type {import("../lib/types.js").Moment[]} */
let moments = [];
let chosen = -1;
/** @type {AbortController | null} */
let asked = null; // the search under way
/** @type {string | null} */
let answered = null; // what the results on the page answer
let waiting, resting;

// --- the stage ---------------------------------------------------------------------------------------------------------

const stage = $("#stage");
const player = new Player(stage, { onTime: (time) => timeline.setTime(time) });
const timeline = new Timeline(stage, { onSeek: (time) => player.seek(time), onSpan: (span) => changeSpan(span) });
const title = el("h2", { class: "stage-title" });
const label = el(
  "button",
  { type: "button", class: "button-main", on: { click: () => confirmMoment() } },
  "This is the moment",
);
const save = el("a", { class: "button", download: "" }, "Save clip");
const link = el("button", { type: "button", on: { click: () => copyLink() } }, "Copy link");
stage.prepend(title, timeline.root);
player.controls.append(el("div", { class: "row player-actions" }, link, save, label));
stage.append(player.controls);

function changeSpan(span) {
  moments[chosen].span = span;
  player.span = span;
  describe();
}

function describe() {
  const { video, span } = moments[chosen];
  replace(
    title,
    el("span", { class: "stage-video" }, video),
    " ",
    el("span", { class: "stage-span" }, `${clock(span[0], true)} – ${clock(span[1], true)}`),
  );
  save.href = address("/api/clip", { video, start: span[0].toFixed(3), end: span[1].toFixed(3) });
  remember();
}

async function draw() {
  const { video, span } = moments[chosen];
  const others = moments.filter((one, at) => one.video === video && at !== chosen).map((one) => one.span);
  timeline.setSpan(null);
  if (timeline.video !== video) timeline.show({ duration: moments[chosen].duration });
  timeline.video = video;
  timeline.duration = moments[chosen].duration;
  timeline.setSpan(span);
  const here = chosen;
  try {
    const curve = await get("/api/curve", { q: answered, video });
    if (here !== chosen || moments[chosen]?.video !== video) return;
    timeline.show({ ...curve, others });
    timeline.setSpan(moments[chosen].span);
    timeline.setTime(player.time || span[0]);
  } catch (error) {
    complain(error);
  }
}

function choose(at, { play = false, scroll = true, rest = 0 } = {}) {
  if (!moments.length) return;
  clearTimeout(resting);
  chosen = Math.min(Math.max(at, 0), moments.length - 1);
  const moment = moments[chosen];
  for (const [number, item] of [...$("#results").children].entries()) {
    item.firstChild.setAttribute("aria-current", String(number === chosen));
  }
  if (scroll) $("#results").children[chosen].scrollIntoView({ block: "nearest" });
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
    player.playMoment();
    if (matchMedia("(max-width: 899px)").matches) stage.scrollIntoView({ block: "start" });
  } else player.pause();
}

function watch() {
  const moment = moments[chosen];
  if (!moment) return;
  if (moment.watchable) player.show(moment.video, moment.span[0], moment.span);
  draw();
}

async function confirmMoment() {
  if (chosen < 0) return;
  const { video, span } = moments[chosen];
  const inside =
    player.name === video && player.time >= span[0] && player.time <= span[1] && player.time > span[0] + 0.05;
  const glance = Math.round((inside ? player.time : (span[0] + span[1]) / 2) * 100) / 100;
  try {
    const made = await post("/api/labels", { video, glance, sentence: answered, author: author() });
    notify(`Labelled ${clock(glance, true)} in ${video}`, {
      text: "Undo",
      run: async () => {
        try {
          await post(`/api/labels/${made.id}/undo`, { revision: made.revision, author: author() });
          notify("Taken back");
          draw();
        } catch (error) {
          complain(error);
        }
      },
    });
    draw();
  } catch (error) {
    complain(error);
  }
}

async function copyLink() {
  remember();
  try {
    await navigator.clipboard.writeText(location.href);
    notify("Link copied");
  } catch {
    notify("The address of this page is the link");
  }
}

// --- results -----------------------------------------------------------------------------------------------------------

function card(moment, at, best) {
  const share = el("i");
  share.style.width = `${Math.max(best > 0 ? (moment.score / best) * 100 : 100, 2)}%`;
  const when = `${clock(moment.start)} – ${clock(moment.end)}`;
  return el(
    "li",
    {},
    el(
      "button",
      {
        type: "button",
        class: "result",
        "aria-current": "false",
        "aria-label": `${at + 1}. ${moment.video}, ${when}, score ${moment.score.toFixed(2)}`,
        on: { click: () => choose(at, { play: true, scroll: false }) },
      },
      moment.watchable
        ? el("img", {
            src: address("/api/thumbnail", { video: moment.video, t: ((moment.start + moment.end) / 2).toFixed(1) }),
            alt: "",
            loading: "lazy",
            width: 128,
            height: 72,
          })
        : el("span", { class: "no-picture" }, "no file"),
      el(
        "span",
        { class: "result-text" },
        el("span", { class: "result-time" }, when),
        el("span", { class: "result-video" }, moment.video),
        el("span", { class: "result-score" }, el("span", { class: "result-meter" }, share), moment.score.toFixed(2)),
      ),
    ),
  );
}

function words(list, join = "or") {
  const quoted = list.map((word) => `“${word}”`);
  return quoted.length < 2 ? quoted.join("") : `${quoted.slice(0, -1).join(", ")} ${join} ${quoted.at(-1)}`;
}

function tally(answer, shown) {
  const used = answer.unknown.filter((one) => one.used).map((one) => `“${one.word}” was read as “${one.used}”`);
  const lost = answer.unknown.filter((one) => !one.used).map((one) => one.word);
  replace(
    $("#tally"),
    el(
      "span",
      {},
      answer.moments.length ? plural(answer.moments.length, "moment") : "Nothing",
      ` in ${plural(answer.videos, "video")}`,
    ),
    el(
      "span",
      { title: `sentence ${milliseconds(answer.encode_ms)}, search ${milliseconds(answer.search_ms)}` },
      `found in ${milliseconds(answer.encode_ms + answer.search_ms)}`,
    ),
    el("span", { class: "search-latency" }, `on screen after ${milliseconds(shown)}`),
    answer.convincing === false && el("strong", {}, "Nothing fits well; these come closest."),
    used.length > 0 && el("strong", {}, `${used.join(", ")}.`),
    lost.length > 0 &&
      el("strong", {}, `${words(lost, "and")} ${lost.length > 1 ? "are" : "is"} not known and left out.`),
  );
}

/** @param {{ play?: boolean, select?: ((found: any[]) => number) | null }} [options] */
async function ask({ play = false, select = null } = {}) {
  const sentence = box.value.trim();
  asked?.abort();
  if (!sentence) {
    rest();
    return;
  }
  const control = new AbortController();
  asked = control;
  const began = performance.now();
  const filter = within.value.trim();
  try {
    const answer = await get("/api/search", { q: sentence, top: TOP, video: filter }, control.signal);
    moments = answer.moments.map((moment) => ({ ...moment, span: [moment.start, moment.end] }));
    answered = sentence;
    chosen = -1;
    $("#start").hidden = true;
    $("#found").hidden = !moments.length;
    const best = Math.max(...moments.map((moment) => moment.score));
    replace(
      $("#results"),
      moments.map((moment, at) => card(moment, at, best)),
    );
    tally(answer, performance.now() - began);
    const at = select ? select(moments) : 0;
    if (moments.length) choose(at, { play, scroll: false, rest: player.name && !play ? REST : 0 });
    else remember();
  } catch (error) {
    if (error.name === "AbortError") return;
    player.pause();
    $("#found").hidden = true;
    moments = [];
    chosen = -1;
    replace($("#tally"), el("strong", {}, error.message));
    remember();
  } finally {
    if (asked === control) asked = null;
  }
}

function rest() {
  player.pause();
  moments = [];
  chosen = -1;
  answered = null;
  $("#found").hidden = true;
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
  if (answered === box.value.trim() && chosen >= 0 && !asked) choose(chosen, { play: true });
  else ask({ play: true });
});

// --- filter by video ---------------------------------------------------------------------------------------------------

async function offerNames(input, list) {
  try {
    const { videos } = await get("/api/videos", { contains: input.value.trim(), limit: 50 });
    replace(
      list,
      videos.map(({ video }) => el("option", { value: video })),
    );
  } catch {
    /* without names one types them */
  }
}
within.addEventListener("focus", () => offerNames(within, $("#within-names")));
within.addEventListener("input", () => offerNames(within, $("#within-names")));
within.addEventListener("change", () => ask());

// --- links -------------------------------------------------------------------------------------------------------------

function remember() {
  const moment = moments[chosen];
  const query = { q: box.value.trim(), in: within.value.trim() };
  if (moment)
    Object.assign(query, { video: moment.video, t: moment.span.map((time) => Number(time.toFixed(2))).join(",") });
  history.replaceState(null, "", address("/", query));
}

// ?q=...&video=...&t=12.3 or t=12.3,18.9: the moment that was meant, even if it is no longer among the results
function meant(video, times) {
  return (found) => {
    const [start, end] = times;
    const near = found.map((one, at) => [
      one.video === video ? Math.abs(one.start - (start ?? one.start)) : Infinity,
      at,
    ]);
    const [distance, at] = near.sort((a, b) => a[0] - b[0])[0] ?? [Infinity, 0];
    if (distance < 0.5) {
      if (end > start) found[at].span = [start, end];
      return at;
    }
    return distance < Infinity && start === undefined ? at : addMeant(found, video, start, end);
  };
}

function addMeant(found, video, start, end) {
  const same = found.find((one) => one.video === video);
  if (!same) return 0;
  const last = Math.min(end > start ? end : start + 5, same.duration);
  found.push({ ...same, start, end: last, span: [start, last] });
  $("#results").append(card(found.at(-1), found.length - 1, found[0].score));
  return found.length - 1;
}

async function begin() {
  const query = new URLSearchParams(location.search);
  box.value = query.get("q") ?? "";
  within.value = query.get("in") ?? "";
  const video = query.get("video");
  const times = (query.get("t") ?? "").split(",").map(Number.parseFloat).filter(Number.isFinite);
  const first = box.value ? ask({ select: video ? meant(video, times) : null }) : null;
  try {
    const status = await get("/api/status");
    welcome(status);
  } catch (error) {
    complain(error);
  }
  await first;
  if (!box.value) $("#start").hidden = false;
}

function welcome({ ready, indexed, videos, seconds, labels, examples }) {
  if (!ready) {
    replace(
      $("#start"),
      el(
        "p",
        { class: "lead" },
        videos
          ? "There is no model yet. Label some moments, let it learn from them, and then search here."
          : "There are no videos yet. Add some, label a few moments, let it learn from them, and then search here.",
      ),
      el(
        "p",
        { class: "row" },
        el(
          "a",
          { class: "button button-main", href: videos ? "/label" : "/add" },
          videos ? "Label moments" : "Add videos",
        ),
        labels > 0 && el("a", { class: "button", href: "/learn" }, "Learn"),
      ),
    );
    return;
  }
  replace(
    $("#start"),
    el(
      "p",
      { class: "lead" },
      `${plural(indexed, "video")}, ${lasting(seconds)}.`,
      examples.length ? " Try one of these:" : "",
    ),
    el(
      "ul",
      { class: "search-examples" },
      examples.map((sentence) =>
        el(
          "li",
          {},
          el(
            "a",
            {
              href: address("/", { q: sentence }),
              on: {
                click: (event) => {
                  event.preventDefault();
                  box.value = sentence;
                  box.focus();
                  ask();
                },
              },
            },
            sentence,
          ),
        ),
      ),
    ),
  );
}

// --- keys --------------------------------------------------------------------------------------------------------------

shortcut("/", "to the search box", () => {
  box.focus();
  box.select();
});
shortcut(
  "Escape",
  "out of the search box",
  (event) => {
    if (event.target !== box) return false;
    box.blur();
  },
  { inText: true },
);
shortcut(["ArrowDown", "j"], "next moment", (event) => step(event, 1), { inText: true });
shortcut(["ArrowUp", "k"], "moment before", (event) => step(event, -1), { inText: true });
shortcut("Enter", "play the moment", () => (chosen >= 0 ? choose(chosen, { play: true }) : false));
shortcut([" ", "p"], "play or pause", () => player.toggle());
shortcut("ArrowLeft", "a second back", () => chosen >= 0 && player.seek(player.time - 1));
shortcut("ArrowRight", "a second on", () => chosen >= 0 && player.seek(player.time + 1));
shortcut("l", "loop the moment", () => player.loop());
shortcut("[", "start earlier", () => timeline.nudge(0, -NUDGE));
shortcut("]", "start later", () => timeline.nudge(0, NUDGE));
shortcut("{", "end earlier", () => timeline.nudge(1, -NUDGE));
shortcut("}", "end later", () => timeline.nudge(1, NUDGE));
shortcut("t", "this is the moment", () => confirmMoment());
shortcut("s", "save the clip", () => chosen >= 0 && save.click());
shortcut("c", "copy the link", () => chosen >= 0 && copyLink());

function step(event, by) {
  const typing = event.target.matches("input, textarea, select");
  if (typing && (event.target !== box || event.key.length === 1)) return false;
  if (!moments.length) return false;
  choose(chosen + by);
}

begin();
