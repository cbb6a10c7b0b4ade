// Failures that are not PostgreSQL's answer to a statement.
// Codes: https://www.prisma.io/docs/orm/reference/error-reference

/** An error with one of Prisma's codes, to be shown to the client as it is. */
export class KnownError extends Error {
  /** @param {string} code for example "P1001" @param {string} message without secrets @param {object} [meta] */
  constructor(code, message, meta = {}) {
    super(message);
    this.code = code;
    this.meta = meta;
  }
}

/**
 * Keeps JavaScript errors while the engine passes on a number for them.
 * The engine answers P2036 with that number; take() exchanges it for the error.
 */
export class ErrorShelf {
  #errors = new Map();
  #next = 0;

  /** @param {Error} error @returns {number} */
  keep(error) {
    const id = this.#next;
    this.#next = (this.#next + 1) % 2 ** 30;
    // Bounded, because nobody takes the error of a rollback that failed.
    if (this.#errors.size >= 1000) this.#errors.delete(this.#errors.keys().next().value);
    this.#errors.set(id, error);
    return id;
  }

  /** @param {number} id @returns {Error | undefined} */
  take(id) {
    const error = this.#errors.get(id);
    this.#errors.delete(id);
    return error;
  }
}

/** One entry of the `errors` list that the client reads. `meta` must be an object: the client calls .get() on it. */
export function errorEntry(code, message, meta = {}) {
  return { error: message, user_facing_error: { is_panic: false, message, meta: meta ?? {}, error_code: code } };
}
