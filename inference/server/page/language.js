import { TEXTS } from "./texts.js";

/** The texts of one language, and numbers as it writes them. */
export class Language {
  /** @param {string} code a key of TEXTS */
  constructor(code) {
    this.code = code;
    this.plural = new Intl.PluralRules(code);
  }

  /** The language of the page that the user prefers; English if there is none. */
  static preferred() {
    const codes = navigator.languages.map((tag) => tag.split("-")[0]);
    return new Language(codes.find((code) => code in TEXTS) ?? "en");
  }

  has(key) {
    return key in TEXTS[this.code];
  }

  /** A text with its {placeholders} filled in: numbers are formatted, strings stand as they are. */
  text(key, values = {}) {
    const entry = TEXTS[this.code][key];
    const form = typeof entry === "string" ? entry : entry[this.plural.select(values.count)];
    return form.replace(/\{(\w+)\}/g, (_, name) =>
      typeof values[name] === "number" ? this.number(values[name]) : values[name],
    );
  }

  /** A number with one decimal at most, and none from ten on. */
  number(value) {
    const digits = value < 10 ? 1 : 0;
    return new Intl.NumberFormat(this.code, { maximumFractionDigits: digits }).format(value);
  }

  /** A probability as percentage. What is rounded to 0 or 100 without being so is marked. */
  percent(probability, digits = 1) {
    const format = new Intl.NumberFormat(this.code, {
      style: "percent",
      minimumFractionDigits: digits,
      maximumFractionDigits: digits,
    });
    const least = 0.01 / 10 ** digits;
    if (probability > 0 && probability < least) return `<${format.format(least)}`;
    if (probability > 1 - least && probability < 1) return `>${format.format(1 - least)}`;
    return format.format(probability);
  }

  /** A length of time in the unit that suits it. */
  duration(seconds) {
    if (seconds < 1) return this.#unit(Math.round(seconds * 1000), "millisecond");
    if (seconds < 60) return this.#unit(seconds, "second", seconds < 10 ? 1 : 0);
    if (seconds < 3600) return this.#unit(seconds / 60, "minute");
    return this.#unit(seconds / 3600, "hour", 1);
  }

  #unit(value, unit, digits = 0) {
    return new Intl.NumberFormat(this.code, {
      style: "unit",
      unit,
      unitDisplay: "short",
      maximumFractionDigits: digits,
    }).format(value);
  }
}
