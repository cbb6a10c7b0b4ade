// The HTTP side: the requests of prisma-client-py 0.15.0 (engine/_query.py), answered by the engine.
import { createServer } from "node:http";

import { KnownError, errorEntry } from "./errors.mjs";
import { refuseStrangers } from "./peers.mjs";
import { MalformedRequest } from "./request.mjs";
import { TRACE } from "./transactions.mjs";

const TRANSACTION = /^\/transaction\/([\w-]+)\/(commit|rollback)$/;

async function readBody(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks).toString("utf8");
}

function parseJson(text) {
  try {
    return JSON.parse(text);
  } catch {
    throw new MalformedRequest("the body is not JSON");
  }
}

async function runQuery(request, { engine, requests, responses }) {
  const query = requests.translate(parseJson(await readBody(request)));
  // The engine does not survive a batch without queries.
  if (query.batch?.length === 0) return { batchResult: [] };
  const transaction = request.headers["x-transaction-id"];
  return responses.translate(JSON.parse(await engine.query(JSON.stringify(query), TRACE, transaction)));
}

/**
 * Body of the answer to one request; undefined for a path that there is not.
 * @param {import("node:http").IncomingMessage} request
 * @param {{engine: object, requests: object, responses: object, transactions: object}} parts
 */
async function answer(request, parts) {
  const { pathname } = new URL(request.url, "http://localhost");
  const route = `${request.method} ${pathname}`;
  if (route === "GET /status") return { status: "ok" };
  if (route === "GET /metrics") return { counters: [], gauges: [], histograms: [] };
  if (route === "POST /") return runQuery(request, parts);
  if (route === "POST /transaction/start") return parts.transactions.start(parseJson(await readBody(request)));
  const [, id, end] = (request.method === "POST" && TRANSACTION.exec(pathname)) || [];
  return end && parts.transactions[end](id);
}

async function respond(request, response, parts) {
  let status = 200;
  let body;
  try {
    body = await answer(request, parts);
    if (body === undefined) [status, body] = [404, { error: "no such path" }];
  } catch (error) {
    if (error instanceof MalformedRequest) [status, body] = [422, { error: error.message }];
    else if (error instanceof KnownError) body = { errors: [errorEntry(error.code, error.message, error.meta)] };
    else if (error instanceof WebAssembly.RuntimeError) throw error;
    else body = { errors: [errorEntry("P2036", `query engine: ${error.message}`)] };
  }
  const text = JSON.stringify(body);
  response.writeHead(status, { "content-type": "application/json", "content-length": Buffer.byteLength(text) });
  response.end(text);
}

/**
 * @param {{engine: object, requests: object, responses: object, transactions: object}} parts
 * @returns {import("node:http").Server} not listening yet
 */
export function createEngineServer(parts) {
  const server = createServer((request, response) => {
    // What respond() throws is a trap of the engine: main.mjs ends the process, and the client starts another one.
    respond(request, response, parts);
  });
  server.on("connection", refuseStrangers);
  // The client keeps idle connections and would meet a half-closed one; a query may take as long as it takes.
  server.keepAliveTimeout = 0;
  server.headersTimeout = 0;
  server.requestTimeout = 0;
  return server;
}
