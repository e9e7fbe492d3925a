// The learn page: train on the labels, look at what it brought, serve it.

import { JobView } from "../components/job.js";
import { get, post } from "../lib/api.js";
import { $, ago, clock, complain, el, notify, plural, replace } from "../lib/dom.js";
import { follow, onJobs } from "../lib/jobs.js";
import "../lib/keys.js";

const view = new JobView($("#job"));
let labels = { total: 0, learn: 0, held_out: 0 };
let busy = false;

async function count() {
  const [found, status] = await Promise.all([get("/api/labels", { limit: 1 }), get("/api/status")]);
  labels = found;
  replace(
    $("#count"),
    el("b", {}, plural(labels.total, "label")),
    labels.total ? ": " : ". ",
    labels.total > 0 &&
      `${labels.learn.toLocaleString("en")} to learn from, ${labels.held_out.toLocaleString("en")} held out to check what was learned. `,
    el("a", { href: "/label" }, labels.total ? "Label more" : "Label some moments first"),
    ".",
  );
  $("#original-row").hidden = !status.ready;
  ready();
}

function ready() {
  $("#go").disabled = busy || !labels.learn;
  $("#why").textContent = busy
    ? "One training at a time."
    : !labels.learn && labels.total
      ? "All labels so far are held out; label a few more."
      : "";
}

$("#begin").addEventListener("submit", async (event) => {
  event.preventDefault();
  $("#go").disabled = true;
  try {
    await follow(await post("/api/learn", { with_original: $("#original").checked }));
    view.cancel.focus();
  } catch (error) {
    complain(error);
    ready();
  }
});

onJobs((jobs, ended) => {
  const job = jobs.find((one) => one.kind === "learn" || one.kind === "switch");
  busy = jobs.some((one) => one.kind === "learn" && ["queued", "running"].includes(one.state));
  view.show(job);
  ready();
  for (const one of ended.filter((other) => other.kind !== "add"))
    $("#news").textContent = `${one.title}: ${one.state}`;
  if (ended.length) refresh();
});

// --- what it brought ---------------------------------------------------------------------------------------------------

function measure(name, before, after, key) {
  const bar = (hits, kind) => {
    const fill = el("i", { class: kind });
    fill.style.width = `${(hits[key] / hits.of) * 100}%`;
    return el("span", { class: "comparison-bar" }, fill);
  };
  const cell = (hits, kind) => el("td", {}, hits ? [bar(hits, kind), `${hits[key]} of ${hits.of}`] : "–");
  return el("tr", {}, el("th", { scope: "row" }, name), cell(before, "comparison-old"), cell(after, "comparison-new"));
}

const span = (found) => (found ? `${clock(found[0], true)} – ${clock(found[1], true)}` : "nothing");
const verdict = (hit) =>
  el(
    "span",
    { class: hit ? "comparison-hit" : "comparison-miss" },
    hit ? "✓" : "✗",
    el("span", { class: "visually-hidden" }, hit ? " found" : " missed"),
  );

// In words, as far as the labels can tell: by chance the two counts differ by less than twice the root of their sum.
function said(listed) {
  const gained = listed.filter((one) => one.hit_after && !one.hit_before).length;
  const lost = listed.filter((one) => one.hit_before && !one.hit_after).length;
  const clear = Math.abs(gained - lost) > 2 * Math.sqrt(gained + lost);
  const verdict = !clear ? "No clear difference" : gained > lost ? "The new model is better" : "The new model is worse";
  return `${verdict}: ${gained} first answers became right, ${lost} became wrong.`;
}

function outcome(model) {
  const { before, after, labels: listed } = model.comparison;
  return [
    el("h2", { id: "outcome-name" }, "On labels it never saw"),
    before && el("p", {}, said(listed)),
    el(
      "div",
      { class: "scroll-x" },
      el(
        "table",
        { class: "comparison" },
        el(
          "thead",
          {},
          el("tr", {}, el("td", {}), el("th", { scope: "col" }, "before"), el("th", { scope: "col" }, "after")),
        ),
        el(
          "tbody",
          {},
          measure("in the best moment of its video", before, after, "first"),
          measure("in one of the best five of its video", before, after, "several"),
          measure("in one of the best five of all videos", before, after, "everywhere"),
          el(
            "tr",
            {},
            el("th", { scope: "row" }, "mean length of the best moment"),
            el("td", {}, before ? `${before.length.toFixed(1)} s` : "–"),
            el("td", {}, `${after.length.toFixed(1)} s`),
          ),
        ),
      ),
    ),
    el(
      "p",
      { class: "text-soft" },
      "How often the labelled second lies in what is found. Long moments hit by chance, so watch their length too.",
    ),
    el(
      "details",
      { class: "disclosure" },
      el("summary", {}, "One by one"),
      el(
        "div",
        { class: "scroll-x" },
        el(
          "table",
          {},
          el(
            "thead",
            {},
            el(
              "tr",
              {},
              ["sentence", "labelled", "before", "after"].map((name) => el("th", { scope: "col" }, name)),
            ),
          ),
          el(
            "tbody",
            {},
            listed.map((one) =>
              el(
                "tr",
                {},
                el(
                  "td",
                  {},
                  el("a", { href: `/?${new URLSearchParams({ q: one.sentence, in: one.video })}` }, one.sentence),
                ),
                el("td", {}, clock(one.glance, true)),
                el("td", {}, before ? [verdict(one.hit_before), " ", span(one.before)] : "–"),
                el("td", {}, verdict(one.hit_after), " ", span(one.after)),
              ),
            ),
          ),
        ),
      ),
    ),
  ];
}

const named = (model) => (model.created ? `Model ${Number(model.id)}` : "The model it began with");

async function serve(model) {
  try {
    const { job } = await post(`/api/models/${model.id}/serve`);
    notify(job ? "New videos are indexed first; then it answers." : `${named(model)} answers from now on`);
    if (job) await follow({ id: job });
  } catch (error) {
    complain(error);
  }
  await refresh();
}

function line(model) {
  const from = model.created ? [plural(model.labels, "label"), ago(new Date(model.created * 1000))].join(", ") : "";
  return el(
    "li",
    {},
    el("span", {}, el("b", {}, named(model)), " ", el("span", { class: "text-soft" }, from)),
    model.served
      ? el("span", { class: "model-current" }, "answers now")
      : el(
          "button",
          { type: "button", "aria-label": `Use ${named(model)}`, on: { click: () => serve(model) } },
          "Use this",
        ),
  );
}

async function refresh() {
  try {
    await count();
    const models = await get("/api/models");
    const newest = models.find((model) => model.created);
    $("#outcome").hidden = !newest;
    if (newest) {
      replace(
        $("#outcome"),
        newest.comparison
          ? outcome(newest)
          : [
              el("h2", { id: "outcome-name" }, "A new model"),
              el("p", {}, "No label is held out yet, so there is nothing to compare on. Label some more."),
            ],
        el(
          "p",
          { class: "row" },
          newest.served
            ? el("span", { class: "model-current" }, `${named(newest)} answers now`)
            : el(
                "button",
                { type: "button", class: "button-main", on: { click: () => serve(newest) } },
                "Use the new model",
              ),
          el("a", { class: "button", href: "/" }, "Search"),
        ),
      );
    }
    $("#models").hidden = models.length < 2;
    replace(
      $("#models"),
      el("h2", { id: "models-name" }, "Models"),
      el("ul", { class: "model-list" }, models.map(line)),
    );
  } catch (error) {
    complain(error);
  }
}

refresh();
