/**
 * Which files were chosen or dropped: `{ items, skipped }`.
 *
 * Items are `{ path, file }`, in byte order of their paths, which are relative to the folder, with
 * "/"; one that cannot be read has no `file`. `skipped` counts files that are no pictures by rule.
 */

// What the command line ignores, too: files of file managers, and text files beside pictures.
const JUNK = new Set(["thumbs.db", "desktop.ini", "__macosx"]);
const SIDE_FILE = /\.(txt|csv|tsv|json|xml|md|yaml|yml)$|^(license|readme|copying)$/;

/** The files of an input element; a folder's are named by their path in it. */
export function chosenFiles(files) {
  const all = Array.from(files, (file) => {
    const [, ...inside] = file.webkitRelativePath.split("/");
    return { path: inside.join("/") || file.name, file };
  });
  return found(all, Boolean(files[0]?.webkitRelativePath));
}

/**
 * The files of a drop, with those of all folders below.
 *
 * @param {DataTransferItemList} dropped
 * @param {(count: number) => void} onProgress told how many files have been found so far
 */
export async function droppedFiles(dropped, onProgress) {
  // All at once: the list is empty as soon as the event is over.
  const entries = Array.from(dropped, (item) => item.webkitGetAsEntry()).filter(Boolean);
  const isFolder = entries.some((entry) => entry.isDirectory);
  const root = entries.length === 1 && isFolder ? entries[0].fullPath : "";
  const all = [];

  async function visit(entry) {
    try {
      if (entry.isDirectory) {
        for await (const children of listed(entry)) await Promise.all(children.map(visit));
        return;
      }
      const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
      all.push({ path: entry.fullPath.slice(root.length + 1), file });
    } catch {
      all.push({ path: entry.fullPath.slice(root.length + 1) });
    }
    onProgress(all.length);
  }

  await Promise.all(entries.map(visit));
  return found(all, isFolder);
}

/** The entries of a folder, some at a time, as the browser gives them. */
async function* listed(folder) {
  const reader = folder.createReader();
  for (;;) {
    const entries = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (entries.length === 0) return;
    yield entries;
  }
}

/** A single file is never skipped: its user is told what the server makes of it. */
function found(all, isFolder) {
  const kept = all.length === 1 && !isFolder ? all : all.filter(({ path }) => !isJunk(path));
  const items = kept
    .map((item) => [bytes(item.path), item])
    .sort(([a], [b]) => (a < b ? -1 : Number(a > b)))
    .map(([, item]) => item);
  return { items, skipped: all.length - items.length };
}

function isJunk(path) {
  const names = path.toLowerCase().split("/");
  const isHidden = names.some((name) => name.startsWith(".") || JUNK.has(name));
  return isHidden || SIDE_FILE.test(names.at(-1));
}

/** UTF-8 bytes as characters: strings compare by UTF-16, which has another order. */
function bytes(text) {
  return String.fromCharCode(...new TextEncoder().encode(text));
}
