// The page on which videos come in.

import { JobView } from "../components/job.js";
import { address, get, Problem, post } from "../lib/api.js";
import { changed, onChange } from "../lib/changes.js";
import { $, complain, el, lasting, notify, replace } from "../lib/dom.js";
import { follow, lookAtJobs, onJobs } from "../lib/jobs.js";
import "../lib/keys.js";
import { text } from "../lib/texts.js";

const PAGE = 60;
const words = text.add;
const view = new JobView($("#job"));
let shown = PAGE;
let status = { max_upload: Infinity, folders: [], reads: false, folder: "" };

// --- uploads, one after the other --------------------------------------------------------------------------------------

const queue = [];
let sending = false;

function take(files) {
  for (const file of files) {
    const bar = el("progress", { max: 1, value: 0, "aria-label": words.upload(file.name) });
    const state = el("span", { class: "text-soft" }, words.queued);
    const stop = el(
      "button",
      { type: "button", class: "button-quiet", "aria-label": words.stopOf(file.name) },
      words.stop,
    );
    const name = el("span", { class: "video-name", title: file.name }, file.name);
    const item = el("li", {}, name, bar, state, stop);
    const upload = { file, bar, state, stop, item };
    stop.addEventListener("click", () => {
      upload.stopped = true;
      upload.request?.abort();
    });
    $("#uploads").append(item);
    queue.push(upload);
  }
  next();
}

async function next() {
  if (sending) return;
  sending = true;
  for (let upload = queue.shift(); upload; upload = queue.shift()) {
    try {
      const { video, already, job } = await send(upload);
      follow(job);
      end(upload, already ? words.already(video) : words.added(video), "text-good");
    } catch (error) {
      end(upload, withoutName(error.message, upload.file.name), "text-bad");
    }
  }
  sending = false;
  lookAtJobs();
  list();
}

// The name stands beside it already.
function withoutName(reason, name) {
  const rest = reason.startsWith(`${name}: `) ? reason.slice(name.length + 2) : reason;
  return rest[0].toUpperCase() + rest.slice(1);
}

function end(upload, outcome, kind) {
  upload.bar.remove();
  upload.stop.remove();
  upload.state.textContent = outcome;
  upload.state.className = kind;
  $("#news").textContent = `${upload.file.name}: ${outcome}`;
}

// XMLHttpRequest, since fetch does not tell how far an upload is
function send(upload) {
  const { file, bar, state } = upload;
  return new Promise((resolve, reject) => {
    if (upload.stopped) throw new Problem(0, words.stopped);
    if (file.size > status.max_upload) {
      throw new Problem(413, words.tooLarge(Math.floor(status.max_upload / 1048576)));
    }
    const request = new XMLHttpRequest();
    upload.request = request;
    request.upload.addEventListener("progress", (event) => {
      bar.value = event.loaded / Math.max(event.total, 1);
      state.textContent = event.loaded < event.total ? `${Math.round(bar.value * 100)} %` : words.checking;
      if (event.loaded >= event.total) bar.removeAttribute("value");
    });
    request.addEventListener("load", () => {
      const content = JSON.parse(request.responseText || "{}");
      if (request.status < 300) resolve(content);
      else reject(new Problem(request.status, content.detail ?? words.refused));
    });
    request.addEventListener("error", () => reject(new Problem(0, words.brokeOff)));
    request.addEventListener("abort", () => reject(new Problem(0, words.stopped)));
    request.open("POST", address("/api/videos", { name: file.name }));
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.send(file);
  });
}

$("#files").addEventListener("change", () => {
  take($("#files").files);
  $("#files").value = "";
});
const drop = $("#drop");
for (const name of ["dragenter", "dragover"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.add("upload-drop-over");
  });
}
document.addEventListener("dragleave", (event) => event.relatedTarget ?? drop.classList.remove("upload-drop-over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("upload-drop-over");
  if (event.dataTransfer) take(event.dataTransfer.files);
});

// --- a folder ----------------------------------------------------------------------------------------------------------

$("#folder-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const folder = $("#folder").value.trim();
  if (!folder) {
    complain(new Problem(422, words.noFolder));
    $("#folder").focus();
    return;
  }
  const button = event.submitter;
  button.disabled = true;
  button.textContent = words.looking;
  try {
    const { added, already, refused, job } = await post("/api/videos/folder", { folder });
    if (job) follow(job);
    notify(words.imported(added.length, already.length));
    replace(
      $("#uploads"),
      Object.entries(refused).map(([name, why]) =>
        el(
          "li",
          {},
          el("span", { class: "video-name", title: name }, name),
          el("span", { class: "text-bad" }, withoutName(why, name)),
        ),
      ),
    );
  } catch (error) {
    complain(error);
  }
  button.disabled = false;
  button.textContent = words.import;
  lookAtJobs();
  list();
});

// --- what is there -----------------------------------------------------------------------------------------------------

async function list() {
  try {
    const { total, videos } = await get("/api/videos", { contains: $("#contains").value.trim(), limit: shown });
    $("#videos-name").textContent = words.videos(total);
    replace($("#videos"), videos.map(item));
    $("#more").hidden = total <= videos.length;
    await listRemoved();
  } catch (error) {
    complain(error);
  }
}

// The picture leads to watching, the word below it to labelling.
function item({ video, duration, indexed, watchable, labels }) {
  const facts = [
    duration && lasting(duration),
    labels && text.labels.count(labels),
    !watchable && words.noFile,
    !indexed && words.searchable,
  ];
  const middle = (duration ?? 2) / 2;
  const take = { type: "button", class: "button-link", "aria-label": words.removeOf(video) };
  return el(
    "li",
    {},
    el(
      "a",
      { href: address("/", { video }) },
      watchable
        ? el("img", {
            src: address("/api/thumbnail", { video, t: middle.toFixed(1) }),
            alt: "",
            loading: "lazy",
            width: 128,
            height: 72,
          })
        : el("span", { class: "no-picture" }, words.noFile),
      el("span", { class: "video-name", title: video }, video),
    ),
    el(
      "small",
      {},
      facts.filter(Boolean).join(" · "),
      watchable && [
        " · ",
        el("a", { href: address("/label", { video }), "aria-label": words.labelOf(video) }, words.label),
      ],
      indexed && [" · ", el("button", { ...take, on: { click: () => remove(video) } }, words.remove)],
    ),
  );
}

async function remove(video) {
  try {
    await post("/api/videos/remove", { video });
    notify(words.removed(video), { text: words.undo, run: () => restore(video) });
  } catch (error) {
    complain(error);
  }
  changed("videos");
  list();
}

async function restore(video) {
  try {
    follow(await post("/api/videos/restore", { video }));
    notify(words.restored(video));
  } catch (error) {
    complain(error);
  }
  list();
}

async function listRemoved() {
  const names = await get("/api/videos/removed");
  $("#removed").hidden = !names.length;
  $("#removed summary").textContent = `${words.removedOnes}: ${words.videos(names.length)}`;
  const again = (video) => ({
    type: "button",
    class: "button-link",
    "aria-label": words.restoreOf(video),
    on: { click: () => restore(video) },
  });
  replace(
    $("#removed ul"),
    names.map((video) => el("li", {}, video, " ", el("button", again(video), words.restore))),
  );
}

$("#look").addEventListener("click", async () => {
  try {
    follow(await post("/api/videos/index"));
  } catch (error) {
    complain(error);
  }
});

let typing;
$("#contains").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(list, 150);
});
$("#more").addEventListener("click", () => {
  shown += 4 * PAGE;
  list();
});

onJobs((jobs, ended) => {
  const ours = jobs.filter((job) => job.kind === "add");
  const first = ours.find((job) => job.state === "running") ?? ours[0];
  view.show(first, ours.filter((job) => job.state === "queued" && job !== first).length);
  for (const job of ended) $("#news").textContent = text.jobs.ended(job.title, text.jobs.states[job.state]);
  if (ended.length) list();
});
onChange((kinds) => (kinds.has("videos") || kinds.has("labels")) && list());

async function begin() {
  const listed = list();
  try {
    status = await get("/api/status");
    $("#look-form").hidden = !status.reads;
    $("#look-hint").textContent = status.folder;
    $("#folder-form").hidden = !status.folders.length;
    $("#folder-hint").textContent = words.folderHint(status.folders.join(", "));
  } catch (error) {
    complain(error);
  }
  await listed;
}

begin();
