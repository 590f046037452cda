import { fromTemplate, hideFile, sentence, showFile, translate } from "./view.js";

const CARDS_AT_ONCE = 120;
const PRELOAD = "600px"; // how far outside of the window thumbnails are kept

const CLASS = "class:"; // before the names of classes among the options of the filter
const files = new WeakMap(); // of cards, for their thumbnails

const ORDERS = {
  path: null, // the order the items have
  least_sure: (a, b) => sureness(a) - sureness(b),
  most_sure: (a, b) => sureness(b) - sureness(a),
};

/**
 * The results of many photos: filters, and a card for each photo that passes them.
 *
 * Filters work on the items alone. Cards are made as far as one has scrolled, and hold a thumbnail
 * while they are near the window, so that ten thousand photos cost little more than a hundred.
 */
export class Gallery {
  #items = [];
  #cards = new Map(); // by outcome
  #limit = CARDS_AT_ONCE; // cards to show at most
  #language;
  #onOpen;
  #thumbnails = new IntersectionObserver(showThumbnails, { rootMargin: PRELOAD });
  #class = document.getElementById("class_filter");
  #below = document.getElementById("below");
  #order = document.getElementById("order");
  #matches = document.getElementById("matches");
  #list = document.getElementById("gallery");
  #more = document.getElementById("more");

  /** @param {(item: object) => void} onOpen called when a card is pressed */
  constructor(onOpen) {
    this.#onOpen = onOpen;
    this.#class.addEventListener("change", () => this.#restart());
    this.#below.addEventListener("input", () => this.#restart());
    this.#order.addEventListener("change", () => this.#restart());
    this.#more.addEventListener("click", () => this.#showMore());
    new IntersectionObserver(([{ isIntersecting }]) => {
      if (isIntersecting) this.#showMore();
    }, { rootMargin: PRELOAD }).observe(this.#more);
  }

  /** Shows items as they are now: those that have an outcome and pass the filters. */
  show(items, language) {
    if (items !== this.#items) {
      this.#class.value = "all";
      this.#below.value = this.#below.max;
      this.#limit = CARDS_AT_ONCE;
    }
    if (items !== this.#items || language !== this.#language) this.#cards.clear();
    this.#items = items;
    this.#language = language;
    this.#update();
  }

  #update() {
    const finished = this.#items.filter(({ outcome }) => outcome);
    this.#countClasses(finished);
    this.#tellBelow();
    const matching = finished.filter((item) => this.#isWanted(item));
    const order = ORDERS[this.#order.value];
    if (order) matching.sort(order);
    this.#place(matching.slice(0, this.#limit).map((item) => this.#card(item)));
    const counts = { matching: matching.length, count: finished.length };
    this.#matches.textContent = this.#language.text("matches", counts);
    this.#more.hidden = matching.length <= this.#limit;
  }

  #restart() {
    this.#limit = CARDS_AT_ONCE;
    this.#update();
  }

  #showMore() {
    this.#limit += CARDS_AT_ONCE;
    this.#update();
  }

  #isWanted({ outcome }) {
    const below = this.#below.valueAsNumber;
    const isUnsureEnough = below === 100 || outcome.probability < below / 100;
    return isUnsureEnough && ["all", filterOf(outcome)].includes(this.#class.value);
  }

  /** Sets the options of the class filter in place: it may be open. */
  #countClasses(finished) {
    const counts = new Map([["all", finished.length]]);
    for (const { outcome } of finished) {
      const filter = filterOf(outcome);
      counts.set(filter, (counts.get(filter) ?? 0) + 1);
    }
    const filters = [...counts.keys()].sort((a, b) => place(a) - place(b) || a.localeCompare(b));
    const { options } = this.#class;
    filters.forEach((filter, index) => {
      if (options[index]?.value !== filter) this.#class.add(new Option("", filter), index);
      const values = { name: this.#filterName(filter), count: counts.get(filter) };
      options[index].text = this.#language.text("class_count", values);
    });
    options.length = filters.length;
  }

  #filterName(filter) {
    if (filter === "all") return this.#language.text("all");
    if (filter === "failed") return this.#language.text("failures");
    return filter.slice(CLASS.length);
  }

  #tellBelow() {
    const below = this.#below.valueAsNumber;
    const percent = this.#language.percent(below / 100, 0);
    const key = below < 100 ? "confidence_below" : "confidence_any";
    const text = this.#language.text(key, { percent });
    this.#below.ariaValueText = text;
    document.getElementById("below_text").textContent = text;
  }

  #card(item) {
    const { path, file, outcome } = item;
    if (this.#cards.has(outcome)) return this.#cards.get(outcome);
    const card = fromTemplate("card_template").firstElementChild;
    const find = (selector) => card.querySelector(selector);
    translate(card, this.#language);
    find(".path").textContent = find(".path").title = path;
    if (outcome.failure) {
      card.classList.add("failed");
      find(".class").textContent = sentence(outcome.failure, this.#language);
    } else {
      find(".class").textContent = outcome.class;
      find(".percent").textContent = this.#language.percent(outcome.probability);
    }
    find("button").addEventListener("click", () => this.#onOpen(item));
    if (file) {
      files.set(card, file);
      this.#thumbnails.observe(card);
    }
    this.#cards.set(outcome, card);
    return card;
  }

  /** Makes the list hold these cards, moving none that is in its place: a moved one loses focus. */
  #place(cards) {
    const wanted = new Set(cards);
    for (const card of [...this.#list.children]) if (!wanted.has(card)) card.remove();
    cards.forEach((card, index) => {
      const there = this.#list.children[index];
      if (there !== card) this.#list.insertBefore(card, there ?? null);
    });
  }
}

/** Which option of the class filter an outcome belongs to. */
function filterOf({ failure, class: name }) {
  return failure ? "failed" : CLASS + name;
}

/** Where an option stands: all photos first, then the classes, failures last. */
function place(filter) {
  return filter === "all" ? 0 : filter === "failed" ? 2 : 1;
}

/** Probability of the best class; failures are the least sure. */
function sureness({ outcome }) {
  return outcome.probability ?? -1;
}

function showThumbnails(entries) {
  for (const { target, isIntersecting } of entries) {
    const image = target.querySelector("img");
    if (isIntersecting) showFile(image, files.get(target));
    else hideFile(image);
  }
}
