// What the WASM engine answers -> what prisma-client-py reads.
import { KnownError, errorEntry } from "./errors.mjs";

// The engine's code for an error of the adapter; meta.id is its number on the shelf.
const EXTERNAL_ERROR = "P2036";

/** Drops the JSON protocol's type marks. Json stays a text: the client parses it. */
function untag(value) {
  if (Array.isArray(value)) return value.map(untag);
  if (typeof value !== "object" || value === null) return value;
  if ("$type" in value) return value.value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, untag(inner)]));
}

const isRawTable = (value) => Array.isArray(value?.columns) && Array.isArray(value.types) && Array.isArray(value.rows);

/** {"findManyX": ...} -> {"result": ...}. A raw query's table has no type marks and is what the client expects. */
function data(engineData) {
  const [value] = Object.values(engineData);
  return { result: isRawTable(value) ? value : untag(value) };
}

export class ResponseTranslator {
  #shelf;

  /** @param {import("./errors.mjs").ErrorShelf} shelf */
  constructor(shelf) {
    this.#shelf = shelf;
  }

  /**
   * @param {object} answer parsed answer of the engine to one query or to a batch
   * @returns {object} body for the client
   */
  translate(answer) {
    if (answer.errors?.length) return { errors: answer.errors.map((entry) => this.#error(entry)) };
    if (!Array.isArray(answer.batchResult)) return { data: data(answer.data) };
    const results = answer.batchResult.map((item) => this.translate(item));
    const errors = results.flatMap((item) => item.errors ?? []);
    // The client looks at the top level only.
    return errors.length ? { batchResult: results, errors } : { batchResult: results };
  }

  /**
   * Answers to start, commit and rollback of a transaction; on failure they are a bare user-facing error.
   * @param {object} answer
   * @returns {object} body for the client
   */
  translateTransaction(answer) {
    if (answer.errors?.length) return this.translate(answer);
    if (answer.error_code === undefined && answer.is_panic === undefined) return answer;
    return { errors: [this.#error({ error: transactionDetail(answer), user_facing_error: answer })] };
  }

  #error(entry) {
    const shown = entry.user_facing_error ?? {};
    if (shown.error_code === EXTERNAL_ERROR) {
      const cause = this.#shelf.take(shown.meta?.id);
      if (cause instanceof KnownError) return errorEntry(cause.code, cause.message, cause.meta);
      return errorEntry(EXTERNAL_ERROR, `Error in the database driver: ${cause?.message ?? "unknown"}`);
    }
    return { ...entry, user_facing_error: { ...shown, is_panic: shown.is_panic ?? false, meta: shown.meta ?? {} } };
  }
}

/** The client tells an expired transaction from other ones by the start of `error`. */
function transactionDetail(error) {
  return error.meta?.error ?? error.message ?? "";
}
