// The HTTP side: the requests of prisma-client-py 0.15.0 (engine/_query.py), answered by the engine.
import { createServer } from "node:http";

import { KnownError, errorEntry } from "./errors.mjs";
import { MalformedRequest } from "./request.mjs";

const TRANSACTION = /^\/transaction\/([\w-]+)\/(commit|rollback)$/;
// The engine takes a trace context with every call; there is none.
const TRACE = "{}";

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

/**
 * Status and body of the answer to one request.
 * @param {{engine: object, requests: object, responses: object}} parts
 */
async function answer(request, { engine, requests, responses }) {
  const { pathname } = new URL(request.url, "http://localhost");
  const route = `${request.method} ${pathname}`;
  if (route === "GET /status") return { status: "ok" };
  if (route === "GET /metrics") return { counters: [], gauges: [], histograms: [] };
  if (route === "POST /") {
    const query = JSON.stringify(requests.translate(parseJson(await readBody(request))));
    return responses.translate(JSON.parse(await engine.query(query, TRACE, request.headers["x-transaction-id"])));
  }
  if (route === "POST /transaction/start") {
    const options = JSON.stringify(parseJson(await readBody(request)));
    return responses.translateTransaction(JSON.parse(await engine.startTransaction(options, TRACE)));
  }
  const [, id, end] = (request.method === "POST" && TRANSACTION.exec(pathname)) || [];
  if (end === "commit") return responses.translateTransaction(JSON.parse(await engine.commitTransaction(id, TRACE)));
  if (end === "rollback") return responses.translateTransaction(JSON.parse(await engine.rollbackTransaction(id, TRACE)));
  return undefined;
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
    else throw error;
  }
  const text = JSON.stringify(body);
  response.writeHead(status, { "content-type": "application/json", "content-length": Buffer.byteLength(text) });
  response.end(text);
}

/**
 * @param {{engine: object, requests: object, responses: object}} parts
 * @returns {import("node:http").Server} not listening yet
 */
export function createEngineServer(parts) {
  const server = createServer((request, response) => {
    // Anything unforeseen is a fault of the engine, which main.mjs ends: the client then starts another one.
    respond(request, response, parts);
  });
  // The client keeps idle connections and would meet a half-closed one; a query may take as long as it takes.
  server.keepAliveTimeout = 0;
  server.headersTimeout = 0;
  server.requestTimeout = 0;
  return server;
}
