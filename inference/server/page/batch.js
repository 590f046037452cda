import { Failure, classify, health } from "./api.js";

const AT_ONCE = 4;

/**
 * Photos that were chosen together, and what came of them.
 *
 * An item is `{ path, file }`. Its `outcome`, once there is one, is what POST /classify answers and
 * `seconds`, or `{ failure }`.
 */
export class Batch {
  /** Seconds spent on it so far, over all runs. */
  seconds = 0;
  #stop = new AbortController();

  /**
   * @param {object[]} items
   * @param {number} skipped files that were found beside them
   */
  constructor(items = [], skipped = 0) {
    this.items = items;
    this.skipped = skipped;
  }

  get finished() {
    return this.items.filter(({ outcome }) => outcome).length;
  }

  get failed() {
    return this.items.filter(({ outcome }) => outcome?.failure).length;
  }

  /** The items for which another run may have another outcome. */
  get open() {
    return this.items.filter(({ outcome }) => !outcome || mayPass(outcome.failure));
  }

  /** Photos per second of the present run. */
  get rate() {
    return (this.finished - this.finishedBefore) / this.#elapsed;
  }

  get #elapsed() {
    return (performance.now() - this.start) / 1000;
  }

  stop() {
    this.#stop.abort();
  }

  /**
   * Classifies the open items in their order, AT_ONCE at a time.
   *
   * @param {object} options
   * @param {number} options.maxBytes size above which a file is not sent
   * @param {number} options.topK how many classes are asked for
   * @param {(item: object) => void} options.onOutcome
   * @returns {Promise<string>} "done"; "stopped"; "unreachable" if the server is gone. After the
   *   latter two, items without outcome are left.
   */
  async run({ maxBytes, topK, onOutcome }) {
    const queue = this.open.values();
    for (const item of this.open) delete item.outcome;
    this.#stop = new AbortController();
    this.start = performance.now();
    this.finishedBefore = this.finished;
    const { signal } = this.#stop;

    async function work() {
      for (const item of queue) {
        item.outcome = await outcomeOf(item.file, maxBytes, topK, signal);
        onOutcome(item);
      }
    }

    try {
      await Promise.all(Array.from({ length: AT_ONCE }, work));
      return "done";
    } catch (error) {
      if (signal.aborted) return "stopped";
      if (error.reason !== "unreachable") throw error;
      this.stop();
      return "unreachable";
    } finally {
      this.seconds += this.#elapsed;
    }
  }
}

/** Whether the reason of a failure may be gone next time. */
function mayPass(failure) {
  return ["network", "busy", "stopping", "timeout"].includes(failure?.reason);
}

async function outcomeOf(file, maxBytes, topK, signal) {
  const start = performance.now();
  try {
    const picture = await bytes(file, maxBytes);
    const answer = await classify(picture, topK, signal).catch(async (error) => {
      if (error.reason !== "network") throw error;
      await findServer();
      return classify(picture, topK, signal);
    });
    return { ...answer, seconds: (performance.now() - start) / 1000 };
  } catch (error) {
    if (!(error instanceof Failure) || error.reason === "unreachable") throw error;
    return { failure: error };
  }
}

/** After a broken connection: tells a server that is gone from one that hung up on this picture. */
async function findServer() {
  try {
    await health();
  } catch {
    throw new Failure("unreachable", "The server cannot be reached.");
  }
}

async function bytes(file, maxBytes) {
  if (file && file.size > maxBytes) {
    throw new Failure("too_large", `The file exceeds the limit of ${maxBytes} bytes.`);
  }
  try {
    return await file.arrayBuffer();
  } catch {
    throw new Failure("unreadable_file", "The browser cannot read the file.");
  }
}
