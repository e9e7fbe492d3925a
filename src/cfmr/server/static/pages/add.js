// The page on which videos come in.

import { JobView } from "../components/job.js";
import { address, get, Problem, post } from "../lib/api.js";
import { changed } from "../lib/changes.js";
import { $, complain, el, replace } from "../lib/dom.js";
import { follow, lookAtJobs, onJobs } from "../lib/jobs.js";
import "../lib/keys.js";
import { text } from "../lib/texts.js";

const words = text.add;
const view = new JobView($("#job"));
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
  changed("videos");
  lookAtJobs();
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

// --- a folder: first what would come in, then importing it -------------------------------------------------------------

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
    show(await post("/api/videos/folder/preview", { folder }));
  } catch (error) {
    $("#preview").hidden = true;
    complain(error);
  }
  button.disabled = false;
  button.textContent = words.preview;
});
$("#folder").disabled = false; // what is typed before would be lost

function show({ folder, already, size, files, ...found }) {
  const take = async () => {
    try {
      follow(await post("/api/videos/folder", { folder }));
      $("#preview").hidden = true;
      $("#folder").focus();
    } catch (error) {
      complain(error);
    }
  };
  const count = found.new;
  const line = ({ file, size: bytes, already: twin }) =>
    el(
      "li",
      {},
      el("span", {}, file),
      el("span", { class: "text-soft" }, twin ? words.same(twin) : text.library.size(bytes)),
    );
  const rest = count + already - files.length;
  replace(
    $("#preview"),
    el(
      "h2",
      { id: "preview-name" },
      count ? words.wouldCome(count, text.library.size(size)) : words.nothingNew,
      already > 0 && words.alreadyHere(already),
    ),
    el(
      "ul",
      { class: "folder-files", tabIndex: 0, "aria-labelledby": "preview-name" },
      files.map(line),
      rest > 0 && el("li", { class: "text-soft" }, words.more(rest)),
    ),
    count > 0 &&
      el(
        "p",
        {},
        el("button", { type: "button", class: "button-main", id: "import", on: { click: take } }, words.import(count)),
      ),
  );
  $("#preview").hidden = false;
  $("#import")?.focus();
}

onJobs((jobs, ended) => {
  const ours = jobs.filter((job) => !["learn", "switch"].includes(job.kind));
  const first = ours.find((job) => job.state === "running") ?? ours[0];
  view.show(first, ours.filter((job) => job.state === "queued" && job !== first).length);
  for (const job of ended) {
    $("#news").textContent = text.jobs.ended(job.title, text.jobs.states[job.state]);
    const refused = Object.entries(job.kind === "import" ? (job.result.refused ?? {}) : {});
    replace($("#uploads"), ...$("#uploads").children, refused.map(refusal));
  }
});

function refusal([name, why]) {
  return el(
    "li",
    {},
    el("span", { class: "video-name", title: name }, name),
    el("span", { class: "text-bad" }, withoutName(String(why), name)),
  );
}

async function begin() {
  try {
    status = await get("/api/status");
    $("#watched").hidden = !status.reads;
    $("#watched").textContent = words.watched(status.folder);
    $("#folder-form").hidden = !status.folders.length;
    $("#folder-hint").textContent = words.folderHint(status.folders.join(", "));
  } catch (error) {
    complain(error);
  }
}

begin();
