// What prisma-client-py sends -> what the WASM engine wants.
// In: GraphQL with one operation, one field aliased `result`, no variables, no fragments, all values inlined
// (prisma-client-py 0.15.0, _builder.py). Out: Prisma's JSON protocol (@prisma/client 5.17.0).
import { parse } from "graphql";

import { KnownError } from "./errors.mjs";

const RAW_ACTIONS = new Set(["queryRaw", "executeRaw"]);
const MODEL_ACTIONS = [
  "createOne", "createMany", "updateOne", "updateMany", "upsertOne", "deleteOne", "deleteMany",
  "findFirst", "findUnique", "findMany", "aggregate", "groupBy",
];
const MODEL_ACTION = new RegExp(`^(${MODEL_ACTIONS.join("|")})(.+?)(OrThrow)?$`);

// Prisma's words for the different nulls of a Json column; never valid JSON texts.
const JSON_NULLS = new Set(["DbNull", "JsonNull", "AnyNull"]);
const JSON_FILTERS = new Set([
  "equals", "not", "lt", "lte", "gt", "gte", "array_contains", "array_starts_with", "array_ends_with",
]);

/** The request is not what prisma-client-py makes; the message says how. */
export class MalformedRequest extends Error {}

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value) && !("$type" in value);
const mapObject = (object, convert) =>
  Object.fromEntries(Object.entries(object).map(([key, value]) => [key, convert(key, value)]));
const mapOneOrMany = (value, convert) => (Array.isArray(value) ? value.map(convert) : convert(value));

function plainValue(node) {
  switch (node.kind) {
    case "IntValue": {
      const number = Number(node.value);
      return Number.isSafeInteger(number) ? number : { $type: "BigInt", value: node.value };
    }
    case "FloatValue":
      return Number(node.value);
    case "StringValue":
    case "BooleanValue":
    case "EnumValue":
      return node.value;
    case "NullValue":
      return null;
    case "ListValue":
      return node.values.map(plainValue);
    case "ObjectValue":
      return Object.fromEntries(node.fields.map((field) => [field.name.value, plainValue(field.value)]));
    default:
      throw new MalformedRequest(`unexpected ${node.kind} in the query`);
  }
}

// The engine reads JSON with Rust's serde_json, which has this limit, and ends itself on a text that it cannot read.
const JSON_MAX_DEPTH = 127;

function isReadableJson(value, depth = 0) {
  if (typeof value === "string") return value.isWellFormed();
  if (typeof value === "number") return Number.isFinite(value);
  if (typeof value !== "object" || value === null) return true;
  if (depth === JSON_MAX_DEPTH) return false;
  const isObject = !Array.isArray(value);
  for (const key in value) {
    if ((isObject && !key.isWellFormed()) || !isReadableJson(value[key], depth + 1)) return false;
  }
  return true;
}

/** Value of a Json column: the client sends its text. */
function jsonValue(value) {
  if (typeof value !== "string" || JSON_NULLS.has(value)) return value;
  let parsed;
  try {
    parsed = JSON.parse(value);
  } catch {
    throw new KnownError("P2009", "Invalid argument value: it is not a valid `JSON String`");
  }
  if (!isReadableJson(parsed)) {
    throw new KnownError("P2009", "Invalid JSON: too deep, a number too large, or half of a surrogate pair");
  }
  return { $type: "Json", value };
}

/** Value of a Json column in a filter. `path` and the string_* filters are no Json. */
const jsonFilter = (value) =>
  isObject(value)
    ? mapObject(value, (key, inner) => (JSON_FILTERS.has(key) ? jsonFilter(inner) : inner))
    : jsonValue(value);

/** Walks arguments along the schema and marks the values of Json columns. */
class JsonMarker {
  #models;

  /** @param {import("./schema.mjs").Models} models */
  constructor(models) {
    this.#models = models;
  }

  /** Arguments of a query, or of a nested write that has where/data/create/update. */
  arguments(args, model) {
    return mapObject(args, (key, value) => {
      switch (key) {
        case "where":
        case "having":
        case "cursor":
          return mapOneOrMany(value, (item) => this.#filter(item, model));
        case "data":
        case "create":
        case "update":
          return mapOneOrMany(value, (item) => this.#data(item, model));
        default:
          return value;
      }
    });
  }

  #field(model, name) {
    const field = this.#models.get(model)?.get(name);
    const relation = this.#models.has(field?.type) ? field.type : undefined;
    return { isJson: field?.type === "Json", relation, list: field?.list };
  }

  #filter(filter, model) {
    if (!isObject(filter)) return filter;
    return mapObject(filter, (key, value) => {
      const { isJson, relation } = this.#field(model, key);
      if (isJson) return jsonFilter(value);
      if (relation) return this.#relationFilter(value, relation);
      const isLogic = key === "AND" || key === "OR" || key === "NOT";
      return isLogic ? mapOneOrMany(value, (item) => this.#filter(item, model)) : value;
    });
  }

  #relationFilter(value, model) {
    if (!isObject(value)) return value;
    const operators = new Set(["is", "isNot", "some", "every", "none"]);
    const keys = Object.keys(value);
    if (!keys.every((key) => operators.has(key))) return this.#filter(value, model);
    return mapObject(value, (_, inner) => this.#filter(inner, model));
  }

  #data(data, model) {
    if (!isObject(data)) return data;
    return mapObject(data, (key, value) => {
      const { isJson, relation, list } = this.#field(model, key);
      if (isJson) return jsonValue(value);
      return relation && isObject(value) ? this.#relationWrite(value, relation, list) : value;
    });
  }

  #relationWrite(writes, model, list) {
    return mapObject(writes, (operation, value) =>
      mapOneOrMany(value, (item) => {
        switch (operation) {
          case "create":
            return this.#data(item, model);
          case "update":
            // To one: the data themselves, or {where, data}. A Json column named `data` holds a text, not an object.
            return list || isObject(item?.data) ? this.arguments(item, model) : this.#data(item, model);
          case "connectOrCreate":
          case "upsert":
          case "updateMany":
          case "createMany":
            return this.arguments(item, model);
          default:
            return this.#filter(item, model);
        }
      }),
    );
  }
}

export class RequestTranslator {
  #models;
  #marker;

  /** @param {import("./schema.mjs").Models} models */
  constructor(models) {
    this.#models = models;
    this.#marker = new JsonMarker(models);
  }

  /**
   * @param {object} body parsed request: one query, or {batch: [...], transaction: boolean}
   * @returns {object} request of the JSON protocol
   * @throws {MalformedRequest} what is not a query
   * @throws {KnownError} an unknown model, or a value that the engine would not survive
   */
  translate(body) {
    if (!Array.isArray(body?.batch)) return this.#query(body);
    const transaction = body.transaction ? { isolationLevel: body.isolation_level ?? null } : null;
    return { batch: body.batch.map((item) => this.#query(item)), transaction };
  }

  #query(body) {
    if (typeof body?.query !== "string") throw new MalformedRequest("the request has no query");
    const field = this.#onlyField(body.query);
    const args = this.#arguments(field);
    const name = field.name.value;
    if (RAW_ACTIONS.has(name)) return { action: name, query: { arguments: args, selection: {} } };
    const { action, modelName } = this.#modelAction(name);
    if (!this.#models.has(modelName)) throw new KnownError("P2009", `The schema has no model ${modelName}`);
    return {
      action,
      modelName,
      query: { arguments: this.#marker.arguments(args, modelName), selection: this.#selection(field, modelName) },
    };
  }

  #onlyField(query) {
    let document;
    try {
      document = parse(query, { noLocation: true });
    } catch (error) {
      // The message of the parser quotes the query only by the offending token.
      throw new MalformedRequest(error.message.slice(0, 200));
    }
    const [operation, ...moreOperations] = document.definitions;
    const [field, ...moreFields] = operation.selectionSet?.selections ?? [];
    if (moreOperations.length > 0 || moreFields.length > 0 || field?.kind !== "Field") {
      throw new MalformedRequest("expected one operation with one field");
    }
    return field;
  }

  #modelAction(name) {
    const match = MODEL_ACTION.exec(name);
    if (!match) throw new MalformedRequest(`unknown operation ${name}`);
    const [, prefix, rest, suffix = ""] = match;
    // A model whose own name ends in OrThrow keeps it.
    if (suffix && this.#models.has(rest + suffix)) return { action: prefix, modelName: rest + suffix };
    return { action: prefix + suffix, modelName: rest };
  }

  #arguments(field) {
    return Object.fromEntries((field.arguments ?? []).map(({ name, value }) => [name.value, plainValue(value)]));
  }

  /** Relations may carry arguments of their own (include={"keys": {"where": ...}}). */
  #selection(field, model) {
    const entries = (field.selectionSet?.selections ?? []).map((child) => {
      const name = child.name.value;
      const relation = this.#models.get(model)?.get(name)?.type ?? model;
      if (!child.selectionSet) return [name, true];
      return [name, {
        arguments: this.#marker.arguments(this.#arguments(child), relation),
        selection: this.#selection(child, relation),
      }];
    });
    return Object.fromEntries(entries);
  }
}
