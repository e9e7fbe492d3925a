// A list of sentences searched at once, as a script or a shot list has them.

import { exportMenu } from "../components/export-menu.js";
import { address, get } from "../lib/api.js";
import { $, el, replace, stretch } from "../lib/dom.js";
import "../lib/jobs.js";
import { settings } from "../lib/settings.js";
import { text } from "../lib/texts.js";

const words = text.script;
const KEPT = "cfmr-script";
const MOST = 500; // sentences

/** @type {{ sentence: string, moments: import("../lib/types.js").FoundMoment[] }[]} */
let answers = [];
let run = 0;

const lines = () => [
  ...new Set(
    $("#sentences")
      .value.split("\n")
      .map((line) => line.trim())
      .filter(Boolean),
  ),
];

$("#ask").addEventListener("submit", async (event) => {
  event.preventDefault();
  const sentences = lines();
  settings.set(KEPT, $("#sentences").value);
  if (!sentences.length || sentences.length > MOST) {
    replace($("#tally"), el("strong", {}, sentences.length ? words.tooMany(sentences.length, MOST) : words.none));
    $("#sentences").focus();
    return;
  }
  run += 1;
  const mine = run;
  answers = [];
  replace($("#found"));
  $("#stop").hidden = false;
  $("#export").hidden = true;
  let failed = 0;
  for (const [at, sentence] of sentences.entries()) {
    replace($("#tally"), words.searching(at, sentences.length));
    try {
      const { moments } = await get("/api/search", { q: sentence, top: $("#top").value });
      if (mine !== run) return;
      answers.push({ sentence, moments });
      $("#found").append(section(sentence, moments));
    } catch (error) {
      if (mine !== run) return;
      failed += 1;
      $("#found").append(section(sentence, [], error.message));
      if (error.status === 0) break;
    }
  }
  finish(failed);
});

$("#stop").addEventListener("click", () => {
  run += 1;
  finish(0);
});

function finish(failed) {
  const count = answers.reduce((sum, { moments }) => sum + moments.length, 0);
  $("#stop").hidden = true;
  $("#export").hidden = count === 0;
  replace($("#tally"), words.found(answers.length, count), failed > 0 && el("strong", {}, words.failed(failed)));
}

function section(sentence, moments, wrong = "") {
  return el(
    "li",
    {},
    el("h2", {}, el("a", { href: address("/", { q: sentence }) }, sentence)),
    wrong && el("p", { class: "text-bad" }, wrong),
    el(
      "ul",
      { class: "script-moments" },
      moments.map((moment) => card(sentence, moment)),
    ),
  );
}

function card(sentence, { video, start, end, watchable }) {
  const t = `${start.toFixed(2)},${end.toFixed(2)}`;
  const picture = address("/api/thumbnail", { video, t: ((start + end) / 2).toFixed(1) });
  return el(
    "li",
    {},
    el(
      "a",
      { href: address("/", { q: sentence, video, t }) },
      watchable
        ? el("img", { src: picture, alt: "", loading: "lazy", width: 160, height: 90 })
        : el("span", { class: "no-picture" }, text.search.noFile),
      el("span", { class: "result-time" }, stretch([start, end])),
      el("span", { class: "video-name text-soft", title: video }, video),
    ),
  );
}

exportMenu($("#export"), () => ({
  title: words.title,
  moments: answers.flatMap(({ sentence, moments }) =>
    moments.map(({ video, start, end, score, label }) => ({
      video,
      start,
      end,
      text: sentence,
      score: label ? null : score,
    })),
  ),
}));

$("#sentences").value = settings.get(KEPT) ?? "";
