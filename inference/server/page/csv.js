const MOST_CLASSES = 5;

/**
 * The outcomes as CSV (RFC 4180), as classify_images.py writes it.
 *
 * @param {object[]} items with `path` and `outcome`; those without outcome are left out
 * @param {number} numClasses of the model
 */
export function csv(items, numClasses) {
  const ranks = Array.from({ length: Math.min(MOST_CLASSES, numClasses) }, (_, rank) => rank);
  const header = ranks.flatMap((rank) =>
    ["class", "probability"].map((name) => (rank ? `${name}_${rank + 1}` : name)),
  );
  const rows = items
    .filter(({ outcome }) => outcome)
    .map(({ path, outcome: { predictions = [], failure } }) => [
      text(path),
      ...ranks.flatMap((rank) => {
        const prediction = predictions[rank];
        return prediction ? [text(prediction.class), prediction.probability] : ["", ""];
      }),
      text(failure?.message ?? ""),
    ]);
  const lines = [["path", ...header, "error"], ...rows].map((row) => row.map(quoted).join(","));
  return lines.map((line) => `${line}\r\n`).join("");
}

/** A spreadsheet would take text that begins like this for a formula. */
function text(value) {
  return /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
}

function quoted(cell) {
  return /[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : String(cell);
}
