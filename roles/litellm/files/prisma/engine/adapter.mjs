// The driver adapter through which the WASM engine talks to PostgreSQL.
// Contract: @prisma/driver-adapter-utils 5.17.0 (DriverAdapter, Transaction, Result).
import { err, ok } from "@prisma/driver-adapter-utils";
import pg from "pg";

import { columnParsers, columnType } from "./columns.mjs";
import { ErrorShelf, KnownError } from "./errors.mjs";
import { Semaphore } from "./semaphore.mjs";

// SQLSTATEs after which a connection is of no use: server stopping, crashed or starting, and class 08.
const CONNECTION_LOST = /^(57P0[1-5]|08...)$/;

const isPostgresError = (error) =>
  typeof error.severity === "string" && typeof error.code === "string" && /^[0-9A-Z]{5}$/.test(error.code);

/** Byte strings must not look like lists to pg, which writes lists as SQL arrays. */
function toParameter(value) {
  if (ArrayBuffer.isView(value)) return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  return Array.isArray(value) ? value.map(toParameter) : value;
}

/** One connection, held for one statement or for one transaction. */
class Connection {
  #client;
  #onRelease;
  broken = false;

  constructor(client, onRelease) {
    this.#client = client;
    this.#onRelease = onRelease;
  }

  /** Gives the connection back, or closes it when it is broken. Later calls do nothing. */
  release() {
    const client = this.#client;
    this.#client = undefined;
    if (client === undefined) return;
    client.release(this.broken);
    this.#onRelease();
  }

  /**
   * @param {{sql: string, args: unknown[]}} statement
   * @returns {Promise<pg.QueryArrayResult>}
   * @throws PostgreSQL's error, or a KnownError when the connection was lost
   */
  async run({ sql, args }) {
    if (this.#client === undefined) throw new KnownError("P1017", "Server has closed the connection.");
    const values = args.map(toParameter);
    try {
      return await this.#client.query({ text: sql, values, rowMode: "array", types: columnParsers });
    } catch (error) {
      if (isPostgresError(error) && !CONNECTION_LOST.test(error.code)) throw error;
      this.broken = true;
      this.release();
      if (error.message === "Query read timeout") throw new KnownError("P1008", "Operations timed out: socket timeout");
      const reason = error.code ?? error.message;
      throw new KnownError("P1017", `Server has closed the connection: connection closed (${reason})`);
    }
  }
}

/** The part of the contract that a pool and a transaction have in common. */
class Queryable {
  provider = "postgres";
  adapterName = "litellm-prisma-pg";
  errors;

  constructor(errors) {
    this.errors = errors;
  }

  // Arrow functions, here and below: the engine calls what it was given without `this`.
  queryRaw = (statement) =>
    this.attempt(async () => {
      const { fields, rows } = await this.run(statement);
      return {
        columnNames: fields.map((field) => field.name),
        columnTypes: fields.map((field) => columnType(field.dataTypeID)),
        rows,
      };
    });

  executeRaw = (statement) => this.attempt(async () => (await this.run(statement)).rowCount ?? 0);

  async attempt(action) {
    try {
      return ok(await action());
    } catch (error) {
      if (isPostgresError(error)) {
        const { code, severity, message, detail, column, hint } = error;
        return err({ kind: "Postgres", code, severity, message, detail, column, hint });
      }
      return err({ kind: "GenericJs", id: this.errors.keep(error) });
    }
  }
}

class Transaction extends Queryable {
  // The engine sends BEGIN, COMMIT and ROLLBACK as statements of their own.
  options = { usePhantomQuery: false };
  #connection;

  constructor(errors, connection) {
    super(errors);
    this.#connection = connection;
  }

  run(statement) {
    return this.#connection.run(statement);
  }

  commit = () => this.#end();
  rollback = () => this.#end();

  async #end() {
    this.#connection.release();
    return ok(undefined);
  }
}

export class PostgresAdapter extends Queryable {
  #settings;
  #pool;
  #permits;

  /** @param {ReturnType<import("./url.mjs").parseDatabaseUrl>} settings */
  constructor(settings) {
    super(new ErrorShelf());
    this.#settings = settings;
    this.#permits = new Semaphore(settings.connectionLimit);
    this.#pool = this.#createPool(settings.pool);
  }

  #createPool(options) {
    const schema = pg.escapeIdentifier(this.#settings.schema);
    const pool = new pg.Pool({
      ...options,
      // A DateTime travels as text without offset: it means UTC only if the session says so.
      onConnect: (client) => client.query(`SET TIME ZONE 'UTC'; SET search_path = ${schema}`),
    });
    // The pool drops a connection that the server closed. Without listeners node would end the process.
    const ignore = () => {};
    pool.on("error", ignore);
    pool.on("connect", (client) => client.on("error", ignore));
    return pool;
  }

  async #connect() {
    const { connectionLimit, poolTimeout } = this.#settings;
    if (!(await this.#permits.acquire(poolTimeout))) {
      const timeout = poolTimeout / 1000;
      throw new KnownError(
        "P2024",
        "Timed out fetching a new connection from the connection pool. " +
          `(Current connection pool timeout: ${timeout}, connection limit: ${connectionLimit})`,
        { connection_limit: connectionLimit, timeout },
      );
    }
    try {
      return new Connection(await this.#openClient(), () => this.#permits.release());
    } catch (error) {
      this.#permits.release();
      if (isPostgresError(error) && !CONNECTION_LOST.test(error.code)) throw error;
      throw this.#unreachable(error);
    }
  }

  async #openClient() {
    const pool = this.#pool;
    try {
      return await pool.connect();
    } catch (error) {
      // pg has no sslmode=prefer; this is its answer to a server without TLS.
      if (!this.#settings.tlsOptional || !/server does not support SSL/.test(error.message)) throw error;
      if (pool === this.#pool) this.#pool = this.#createPool({ ...this.#settings.pool, ssl: false });
      return this.#pool.connect();
    }
  }

  #unreachable(error) {
    const { address } = this.#settings;
    if (/SSL|TLS|CERT/i.test(`${error.code} ${error.message}`)) {
      return new KnownError("P1011", `Error opening a TLS connection to \`${address}\`: ${error.message}`);
    }
    const message = `Can't reach database server at \`${address}\`: ${error.code ?? error.message}`;
    return new KnownError("P1001", message, { database_location: address });
  }

  getConnectionInfo = () => ok({ schemaName: this.#settings.schema });

  async run(statement) {
    const connection = await this.#connect();
    try {
      return await connection.run(statement);
    } finally {
      connection.release();
    }
  }

  startTransaction = () => this.attempt(async () => new Transaction(this.errors, await this.#connect()));

  /**
   * Connects once, so that a wrong URL shows at the start.
   * @throws PostgreSQL's error, or a KnownError P1001 when the server cannot be reached
   */
  async probe() {
    (await this.#connect()).release();
  }
}
