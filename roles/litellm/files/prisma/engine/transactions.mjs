// Interactive transactions: start within max_wait, commit, rollback.
import { errorEntry } from "./errors.mjs";
import { MalformedRequest } from "./request.mjs";

// The engine takes a trace context with every call; there is none.
export const TRACE = "{}";

const TOO_LATE = Symbol("max_wait is over");

/** Resolves to TOO_LATE after the given milliseconds; stop() forgets it. */
function deadline(milliseconds) {
  let timer;
  const over = new Promise((resolve) => {
    timer = setTimeout(resolve, milliseconds, TOO_LATE);
  });
  return { over, stop: () => clearTimeout(timer) };
}

export class Transactions {
  #engine;
  #responses;

  /** @param {object} engine WASM query engine @param {import("./response.mjs").ResponseTranslator} responses */
  constructor(engine, responses) {
    this.#engine = engine;
    this.#responses = responses;
  }

  /**
   * The WASM engine does not keep to max_wait, so it is kept here.
   * @param {{timeout: number, max_wait: number, isolation_level?: string}} options milliseconds
   * @returns {Promise<object>} body for the client: {id}, or errors
   */
  async start(options) {
    if (!Number.isFinite(options?.max_wait) || !Number.isFinite(options.timeout)) {
      throw new MalformedRequest("a transaction needs timeout and max_wait in milliseconds");
    }
    const started = this.#engine.startTransaction(JSON.stringify(options), TRACE).then(JSON.parse);
    const { over, stop } = deadline(options.max_wait);
    const answer = await Promise.race([started, over]);
    stop();
    if (answer !== TOO_LATE) return this.#responses.translateTransaction(answer);
    started.then(({ id }) => id && this.rollback(id));
    const message = "Transaction API error: Unable to start a transaction in the given time.";
    return { errors: [errorEntry("P2028", message)] };
  }

  async commit(id) {
    return this.#responses.translateTransaction(JSON.parse(await this.#engine.commitTransaction(id, TRACE)));
  }

  async rollback(id) {
    return this.#responses.translateTransaction(JSON.parse(await this.#engine.rollbackTransaction(id, TRACE)));
  }
}
