// The page on which videos come in.

import { JobView } from "../components/job.js";
import { address, get, Problem, post } from "../lib/api.js";
import { $, complain, el, lasting, notify, plural, replace } from "../lib/dom.js";
import { follow, lookAtJobs, onJobs } from "../lib/jobs.js";
import "../lib/keys.js";

const PAGE = 60;
const view = new JobView($("#job"));
let shown = PAGE;
let status = { max_upload: Infinity, folders: [] };

// --- uploads, one after the other --------------------------------------------------------------------------------------

const queue = [];
let sending = false;

function take(files) {
  for (const file of files) {
    const bar = el("progress", { max: 1, value: 0, "aria-label": `Upload of ${file.name}` });
    const state = el("span", { class: "text-soft" }, "waits");
    const stop = el("button", { type: "button", class: "button-quiet", "aria-label": `Stop ${file.name}` }, "Stop");
    const item = el("li", {}, el("span", { class: "video-name" }, file.name), bar, state, stop);
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
      const { video, job } = await send(upload);
      follow(job);
      end(upload, `added as ${video}`, "text-good");
    } catch (error) {
      end(upload, error.message, "text-bad");
    }
  }
  sending = false;
  lookAtJobs();
  list();
}

function end(upload, text, kind) {
  upload.bar.remove();
  upload.stop.remove();
  upload.state.textContent = text;
  upload.state.className = kind;
  $("#news").textContent = `${upload.file.name}: ${text}`;
}

// XMLHttpRequest, since fetch does not tell how far an upload is
function send(upload) {
  const { file, bar, state } = upload;
  return new Promise((resolve, reject) => {
    if (upload.stopped) throw new Problem(0, "stopped");
    if (file.size > status.max_upload)
      throw new Problem(413, `larger than the ${Math.floor(status.max_upload / 1048576)} MB that are taken here`);
    const request = new XMLHttpRequest();
    upload.request = request;
    request.upload.addEventListener("progress", (event) => {
      bar.value = event.loaded / Math.max(event.total, 1);
      state.textContent = event.loaded < event.total ? `${Math.round(bar.value * 100)} %` : "is checked";
      if (event.loaded >= event.total) bar.removeAttribute("value");
    });
    request.addEventListener("load", () => {
      const content = JSON.parse(request.responseText || "{}");
      if (request.status < 300) resolve(content);
      else reject(new Problem(request.status, content.detail ?? "refused"));
    });
    request.addEventListener("error", () => reject(new Problem(0, "the connection broke off")));
    request.addEventListener("abort", () => reject(new Problem(0, "stopped")));
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
  const button = event.submitter;
  button.disabled = true;
  button.textContent = "Looking…";
  try {
    const { added, refused, job } = await post("/api/videos/folder", { folder: $("#folder").value.trim() });
    if (job) follow(job);
    notify(`${plural(added.length, "video")} taken in`);
    replace(
      $("#uploads"),
      Object.entries(refused).map(([name, why]) =>
        el("li", {}, el("span", { class: "video-name" }, name), el("span", { class: "text-bad" }, why)),
      ),
    );
  } catch (error) {
    complain(error);
  }
  button.disabled = false;
  button.textContent = "Take in";
  lookAtJobs();
  list();
});

// --- what is there -----------------------------------------------------------------------------------------------------

async function list() {
  try {
    const { total, videos } = await get("/api/videos", { contains: $("#contains").value.trim(), limit: shown });
    $("#videos-name").textContent = total === 1 ? "1 video" : `${total.toLocaleString("en")} videos`;
    replace($("#videos"), videos.map(item));
    $("#more").hidden = total <= videos.length;
  } catch (error) {
    complain(error);
  }
}

function item({ video, duration, indexed, watchable, labels }) {
  const facts = [
    duration && lasting(duration),
    labels && plural(labels, "label"),
    !watchable && "no file",
    !indexed && "not searchable yet",
  ];
  return el(
    "li",
    {},
    el(
      "a",
      { href: watchable ? address("/label", { video }) : address("/", { in: video }) },
      watchable
        ? el("img", {
            src: address("/api/thumbnail", { video, t: (duration ?? 2) / 2 }),
            alt: "",
            loading: "lazy",
            width: 128,
            height: 72,
          })
        : el("span", { class: "no-picture" }, "no file"),
      el("span", { class: "video-name" }, video),
      el("small", {}, facts.filter(Boolean).join(" · ")),
    ),
  );
}

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
  view.show(jobs.find((job) => job.kind === "add"));
  for (const job of ended) $("#news").textContent = `${job.title}: ${job.state}`;
  if (ended.length) list();
});

async function begin() {
  await list();
  try {
    status = await get("/api/status");
    $("#folder-form").hidden = !status.folders.length;
    $("#folder-hint").textContent =
      `Videos are linked, or copied from another disk. Allowed: ${status.folders.join(", ")} and below.`;
  } catch (error) {
    complain(error);
  }
}

begin();
