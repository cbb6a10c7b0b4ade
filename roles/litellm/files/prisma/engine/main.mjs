// query-engine: takes the place of Prisma's native program of the same name.
//   query-engine --version        prints "query-engine <commit>"
//   query-engine -p PORT ...      serves on 127.0.0.1:PORT until SIGINT or SIGTERM
// Environment: PRISMA_DML_PATH (schema file), DATABASE_URL, OVERWRITE_DATASOURCES (see url.mjs).
// Exit: 0 after a signal, 1 when it cannot serve (one line on stderr says why), 2 wrong arguments.
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";

import { engineCommit } from "./wasm.mjs";

function fail(code, message) {
  process.stderr.write(`query-engine: ${message}\n`);
  process.exit(code);
}

function readArguments() {
  const flag = { type: "boolean" };
  try {
    return parseArgs({
      options: {
        version: flag,
        port: { type: "string", short: "p" },
        "enable-metrics": flag,
        "enable-raw-queries": flag,
        "enable-playground": flag,
      },
    }).values;
  } catch (error) {
    return fail(2, error.message);
  }
}

/** A database that is away may come back, and the queries say so until then; one that refuses us will not change. */
async function probe(adapter) {
  try {
    await adapter.probe();
  } catch (error) {
    if (error.code !== "P1001") throw error;
    process.stderr.write(`query-engine: ${error.message}\n`);
  }
}

async function serve(port) {
  const { PostgresAdapter } = await import("./adapter.mjs");
  const { RequestTranslator } = await import("./request.mjs");
  const { ResponseTranslator } = await import("./response.mjs");
  const { datasourceName, engineSchema, parseModels } = await import("./schema.mjs");
  const { createEngineServer } = await import("./server.mjs");
  const { Transactions } = await import("./transactions.mjs");
  const { databaseUrl, parseDatabaseUrl } = await import("./url.mjs");
  const { createEngine } = await import("./wasm.mjs");

  if (!process.env.PRISMA_DML_PATH) throw new Error("PRISMA_DML_PATH is not set");
  const schema = readFileSync(process.env.PRISMA_DML_PATH, "utf8");
  const adapter = new PostgresAdapter(parseDatabaseUrl(databaseUrl(process.env)));
  const engine = createEngine({ schema: engineSchema(schema), datasource: datasourceName(schema), adapter });
  await Promise.all([probe(adapter), engine.connect("{}")]);
  const requests = new RequestTranslator(parseModels(schema));
  const responses = new ResponseTranslator(adapter.errors);
  const transactions = new Transactions(engine, responses);
  const server = createEngineServer({ engine, requests, responses, transactions });
  await new Promise((resolve, reject) => server.once("error", reject).listen(port, "127.0.0.1", resolve));
}

// LiteLLM's supervisor finds left-over engines by this name (litellm/proxy/db/query_engine_reaper.py).
process.title = "query-engine";
// PostgreSQL rolls back what is open when the connections close; the client has stopped asking.
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(0));

// A trap leaves the WASM memory in an unknown state: LiteLLM sees the process end and starts another one.
process.on("uncaughtException", (error) => fail(1, `fault: ${error.message}`));

const { version, port } = readArguments();
if (version) {
  process.stdout.write(`query-engine ${engineCommit()}\n`);
} else if (!/^\d{1,5}$/.test(port ?? "") || Number(port) > 65535) {
  fail(2, "usage: query-engine --version | query-engine -p PORT");
} else {
  serve(Number(port)).catch((error) => fail(1, error.message));
}
