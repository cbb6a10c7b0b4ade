// The engine's pure parts, with plain data and without a database:
//   node --test tests/prisma/engine.test.mjs
// ENGINE_SOURCES: directory of the engine's modules, where their packages are installed
// (default: /opt/litellm/current/prisma/engine).
import assert from "node:assert/strict";
import { test } from "node:test";
import { pathToFileURL } from "node:url";

const sources = process.env.ENGINE_SOURCES ?? "/opt/litellm/current/prisma/engine";
const load = (name) => import(pathToFileURL(`${sources}/${name}.mjs`).href);

const { ErrorShelf, KnownError } = await load("errors");
const { MalformedRequest, RequestTranslator } = await load("request");
const { ResponseTranslator } = await load("response");
const { datasourceName, engineSchema, parseModels } = await load("schema");
const { peerUser } = await load("peers");
const { Semaphore } = await load("semaphore");
const { timestamptzToUtc } = await load("columns");
const { databaseUrl, parseDatabaseUrl } = await load("url");

const SCHEMA = `
datasource client {
  provider = "postgresql"
}

generator client {
  provider = "prisma-client-py"
  recursive_type_depth = -1
}

model Key { // a comment
  id    String @id
  data  Json?  @default("{}")
  note  String?
  rows  Row[]
  @@index([note])
}

model Row {
  id   Int @id
  meta Json
  key  Key? @relation(fields: [keyId], references: [id])
  keyId String?
}

model ListOrThrow {
  id Int @id
}
`;

const translator = new RequestTranslator(parseModels(SCHEMA));
const translate = (query) => translator.translate({ query });
const json = (value) => ({ $type: "Json", value });

test("a query names action, model, arguments and selection", () => {
  const query = 'query { result: findManyKey(take: 2 orderBy: [{id: "asc"}]) { id rows(take: 1) { id } } }';
  assert.deepEqual(translate(query), {
    action: "findMany",
    modelName: "Key",
    query: {
      arguments: { take: 2, orderBy: [{ id: "asc" }] },
      selection: { id: true, rows: { arguments: { take: 1 }, selection: { id: true } } },
    },
  });
});

test("a suffix belongs to the action, or to a model of that name", () => {
  assert.equal(translate("query { result: findUniqueKeyOrThrow { id } }").action, "findUniqueOrThrow");
  const { action, modelName } = translate("query { result: findFirstListOrThrow { id } }");
  assert.deepEqual([action, modelName], ["findFirst", "ListOrThrow"]);
});

test("raw queries have no model and keep their parameters as text", () => {
  assert.deepEqual(translate('mutation { result: queryRaw(query: "SELECT $1" parameters: "[1]") }'), {
    action: "queryRaw",
    query: { arguments: { query: "SELECT $1", parameters: "[1]" }, selection: {} },
  });
});

test("Json is marked where a Json column stands, and nowhere else", () => {
  const { query } = translate(`mutation { result: createOneKey(data: {
    id: "1" data: "{}" note: "{}" rows: {
      create: [{id: 1 meta: "1"}]
      connectOrCreate: [{where: {id: 2} create: {id: 2 meta: "2"}}]
      update: [{where: {id: 3} data: {meta: "3"}}]
      upsert: [{where: {id: 4} create: {meta: "4"} update: {meta: "5"}}]
      createMany: {data: [{meta: "6"}]}
      deleteMany: [{meta: {equals: "7"}}]
    } }) { id } }`);
  assert.deepEqual(query.arguments.data, {
    id: "1",
    data: json("{}"),
    note: "{}",
    rows: {
      create: [{ id: 1, meta: json("1") }],
      connectOrCreate: [{ where: { id: 2 }, create: { id: 2, meta: json("2") } }],
      update: [{ where: { id: 3 }, data: { meta: json("3") } }],
      upsert: [{ where: { id: 4 }, create: { meta: json("4") }, update: { meta: json("5") } }],
      createMany: { data: [{ meta: json("6") }] },
      deleteMany: [{ meta: { equals: json("7") } }],
    },
  });
});

test("an update to one is told from one with where and data, although the model has a column named data", () => {
  const update = (body) => translate(`mutation { result: updateOneRow(data: {key: {update: ${body}}}) { id } }`);
  assert.deepEqual(update('{data: "{}"}').query.arguments.data.key.update, { data: json("{}") });
  assert.deepEqual(update('{data: {data: "{}"}}').query.arguments.data.key.update, { data: { data: json("{}") } });
});

test("filters mark values but not paths", () => {
  const filter = '{data: {path: ["a"] equals: "1" string_contains: "x" not: {equals: "2"}}}';
  const expected = { data: { path: ["a"], equals: json("1"), string_contains: "x", not: { equals: json("2") } } };
  const where = (text) => translate(`query { result: findManyRow(where: ${text}) { id } }`).query.arguments.where;
  assert.deepEqual(where(`{key: ${filter}}`), { key: expected });
  assert.deepEqual(where(`{OR: [{NOT: {key: {is: ${filter}}}}]}`), { OR: [{ NOT: { key: { is: expected } } }] });
});

test("the nulls of a Json column pass", () => {
  const { query } = translate('mutation { result: createOneKey(data: {id: "1" data: "DbNull"}) { id } }');
  assert.equal(query.arguments.data.data, "DbNull");
});

test("a JSON text that the engine would not survive is refused", () => {
  for (const text of ["{no", "", "NaN", "1e999", '"\\ud800"', '{"\\udc00": 1}', "[".repeat(128) + "]".repeat(128)]) {
    const query = `mutation { result: createOneKey(data: {id: "1" data: ${JSON.stringify(text)}}) { id } }`;
    assert.throws(() => translate(query), KnownError, text.slice(0, 20));
  }
});

test("integers beyond 2^53 keep their digits", () => {
  const { query } = translate("query { result: findManyRow(where: {id: 9007199254740993}) { id } }");
  assert.deepEqual(query.arguments.where.id, { $type: "BigInt", value: "9007199254740993" });
});

test("what prisma-client-py does not send is refused", () => {
  for (const query of [
    "{",
    "query { a b }",
    "query { result: dropTables { id } }",
    "query Q($a: Int) { r: findManyKey(take: $a) { id } }",
    "query { ...on Query { id } }",
    "query { a } query { b }",
  ]) {
    assert.throws(() => translate(query), MalformedRequest);
  }
  assert.throws(() => translator.translate({}), MalformedRequest);
  assert.throws(() => translate("query { result: findManyNothing { id } }"), KnownError);
});

test("answers lose their type marks, raw tables stay", () => {
  const responses = new ResponseTranslator(new ErrorShelf());
  const rows = [{ id: { $type: "BigInt", value: "1" } }];
  const marked = { data: { findManyKey: [{ data: json('{"$type": 1}'), rows }] } };
  assert.deepEqual(responses.translate(marked), { data: { result: [{ data: '{"$type": 1}', rows: [{ id: "1" }] }] } });
  const table = { columns: ["a"], types: ["json"], rows: [[{ $type: "kept" }]] };
  assert.deepEqual(responses.translate({ data: { queryRaw: table } }), { data: { result: table } });
});

test("an error of the driver takes the place of its number, and meta is always an object", () => {
  const shelf = new ErrorShelf();
  const id = shelf.keep(new KnownError("P1001", "away"));
  const external = { error: "x", user_facing_error: { error_code: "P2036", message: "External error", meta: { id } } };
  const [entry] = new ResponseTranslator(shelf).translate({ errors: [external] }).errors;
  assert.deepEqual(entry.user_facing_error, { is_panic: false, message: "away", meta: {}, error_code: "P1001" });
  assert.equal(shelf.take(id), undefined);
  const withoutMeta = { error: "x", user_facing_error: { meta: null } };
  const [plain] = new ResponseTranslator(shelf).translate({ errors: [withoutMeta] }).errors;
  assert.deepEqual(plain.user_facing_error.meta, {});
});

test("an error inside a batch is shown at the top", () => {
  const answer = { batchResult: [{ data: { a: 1 } }, { errors: [{ error: "x", user_facing_error: {} }] }] };
  assert.equal(new ResponseTranslator(new ErrorShelf()).translate(answer).errors.length, 1);
});

test("the schema text for the engine has no generator of Python's", () => {
  const text = engineSchema(SCHEMA);
  assert.doesNotMatch(text, /prisma-client-py|recursive_type_depth/);
  assert.match(text, /prisma-client-js/);
  assert.equal(datasourceName(text), "client");
});

test("a timestamptz becomes UTC whatever its offset", () => {
  for (const [text, expected] of [
    ["2026-01-02 03:04:05+00", "2026-01-02 03:04:05"],
    ["2026-01-01 23:04:05.123456-05", "2026-01-02 04:04:05.123456"],
    ["2026-01-02 03:04:05+05:30", "2026-01-01 21:34:05"],
    ["1900-01-01 00:00:00-00:19:32", "1900-01-01 00:19:32"],
    ["infinity", "infinity"],
  ]) {
    assert.equal(timestamptzToUtc(text), expected);
  }
});

test("the URL's parts and Prisma's parameters are understood", () => {
  const query = "connection_limit=3&pool_timeout=0&schema=s&sslmode=disable&options=-c%20a%3Db";
  const url = `postgresql://u%40:p%2Fw%3A@[::1]:6543/d%20b?${query}`;
  const { address, connectionLimit, poolTimeout, schema, pool } = parseDatabaseUrl(url);
  assert.deepEqual([address, connectionLimit, poolTimeout, schema], ["::1:6543", 3, 0, "s"]);
  assert.deepEqual([pool.user, pool.password, pool.host, pool.database], ["u@", "p/w:", "::1", "d b"]);
  assert.deepEqual([pool.options, pool.ssl, pool.max], ["-c a=b", false, 3]);
  assert.equal(parseDatabaseUrl("postgresql://u@h/d").pool.password, undefined);
  assert.equal(parseDatabaseUrl("postgresql://u@localhost/d?host=/run/postgresql").pool.host, "/run/postgresql");
});

test("TLS is verified when asked, in Prisma's words and in libpq's", () => {
  const tls = (query) => parseDatabaseUrl(`postgresql://u@h/d?${query}`);
  assert.equal(tls("").tlsOptional, true);
  assert.equal(tls("sslmode=require").tlsOptional, false);
  assert.equal(tls("sslmode=require").pool.ssl.rejectUnauthorized, false);
  const stricts = ["sslmode=require&sslaccept=strict", "sslmode=verify-full", "sslmode=verify-ca", "sslaccept=strict"];
  for (const strict of stricts) {
    assert.equal(tls(strict).pool.ssl.rejectUnauthorized, true, strict);
    assert.equal(tls(strict).tlsOptional, false, strict);
  }
  assert.equal(tls("sslmode=verify-full").pool.ssl.checkServerIdentity, undefined);
});

test("a data source of the client wins over DATABASE_URL", () => {
  const override = JSON.stringify([{ name: "client", url: "postgresql://b/b" }]);
  assert.equal(databaseUrl({ DATABASE_URL: "postgresql://a/a", OVERWRITE_DATASOURCES: override }), "postgresql://b/b");
  assert.equal(databaseUrl({ DATABASE_URL: "postgresql://a/a" }), "postgresql://a/a");
  assert.throws(() => databaseUrl({}), /DATABASE_URL is not set/);
});

test("a semaphore serves in order and forgets those who gave up", async () => {
  const semaphore = new Semaphore(1);
  assert.equal(await semaphore.acquire(10), true);
  const impatient = semaphore.acquire(10);
  const patient = semaphore.acquire(1000);
  assert.equal(await impatient, false);
  semaphore.release();
  assert.equal(await patient, true);
  semaphore.release();
  assert.equal(await semaphore.acquire(10), true);
});

test("the user of a peer is read by both ends of its connection", () => {
  const row = (address, user) =>
    `   1: ${address} 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  ${user}        0 1 1 0 20 4 30 10 -1`;
  const table = ["  sl  local_address ...", row("0500007F:C000", 0), row("0100007F:C000", 1001)].join("\n");
  const socket = { remoteAddress: "127.0.0.1", remotePort: 0xc000, localAddress: "127.0.0.1", localPort: 0x1f90 };
  assert.equal(peerUser(table, socket), 1001);
  assert.equal(peerUser(table, { ...socket, remoteAddress: "127.0.0.5" }), 0);
  assert.equal(peerUser(table, { ...socket, remotePort: 1 }), undefined);
});
