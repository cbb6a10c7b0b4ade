// At most so many holders at once, first come first served, with a limit on waiting.

export class Semaphore {
  #free;
  #waiting = new Set();

  /** @param {number} permits */
  constructor(permits) {
    this.#free = permits;
  }

  /**
   * @param {number} patience milliseconds; 0: without limit
   * @returns {Promise<boolean>} whether a permit was had in time
   */
  acquire(patience) {
    if (this.#free > 0) {
      this.#free -= 1;
      return Promise.resolve(true);
    }
    return new Promise((resolve) => {
      const waiter = { resolve };
      if (patience > 0) {
        waiter.timer = setTimeout(() => {
          this.#waiting.delete(waiter);
          resolve(false);
        }, patience);
      }
      this.#waiting.add(waiter);
    });
  }

  release() {
    const [next] = this.#waiting;
    if (next === undefined) {
      this.#free += 1;
      return;
    }
    this.#waiting.delete(next);
    clearTimeout(next.timer);
    next.resolve(true);
  }
}
