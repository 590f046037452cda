/** What several parts of the page show: files as pictures, failures as sentences, templates. */

/** A new copy of what a template holds. */
export function fromTemplate(id) {
  return document.getElementById(id).content.cloneNode(true);
}

/** Fills all elements that name their text, in their text or in their label. */
export function translate(root, language) {
  for (const element of root.querySelectorAll("[data-text]")) {
    element.textContent = language.text(element.dataset.text);
  }
  for (const element of root.querySelectorAll("[data-label]")) {
    element.ariaLabel = language.text(element.dataset.label);
  }
}

const shown = new WeakMap(); // image -> file

/** Shows a file in an image, unless it is of a format that the browser does not know. */
export async function showFile(image, file) {
  if (shown.get(image) === file) return;
  shown.set(image, file);
  const url = URL.createObjectURL(file);
  image.hidden = false;
  image.src = url;
  try {
    await image.decode();
  } catch {
    if (shown.get(image) === file) image.hidden = true; // else it shows another one by now
  } finally {
    URL.revokeObjectURL(url);
  }
}

/** Makes an image show nothing, and hold no file. */
export function hideFile(image) {
  shown.delete(image);
  image.removeAttribute("src");
}

/** A failure in the user's words; the server's own where we have none for its reason. */
export function sentence({ reason, message }, language) {
  return language.has(`reason_${reason}`) ? language.text(`reason_${reason}`) : message;
}

/** Shows a picture with its classes, best first, or with the reason why there are none. */
export function showPhoto(root, { path, file, outcome }, language) {
  const find = (selector) => root.querySelector(selector);
  if (!root.firstElementChild) root.append(fromTemplate("photo_template"));
  translate(root, language);
  if (file) showFile(find("img"), file);
  else hideFile(find("img"));
  const { failure, predictions = [], seconds } = outcome ?? {};
  find(".path").textContent = path;
  find(".failure").textContent = failure ? sentence(failure, language) : "";
  find(".classes").replaceChildren(...predictions.map((prediction) => bar(prediction, language)));
  find(".took").textContent = seconds
    ? language.text("took", { time: language.duration(seconds) })
    : "";
}

function bar({ class: name, probability }, language) {
  const row = fromTemplate("class_template");
  row.querySelector(".class").textContent = name;
  row.querySelector(".percent").textContent = language.percent(probability);
  row.querySelector(".bar").style.width = `${probability * 100}%`;
  return row;
}
