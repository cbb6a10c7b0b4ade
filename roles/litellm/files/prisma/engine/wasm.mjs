// Prisma's query engine, WebAssembly build, as it ships in @prisma/client.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);

/**
 * Commit of the engine that the installed package contains.
 * @returns {string} 40 hex digits
 */
export function engineCommit() {
  const packageFile = JSON.parse(readFileSync(require.resolve("@prisma/client/package.json"), "utf8"));
  return packageFile.devDependencies["@prisma/query-engine-wasm"].replace(/^.*\./, "");
}

/**
 * @param {{schema: string, datasource: string, adapter: object}} options
 * @returns {object} QueryEngine with connect, query, startTransaction, commitTransaction, rollbackTransaction
 */
export function createEngine({ schema, datasource, adapter }) {
  const runtime = require("@prisma/client/runtime/query_engine_bg.postgresql.js");
  const module = new WebAssembly.Module(
    readFileSync(require.resolve("@prisma/client/runtime/query_engine_bg.postgresql.wasm")),
  );
  const instance = new WebAssembly.Instance(module, { "./query_engine_bg.js": runtime });
  runtime.__wbg_set_wasm(instance.exports);
  const options = {
    datamodel: schema,
    // The engine wants a URL although the adapter holds the connection: it gets one that is no secret.
    datasourceOverrides: { [datasource]: "postgresql://adapter" },
    env: {},
    ignoreEnvVarErrors: true,
    logLevel: "error",
    logQueries: false,
    engineProtocol: "json",
  };
  return new runtime.QueryEngine(options, () => {}, adapter);
}
