// The learn page: train on the labels, look at what it brought, use it.

import { CheckpointList } from "../components/checkpoints.js";
import { JobView } from "../components/job.js";
import { LabelCheck } from "../components/label-check.js";
import { address, call, get, post } from "../lib/api.js";
import { changed, onChange } from "../lib/changes.js";
import { $, ago, clock, complain, el, notify, replace } from "../lib/dom.js";
import { follow, onJobs } from "../lib/jobs.js";
import "../lib/keys.js";
import { text } from "../lib/texts.js";

const FEW = 10; // labels: a model of fewer finds little beyond them
const words = text.learn;
const view = new JobView($("#job"));
const check = new LabelCheck($("#check"));
let labels = { total: 0, learn: 0, held_out: 0, negative: 0 };
let busy = false;

async function count() {
  const [found, status] = await Promise.all([get("/api/labels", { limit: 1 }), get("/api/status")]);
  labels = found;
  replace(
    $("#count"),
    el("b", {}, text.labels.count(labels.total)),
    labels.total ? ": " : ". ",
    labels.total > 0 && words.count(labels.learn, labels.held_out),
    labels.negative > 0 && words.negative(labels.negative),
    el("a", { href: "/label" }, labels.total ? words.more : words.first),
    ".",
  );
  for (const row of ["#original-row", "#always-row"]) $(row).hidden = !status.ready;
  ready();
}

function ready() {
  $("#go").disabled = busy || !labels.learn;
  $("#why").textContent = busy ? words.one : !labels.learn && labels.total ? words.allHeldOut : "";
  const few = labels.learn > 0 && labels.learn < FEW;
  $("#few").hidden = !few;
  $("#few").textContent = few ? words.few(labels.learn) : "";
}

$("#begin").addEventListener("submit", async (event) => {
  event.preventDefault();
  $("#go").disabled = true;
  try {
    await follow(
      await post("/api/learn", {
        with_original: $("#original").checked,
        serve: $("#always").checked ? "always" : "better",
      }),
    );
    view.cancel.focus();
  } catch (error) {
    complain(error);
    ready();
  }
});

onJobs((jobs, ended) => {
  const ours = jobs.filter((one) => ["learn", "switch", "use", "check"].includes(one.kind));
  busy = jobs.some((one) => one.kind === "learn" && ["queued", "running"].includes(one.state));
  check.running(jobs.some((one) => one.kind === "check" && ["queued", "running"].includes(one.state)));
  const running = ours.find((one) => one.state === "running");
  view.show(running ?? ours[0], ours.filter((one) => one.state === "queued" && one !== (running ?? ours[0])).length);
  ready();
  for (const one of ended.filter((other) => other.kind !== "add")) {
    $("#news").textContent = text.jobs.ended(one.title, text.jobs.states[one.state]);
  }
  if (ended.length) refresh();
});

// --- what it brought ---------------------------------------------------------------------------------------------------

function measure(name, before, after, key) {
  const bar = (hits, kind) => {
    const fill = el("i", { class: kind });
    fill.style.width = `${(hits[key] / hits.of) * 100}%`;
    return el("span", { class: "comparison-bar" }, fill);
  };
  const cell = (hits, kind) => el("td", {}, hits ? [bar(hits, kind), words.of(hits[key], hits.of)] : "–");
  return el("tr", {}, el("th", { scope: "row" }, name), cell(before, "comparison-old"), cell(after, "comparison-new"));
}

const span = (found) => (found ? `${clock(found[0], true)} – ${clock(found[1], true)}` : words.nothing);
const mark = (hit) =>
  el(
    "span",
    { class: hit ? "comparison-hit" : "comparison-miss" },
    hit ? "✓" : "✗",
    el("span", { class: "visually-hidden" }, hit ? words.found : words.missed),
  );

// As far as the labels can tell: by chance the two counts differ by less than twice the root of their sum.
function verdictOf(listed) {
  const gained = listed.filter((one) => one.hit_after && !one.hit_before).length;
  const lost = listed.filter((one) => one.hit_before && !one.hit_after).length;
  const clear = Math.abs(gained - lost) > 2 * Math.sqrt(gained + lost);
  const verdict = !clear ? words.unclear : gained > lost ? words.better : words.worse;
  return { gained, lost, sentence: words.verdict(verdict, gained, lost) };
}

function outcome(model) {
  const { before, after, labels: listed } = model.comparison;
  const heading = (name) => el("th", { scope: "col" }, name);
  const row = (one) =>
    el(
      "tr",
      {},
      el("td", {}, el("a", { href: address("/", { q: one.sentence, in: one.video }) }, one.sentence)),
      el("td", {}, clock(one.glance, true)),
      el("td", {}, before ? [mark(one.hit_before), " ", span(one.before)] : "–"),
      el("td", {}, mark(one.hit_after), " ", span(one.after)),
    );
  return [
    el("h2", { id: "outcome-name" }, words.heldOut),
    before && el("p", {}, verdictOf(listed).sentence),
    el(
      "div",
      { class: "scroll-x" },
      el(
        "table",
        { class: "comparison" },
        el("thead", {}, el("tr", {}, el("td", {}), heading(words.before), heading(words.after))),
        el(
          "tbody",
          {},
          measure(words.first1, before, after, "first"),
          measure(words.first5, before, after, "several"),
          measure(words.everywhere, before, after, "everywhere"),
          el(
            "tr",
            {},
            el("th", { scope: "row" }, words.length),
            el("td", {}, before ? `${before.length.toFixed(1)} s` : "–"),
            el("td", {}, `${after.length.toFixed(1)} s`),
          ),
        ),
      ),
    ),
    el("p", { class: "text-soft" }, words.explain),
    el(
      "details",
      { class: "disclosure" },
      el("summary", {}, words.details),
      el(
        "div",
        { class: "scroll-x" },
        el(
          "table",
          {},
          el("thead", {}, el("tr", {}, [words.sentence, words.labelled, words.before, words.after].map(heading))),
          el("tbody", {}, listed.map(row)),
        ),
      ),
    ),
  ];
}

// --- models ------------------------------------------------------------------------------------------------------------

async function serve(model) {
  try {
    const { job } = await post(`/api/models/${model.id}/serve`);
    notify(job ? words.indexing : words.nowInUse(words.name(model)));
    if (job) await follow({ id: job });
    changed("model");
  } catch (error) {
    complain(error);
  }
  await refresh();
}

// Asked twice, by the same button.
function deleteButton(model) {
  const name = words.name(model);
  const button = el(
    "button",
    { type: "button", class: "button-quiet", "aria-label": words.deleteOf(name) },
    words.delete,
  );
  button.addEventListener("click", async () => {
    if (button.textContent !== words.deleteAgain) {
      button.textContent = words.deleteAgain;
      button.setAttribute("aria-label", `${words.deleteOf(name)}. ${words.deleteAgain}`);
      return;
    }
    try {
      await call("DELETE", `/api/models/${model.id}`);
      notify(words.deleted(name));
    } catch (error) {
      complain(error);
    }
    await refresh();
  });
  button.addEventListener("blur", () => {
    button.textContent = words.delete;
    button.setAttribute("aria-label", words.deleteOf(name));
  });
  return button;
}

function noteField(model) {
  const field = el("input", {
    class: "model-note",
    value: model.note,
    placeholder: words.note,
    maxLength: 200,
    "aria-label": words.noteOn(words.name(model)),
  });
  field.addEventListener("change", async () => {
    try {
      await call("PUT", `/api/models/${model.id}/note`, { body: { note: field.value } });
      notify(words.noteKept);
    } catch (error) {
      complain(error);
    }
  });
  return field;
}

const isLearned = (model) => /^\d+$/.test(model.id);

function line(model) {
  const learned = isLearned(model) && text.labels.count(model.labels);
  const from = model.created ? [learned, ago(new Date(model.created * 1000))].filter(Boolean).join(", ") : "";
  const name = words.name(model);
  const use = () =>
    el("button", { type: "button", "aria-label": words.useOf(name), on: { click: () => serve(model) } }, words.use);
  return el(
    "li",
    {},
    el("span", {}, el("b", {}, name), " ", el("span", { class: "text-soft" }, from)),
    model.created > 0 && noteField(model),
    model.served
      ? el("span", { class: "model-current" }, words.inUse)
      : el("span", { class: "row" }, model.created > 0 && deleteButton(model), use()),
  );
}

function newestOutcome(newest) {
  const comparison = newest.comparison;
  const worse = comparison?.before && verdictOf(comparison.labels).lost > verdictOf(comparison.labels).gained;
  const use = { type: "button", class: worse ? "" : "button-main", on: { click: () => serve(newest) } };
  replace(
    $("#outcome"),
    comparison ? outcome(newest) : [el("h2", { id: "outcome-name" }, words.newModel), el("p", {}, words.noComparison)],
    el(
      "p",
      { class: "row" },
      newest.served
        ? el("span", { class: "model-current" }, words.inUseNow(words.name(newest)))
        : el("button", use, words.useNew),
      el("a", { class: "button", href: "/" }, words.search),
    ),
  );
}

const checkpoints = new CheckpointList($("#checkpoints"), refresh);

async function refresh() {
  checkpoints.refresh();
  try {
    await count();
    await check.refresh(labels.learn + labels.held_out);
    const models = await get("/api/models");
    const newest = models.find(isLearned);
    $("#outcome").hidden = !newest;
    if (newest) newestOutcome(newest);
    $("#models").hidden = models.length < 2;
    if ($("#models .model-note:focus")) return; // somebody is writing
    replace(
      $("#models"),
      el("h2", { id: "models-name" }, words.models),
      el("ul", { class: "model-list" }, models.map(line)),
    );
  } catch (error) {
    complain(error);
  }
}

onChange((kinds) => (kinds.has("labels") || kinds.has("model")) && refresh());
refresh();
