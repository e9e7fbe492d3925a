// The library: every video with its state, and what can be done with it.

import { closing, shut } from "../components/menu.js";
import { showReading } from "../components/reading.js";
import { laterPicture, VirtualList } from "../components/virtual-list.js";
import { address, get, post } from "../lib/api.js";
import { changed, onChange } from "../lib/changes.js";
import { $, complain, el, lasting, notify, replace } from "../lib/dom.js";
import { follow, onJobs } from "../lib/jobs.js";
import { shortcut } from "../lib/keys.js";
import { text } from "../lib/texts.js";

/** @typedef {import("../lib/types.js").LibraryVideo} Video */

const words = text.library;
const PAUSE = 120; // milliseconds without a key before the list is asked for
const AGAIN = 3000; // between two looks at the list while videos are read
const MOST_CHOSEN = 1000;
const MOST_SEARCHED = 200; // in an address
const filter = $("#filter");

/** @type {Map<string, Video>} */
const chosen = new Map();

// --- the list ----------------------------------------------------------------------------------------------------------

/** What the form asks for. */
function wanted() {
  const [sort, descending] = $("#sort").value.split(" ");
  return {
    contains: $("#contains").value.trim(),
    folder: $("#folder").value,
    state: $("#state").value,
    since: $("#since").value,
    until: $("#until").value,
    sort: sort === "name" ? "" : sort,
    descending: descending ? "true" : "",
  };
}

/** @type {ReturnType<typeof setTimeout> | undefined} */
let outdated;
const list = new VirtualList($("#videos"), fetchVideos, row);

async function fetchVideos(offset, limit) {
  const answer = await get("/api/videos", { ...wanted(), offset, limit });
  if (!answer.present) {
    clearTimeout(outdated);
    outdated = setTimeout(reload, AGAIN);
  }
  if (offset === 0 || !list.total) tally(answer);
  return { total: answer.total, items: answer.videos };
}

function tally({ total, seconds, states }) {
  replace(
    $("#summary"),
    total ? words.summary(total, seconds ? lasting(seconds) : "") : empty(),
    total > 0 && states.damaged > 0 && ` ${words.damagedOnes(states.damaged)}`,
  );
  const state = $("#state").value;
  const all = Object.entries(states).reduce((sum, [name, count]) => sum + (name === "removed" ? 0 : count), 0);
  const option = (value, name, count) =>
    el("option", { value, selected: value === state }, `${name} (${count.toLocaleString("en")})`);
  replace(
    $("#state"),
    option("", words.everyState, all),
    Object.entries(words.states)
      .filter(([name]) => states[name] || name === state)
      .map(([name, said]) => option(name, said, states[name] ?? 0)),
  );
  $("#bar").classList.toggle("library-hidden", !total);
}

const filtered = () => Object.entries(wanted()).some(([key, value]) => value && !["sort", "descending"].includes(key));
const empty = () => (filtered() ? words.noneMatch : words.noVideos);

/** @param {Video} video */
function row(video, index) {
  const { video: name, folder, state, reason, duration, date, size, watchable, labels } = video;
  const own = folder ? name.slice(folder.length + 1) : name;
  const open = address("/", { video: name });
  const middle = (duration ?? 2) / 2;
  const box = el("input", {
    type: "checkbox",
    checked: chosen.has(name),
    "aria-label": words.choose(name),
    tabIndex: -1,
  });
  box.addEventListener("change", () => choose(video, box.checked));
  const note =
    state === "damaged"
      ? el("span", { class: "text-bad", title: reason }, reason[0].toUpperCase() + reason.slice(1))
      : state === "copy"
        ? words.copyOf(reason)
        : folder;
  return el(
    "li",
    { class: "library-row" },
    box,
    el(
      "a",
      { href: open, tabIndex: -1, "aria-hidden": "true" },
      watchable && state !== "damaged"
        ? laterPicture(address("/api/thumbnail", { video: name, t: middle.toFixed(1), width: 160 }))
        : el("span", { class: "no-picture" }, watchable ? "" : words.noFile),
    ),
    el(
      "span",
      { class: "library-name" },
      el("a", { class: "video-name", href: open, title: name }, own),
      note && el("span", { class: state === "damaged" ? "" : "text-soft" }, note),
    ),
    el("span", { class: "library-fact library-state" }, words.states[state]),
    el("span", { class: "library-fact library-length" }, duration ? lasting(duration) : ""),
    el(
      "span",
      { class: "library-fact library-labels" },
      labels ? el("a", { href: address("/label", { video: name }) }, text.labels.count(labels)) : "",
    ),
    el("span", { class: "library-fact library-date" }, date ? day(date) : ""),
    el("span", { class: "library-fact library-size" }, size ? words.size(size) : ""),
    menu(video, index),
  );
}

const day = (date) => new Date(date).toLocaleDateString("en", { day: "numeric", month: "short", year: "numeric" });

/** @param {Video} video */
function menu(video, index) {
  const { video: name, state, watchable } = video;
  const root = el("details", { class: "menu" });
  const action = (said, run) =>
    el(
      "li",
      {},
      el(
        "button",
        {
          type: "button",
          on: {
            click: () => {
              shut(root);
              run();
            },
          },
        },
        said,
      ),
    );
  const items = [
    watchable && action(words.label, () => location.assign(address("/label", { video: name }))),
    watchable && state !== "removed" && action(words.rename, () => askName(video)),
    watchable && state !== "removed" && action(words.reread, () => reread([name])),
    state === "removed" ? action(words.restore, () => restore([name])) : action(words.remove, () => remove([name])),
    watchable && action(words.deleteFile, () => askDelete([name])),
  ];
  root.append(el("summary", { "aria-label": words.actionsOf(name) }, "⋯"), el("ul", {}, items));
  root.addEventListener("toggle", () => {
    if (root.open) list.active = index;
  });
  closing(root);
  return root;
}

async function reload() {
  try {
    await list.reload();
  } catch (error) {
    complain(error);
  }
}

/** @type {ReturnType<typeof setTimeout> | undefined} */
let typing;
function ask() {
  clearTimeout(typing);
  typing = setTimeout(() => {
    const { contains, folder, state, since, until } = wanted();
    history.replaceState(
      null,
      "",
      address("/library", {
        contains,
        folder,
        state,
        since,
        until,
        sort: $("#sort").value === "name" ? "" : $("#sort").value,
      }),
    );
    list.active = 0;
    reload();
  }, PAUSE);
}
filter.addEventListener("input", ask);
filter.addEventListener("submit", (event) => {
  event.preventDefault();
  ask();
});

async function listFolders() {
  try {
    const found = await get("/api/videos/folders");
    const now = $("#folder").value || (new URLSearchParams(location.search).get("folder") ?? "");
    const option = ({ folder, videos }) =>
      el("option", { value: folder, selected: folder === now }, `${folder} (${videos.toLocaleString("en")})`);
    replace($("#folder"), el("option", { value: "" }, words.everyFolder), found.map(option));
    $("#folder").closest("label").hidden = !found.length;
  } catch (error) {
    complain(error);
  }
}

// --- choosing several --------------------------------------------------------------------------------------------------

function choose(video, is) {
  if (is) chosen.set(video.video, video);
  else chosen.delete(video.video);
  showChosen();
}

function showChosen() {
  for (const [index, one] of list.rows) mark(one, index);
  const count = chosen.size;
  $("#chosen").textContent = count ? words.chosen(count) : words.chooseAll;
  $("#every").checked = count > 0;
  $("#every").indeterminate = count > 0 && count < list.total;
  const names = [...chosen.keys()];
  const removed = [...chosen.values()].every(({ state }) => state === "removed");
  const files = [...chosen.values()].every(({ watchable }) => watchable);
  const button = (said, run, properties = {}) =>
    el("button", { type: "button", ...properties, on: { click: run } }, said);
  replace(
    $("#actions"),
    !removed &&
      count <= MOST_SEARCHED &&
      el("a", { class: "button button-main", href: address("/", { only: names }) }, words.searchIn),
    files && !removed && button(words.reread, () => reread(names)),
    removed ? button(words.restore, () => restore(names)) : button(words.remove, () => remove(names)),
    files && button(words.deleteFile, () => askDelete(names)),
  );
  $("#actions").hidden = !count;
}

$("#every").addEventListener("change", async () => {
  if ($("#every").checked && !chosen.size) {
    try {
      const { videos } = await get("/api/videos", { ...wanted(), limit: MOST_CHOSEN });
      for (const video of videos) chosen.set(video.video, video);
    } catch (error) {
      complain(error);
    }
  } else chosen.clear();
  showChosen();
});

function mark(one, index) {
  const video = list.items.get(index);
  const box = one.querySelector("input");
  if (video && box) box.checked = chosen.has(video.video);
}

// --- what can be done --------------------------------------------------------------------------------------------------

async function act(run, said, undo) {
  try {
    const job = await run();
    if (job?.id) follow(job);
    notify(said, undo);
  } catch (error) {
    complain(error);
  }
  chosen.clear();
  showChosen();
  changed("videos");
  await reload();
}

const named = (names) => (names.length === 1 ? names[0] : words.videos(names.length));
const remove = (videos) =>
  act(() => post("/api/videos/remove", { videos }), words.removed(named(videos)), {
    text: words.undo,
    run: () => restore(videos),
  });
const restore = (videos) => act(() => post("/api/videos/restore", { videos }), words.restored(named(videos)));
const reread = (videos) => act(() => post("/api/videos/reread", { videos }), words.readAgain(named(videos)));

/** A dialog whose form does something; Escape and Cancel close it. */
function dialog(title, content, buttons, submit) {
  const form = el(
    "form",
    { method: "dialog" },
    content,
    el(
      "div",
      { class: "row" },
      buttons,
      el("button", { type: "button", on: { click: () => box.close() } }, words.cancel),
    ),
  );
  const box = el("dialog", { "aria-labelledby": "dialog-name" }, el("h2", { id: "dialog-name" }, title), form);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    submit(box);
  });
  box.addEventListener("close", () => {
    box.remove();
    list.focus(list.active);
  });
  document.body.append(box);
  box.showModal();
}

/** @param {Video} video */
function askName({ video, folder }) {
  const own = folder ? video.slice(folder.length + 1) : video;
  const field = el("input", {
    id: "new-name",
    value: own,
    maxLength: 200,
    required: true,
    autocomplete: "off",
    spellcheck: false,
  });
  const wrong = el("p", { class: "text-bad", role: "alert" });
  const content = [el("label", { htmlFor: "new-name" }, words.newName), field, wrong];
  dialog(words.renameTitle(own), content, el("button", { class: "button-main" }, words.rename), async (box) => {
    try {
      follow(await post("/api/videos/rename", { video, name: field.value.trim() }));
      box.close();
      notify(words.renaming);
    } catch (error) {
      wrong.textContent = error.message;
    }
  });
  field.select();
}

// A file is deleted for good, so it is asked twice.
function askDelete(names) {
  const button = el("button", {}, words.deleteFile);
  let sure = false;
  const content = el("p", {}, words.deleteWarning(names.length));
  dialog(words.deleteTitle(named(names)), content, button, (box) => {
    if (!sure) {
      sure = true;
      button.textContent = words.deleteAgain(names.length);
      button.classList.add("text-bad");
      return;
    }
    box.close();
    act(() => post("/api/videos/delete", { videos: names }), words.deleted(named(names)));
  });
}

$("#look").addEventListener("click", async () => {
  try {
    follow(await post("/api/videos/index"));
  } catch (error) {
    complain(error);
  }
});

// --- what changes by itself --------------------------------------------------------------------------------------------

let looked = 0;
const quiet = () => !chosen.size && !$("dialog[open]");

showReading($("#reading"), () => {
  if (Date.now() - looked < AGAIN || !quiet()) return;
  looked = Date.now();
  reload();
});
onJobs((_, ended) => {
  for (const job of ended) {
    $("#news").textContent = text.jobs.ended(job.title, text.jobs.states[job.state]);
    if (job.state === "failed") notify(`${job.title}: ${job.message}`, null, true);
  }
  if (ended.length) {
    reload();
    listFolders();
  }
});
onChange((kinds) => (kinds.has("videos") || kinds.has("labels")) && quiet() && reload());

// --- keys --------------------------------------------------------------------------------------------------------------

const { keys } = words;
const rowOf = (event) => (event.target instanceof Element ? event.target.closest(".library-row") : null);
const move = (by) => (event) => {
  if (event.target instanceof Element && event.target.closest("select, input[type=date], .menu[open]")) return false;
  list.focus(rowOf(event) ? list.active + by : list.active);
};
const current = () => list.items.get(list.active);

shortcut("/", keys.find, () => {
  $("#contains").focus();
  $("#contains").select();
});
shortcut(["ArrowDown", "j"], keys.next, move(1));
shortcut(["ArrowUp", "k"], keys.previous, move(-1));
shortcut("Home", keys.first, () => list.focus(0));
shortcut("End", keys.last, () => list.focus(list.total - 1));
shortcut("Enter", keys.open, () => {
  const video = current();
  if (!video) return false;
  location.assign(address("/", { video: video.video }));
});
shortcut("x", keys.choose, () => {
  const video = current();
  if (!video) return false;
  choose(video, !chosen.has(video.video));
});
shortcut("r", keys.rename, () => {
  const video = current();
  if (!video?.watchable || video.state === "removed") return false;
  askName(video);
});
shortcut("Delete", keys.remove, () => {
  const video = current();
  if (!video || video.state === "removed") return false;
  remove(chosen.size ? [...chosen.keys()] : [video.video]);
});

async function begin() {
  const query = new URLSearchParams(location.search);
  replace(
    $("#sort"),
    Object.entries(words.sorts).map(([value, said]) => el("option", { value }, said)),
  );
  for (const name of ["contains", "since", "until"]) $(`#${name}`).value = query.get(name) ?? "";
  const state = query.get("state");
  if (state && words.states[state])
    replace($("#state"), el("option", { value: state, selected: true }, words.states[state]));
  if (words.sorts[query.get("sort") ?? ""]) $("#sort").value = query.get("sort");
  const folder = query.get("folder");
  if (folder) replace($("#folder"), el("option", { value: folder, selected: true }, folder));
  await Promise.all([reload(), listFolders()]);
  try {
    $("#look").hidden = !(await get("/api/status")).reads;
  } catch (error) {
    complain(error);
  }
}

begin();
