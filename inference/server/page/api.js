/** Talks to the server. Addresses are relative, so that it may stand behind a proxy's path. */

const HEALTH_TIMEOUT_MS = 10_000;
const UPLOAD_TIMEOUT_MS = 60_000;
const BUSY_TRIES = 6;
const LONGEST_WAIT_S = 30;

/** Why there is no answer: a code of the API, or one of ours (network, unreadable_file). */
export class Failure extends Error {
  /**
   * @param {string} reason code
   * @param {string} detail English sentence
   */
  constructor(reason = "internal", detail = "") {
    super(detail);
    this.reason = reason;
  }
}

/** The model that is served and the limits, as /healthz tells them; Failure without a server. */
export async function health() {
  const signal = AbortSignal.timeout(HEALTH_TIMEOUT_MS);
  return answer(await request("healthz", { cache: "no-store", signal }));
}

/**
 * Sends one picture, again while the server is busy.
 *
 * @param {ArrayBuffer} picture bytes of the file
 * @param {number} topK how many classes are asked for
 * @param {AbortSignal} signal
 * @returns {Promise<object>} what POST /classify answers
 * @throws {Failure} the server refuses, or cannot be reached ("network")
 */
export async function classify(picture, topK, signal) {
  for (let attempt = 1; ; attempt++) {
    const response = await request(`classify?top_k=${topK}`, {
      method: "POST",
      headers: { "Content-Type": "application/octet-stream" },
      body: picture,
      signal: AbortSignal.any([signal, AbortSignal.timeout(UPLOAD_TIMEOUT_MS)]),
    });
    if (response.status !== 503 || attempt === BUSY_TRIES) return answer(response);
    const seconds = Number(response.headers.get("Retry-After")) || 1;
    await pause(Math.min(seconds, LONGEST_WAIT_S), signal);
  }
}

/** The response, complete; its body is read here since the network may fail there, too. */
async function request(address, options) {
  try {
    const response = await fetch(address, options);
    return { status: response.status, headers: response.headers, text: await response.text() };
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure("network", "The connection broke.");
  }
}

function answer({ status, text }) {
  let content;
  try {
    content = JSON.parse(text);
  } catch {
    throw new Failure("internal", `The server answered with status ${status}.`);
  }
  if (status === 200) return content;
  throw new Failure(content.reason, content.error);
}

/** Waits; rejects as soon as the signal is aborted. */
function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}
