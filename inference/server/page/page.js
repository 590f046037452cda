import { health } from "./api.js";
import { Batch } from "./batch.js";
import { csv } from "./csv.js";
import { chosenFiles, droppedFiles } from "./files.js";
import { Gallery } from "./gallery.js";
import { Language } from "./language.js";
import { showPhoto, translate } from "./view.js";

const MOST_CLASSES = 10; // that are shown of a photo
const UPDATE_MS = 300; // between two looks at what is going on

const byId = (id) => document.getElementById(id);

let language = Language.preferred();
let server; // what /healthz answered last
let change; // texts of the versions before and after, once the model has changed
let stage; // connecting, ready, reading, classifying, done, stopped, unreachable
let found = 0; // files, while a folder is read
let batch = new Batch();
const gallery = new Gallery(openCloseup);

/** Asks the server which model it has now; false if it cannot be reached. */
async function connect() {
  const before = server?.model.version;
  try {
    server = await health();
  } catch {
    return false;
  }
  const { version } = server.model;
  if (before !== undefined && before !== version) {
    change = { before: String(before), version: String(version) };
  }
  showServer();
  return true;
}

async function begin() {
  enter("connecting");
  enter((await connect()) ? "ready" : "unreachable");
}

/**
 * Takes files and classifies them; those that were there before are stopped and forgotten.
 *
 * @param {(onProgress: (count: number) => void) => object} find the items and the number skipped
 */
async function receive(find) {
  batch.stop();
  const mine = (batch = new Batch());
  found = 0;
  change = undefined;
  enter("reading");
  const timer = setInterval(showNotice, UPDATE_MS);
  const { items, skipped } = await find((count) => (found = count));
  clearInterval(timer);
  if (batch !== mine) return;
  batch = new Batch(items, skipped);
  await classifyOpen();
}

/** Classifies what is open in the batch, and shows how it goes. */
async function classifyOpen() {
  const mine = batch;
  enter("connecting");
  const isThere = await connect();
  if (batch !== mine) return;
  if (!isThere) {
    enter("unreachable");
    return;
  }
  const versions = new Set([server.model.version]);
  const running = mine.run({
    maxBytes: server.limits.max_image_bytes,
    topK: Math.min(MOST_CLASSES, server.model.class_names.length),
    onOutcome({ outcome }) {
      const version = outcome.model?.version;
      if (version === undefined || versions.has(version)) return;
      versions.add(version);
      connect();
    },
  });
  enter("classifying");
  const timer = setInterval(showProgress, UPDATE_MS);
  const end = await running;
  clearInterval(timer);
  if (batch === mine) enter(end);
}

function enter(next) {
  stage = next;
  showAll();
}

function showAll() {
  document.documentElement.lang = language.code;
  document.title = language.text("title");
  translate(document, language);
  for (const button of byId("languages").children) {
    button.ariaPressed = String(button.value === language.code);
  }
  showServer();
  showNotice();
  showControls();
  showOutcomes();
}

function showServer() {
  if (!server) return;
  const { name, net, version, class_names: names } = server.model;
  const values = { name, net, version: String(version) };
  values.classes = language.text("classes", { count: names.length });
  byId("model").textContent = language.text("model", values);
  const megabytes = server.limits.max_image_bytes / 1e6;
  byId("limits").textContent = language.text("limits", { megabytes });
  byId("model_changed").textContent = change ? language.text("model_changed", change) : "";
}

function showNotice() {
  const { failed, skipped } = batch;
  const count = batch.items.length;
  const texts = {
    reading: [["reading", { count: found }]],
    classifying: [["classifying", { count }]],
    done: [doneText(count)],
    stopped: [["stopped", { done: batch.finished, count }]],
  }[stage] ?? [[stage]];
  if (failed && stage !== "classifying") texts.push(["failed", { count: failed }]);
  if (skipped) texts.push(["skipped", { count: skipped }]);
  byId("notice").textContent = texts.map(([key, values]) => language.text(key, values)).join(" ");
}

function doneText(count) {
  if (count === 0) return ["nothing_found"];
  if (count === 1) return ["done_single"];
  return ["done", { count, time: language.duration(batch.seconds) }];
}

function showProgress() {
  const { items, finished, rate } = batch;
  const count = items.length;
  const bar = byId("progress").querySelector("progress");
  bar.max = count;
  bar.value = finished;
  const texts = [language.text("progress_text", { done: finished, count })];
  if (rate > 0) {
    const time = language.duration(Math.max(1, (count - finished) / rate));
    texts.push(language.text("rate", { rate }), language.text("time_left", { time }));
  }
  byId("progress_text").textContent = texts.join(" · ");
  if (count > 1) gallery.show(batch.items, language);
}

/** What can be done at this stage. A control that is hidden hands the focus on. */
function showControls() {
  const isRunning = stage === "classifying";
  const open = batch.open.length;
  const canGoOn = ["done", "stopped"].includes(stage) && open > 0;
  const hadFocus = document.activeElement;
  byId("resume").hidden = !canGoOn && stage !== "unreachable";
  byId("resume").textContent = open
    ? language.text("resume", { count: open })
    : language.text("connect");
  byId("progress").hidden = !isRunning || batch.items.length === 1;
  byId("gallery").ariaBusy = byId("matches").ariaBusy = String(isRunning);
  if (hadFocus.closest("[hidden]")) {
    [byId("resume"), byId("stop"), byId("notice")].find((it) => !it.closest("[hidden]")).focus();
  }
  if (isRunning) showProgress();
}

/** One photo large, or many in the gallery. */
function showOutcomes() {
  const [first, ...others] = batch.items;
  byId("photo").hidden = !first || others.length > 0;
  byId("results").hidden = others.length === 0;
  if (others.length > 0) gallery.show(batch.items, language);
  else if (first) showPhoto(byId("photo"), first, language);
}

function openCloseup(item) {
  const closeup = byId("closeup");
  showPhoto(closeup.querySelector(".photo"), item, language);
  closeup.showModal();
}

/** Hands the results to the browser as a file. */
function download() {
  const content = csv(batch.items, server.model.class_names.length);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type: "text/csv" }));
  link.download = "predictions.csv";
  link.click();
  // Only after this turn of the event loop has the browser taken the file.
  setTimeout(() => URL.revokeObjectURL(link.href));
}

function takeDrops() {
  const zone = byId("drop");
  // Anywhere on the page: beside the zone the browser would leave the page for the file.
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    zone.classList.add("over");
  });
  document.addEventListener("dragleave", ({ relatedTarget }) => {
    if (!relatedTarget) zone.classList.remove("over");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    const { items } = event.dataTransfer;
    if (event.dataTransfer.types.includes("Files")) {
      receive((onProgress) => droppedFiles(items, onProgress));
    }
  });
}

for (const input of [byId("photos"), byId("folder")]) {
  input.addEventListener("change", () => {
    if (input.files.length > 0) receive(() => chosenFiles(input.files));
    input.value = ""; // so that the same choice counts again
  });
}
for (const button of byId("languages").children) {
  button.addEventListener("click", () => {
    language = new Language(button.value);
    showAll();
  });
}
byId("resume").addEventListener("click", () => (batch.items.length ? classifyOpen() : begin()));
byId("stop").addEventListener("click", () => batch.stop());
byId("download").addEventListener("click", download);
takeDrops();
window.addEventListener("beforeunload", (event) => {
  if (stage === "classifying") event.preventDefault();
});
begin();
