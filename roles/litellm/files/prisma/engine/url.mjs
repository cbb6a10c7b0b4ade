// DATABASE_URL with Prisma's parameters -> options of the pg driver.
// Parameters: https://www.prisma.io/docs/orm/overview/databases/postgresql#arguments
// sslrootcert and sslmode=verify-* are libpq's: LiteLLM rewrites them to sslcert and sslaccept=strict before it starts
// an engine, other callers may not.
import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";

/**
 * The URL of the database: the data source override of the client wins over DATABASE_URL.
 * @param {Record<string, string | undefined>} env
 * @returns {string}
 */
export function databaseUrl(env) {
  const overrides = env.OVERWRITE_DATASOURCES ? JSON.parse(env.OVERWRITE_DATASOURCES) : [];
  const url = overrides[0]?.url ?? env.DATABASE_URL;
  if (!url) throw new Error("DATABASE_URL is not set");
  return url;
}

/**
 * Seconds, bounded for setTimeout. 0 means "no limit" to Prisma.
 * @returns {number} milliseconds
 */
function milliseconds(params, name, fallbackSeconds) {
  const text = params.get(name);
  if (text === null) return fallbackSeconds * 1000;
  const seconds = Number(text);
  if (!Number.isFinite(seconds) || seconds < 0) throw new Error(`DATABASE_URL: ${name} is not a number of seconds`);
  return Math.min(Math.round(seconds * 1000), 2 ** 31 - 1);
}

function count(params, name, fallback) {
  const text = params.get(name);
  if (text === null) return fallback;
  const number = Number(text);
  if (!Number.isInteger(number) || number < 1) throw new Error(`DATABASE_URL: ${name} is not a positive integer`);
  return number;
}

/**
 * TLS options: false, or what node's tls.connect takes.
 * Prisma: sslmode=disable|prefer|require without verification, unless sslaccept=strict or a libpq verify mode.
 */
function tlsOptions(params, host) {
  const mode = params.get("sslmode") ?? "prefer";
  if (!["disable", "allow", "prefer", "require", "verify-ca", "verify-full"].includes(mode)) {
    throw new Error("DATABASE_URL: sslmode is none of disable, prefer, require, verify-ca, verify-full");
  }
  if (mode === "disable" || mode === "allow" || host.startsWith("/")) return false;
  const file = params.get("sslcert") ?? params.get("sslrootcert");
  const strict = params.get("sslaccept") === "strict" || mode.startsWith("verify") || params.has("sslrootcert");
  const options = { rejectUnauthorized: strict };
  if (file !== null && file !== "system") options.ca = readFileSync(file, "utf8");
  if (mode === "verify-ca") options.checkServerIdentity = () => undefined;
  return options;
}

/**
 * @param {string} text postgres URL
 * @returns {{pool: object, schema: string, tlsOptional: boolean, poolTimeout: number, connectionLimit: number,
 *   address: string}} options for pg.Pool; schema for search_path; whether a server without TLS will do;
 *   milliseconds; connections; "host:port" for messages
 */
export function parseDatabaseUrl(text) {
  let url;
  try {
    url = new URL(text);
  } catch {
    throw new Error("DATABASE_URL is not a URL");
  }
  if (!["postgresql:", "postgres:"].includes(url.protocol)) {
    throw new Error("DATABASE_URL does not start with postgresql://");
  }
  const params = url.searchParams;
  const host = params.get("host") ?? decodeURIComponent(url.hostname || "localhost").replace(/^\[(.*)\]$/, "$1");
  const port = Number(url.port || 5432);
  const user = decodeURIComponent(url.username);
  const tls = tlsOptions(params, host);
  const connectionLimit = count(params, "connection_limit", availableParallelism() * 2 + 1);
  return {
    address: `${host}:${port}`,
    connectionLimit,
    poolTimeout: milliseconds(params, "pool_timeout", 10),
    schema: params.get("schema") ?? "public",
    tlsOptional: tls !== false && (params.get("sslmode") ?? "prefer") === "prefer" && !tls.rejectUnauthorized,
    pool: {
      application_name: params.get("application_name") ?? "prisma-query-engine",
      connectionTimeoutMillis: milliseconds(params, "connect_timeout", 5),
      database: decodeURIComponent(url.pathname.slice(1)) || user,
      host,
      idleTimeoutMillis: milliseconds(params, "max_idle_connection_lifetime", 300),
      keepAlive: true,
      max: connectionLimit,
      maxLifetimeSeconds: milliseconds(params, "max_connection_lifetime", 0) / 1000,
      options: params.get("options") ?? undefined,
      // Without a password in the URL, pg looks at PGPASSWORD and ~/.pgpass, as libpq does.
      password: url.password === "" ? undefined : decodeURIComponent(url.password),
      port,
      query_timeout: milliseconds(params, "socket_timeout", 0) || undefined,
      ssl: tls,
      user: user || undefined,
    },
  };
}
