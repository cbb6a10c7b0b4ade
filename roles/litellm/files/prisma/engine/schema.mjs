// What the translation needs to know of schema.prisma, and the text that the WASM engine accepts.

/**
 * @typedef {{type: string, list: boolean}} Field
 * @typedef {Map<string, Map<string, Field>>} Models model name -> field name -> field
 */

const BLOCK = /^(model|type)\s+(\w+)\s*\{([^]*?)^\}/gm;
const FIELD = /^\s*(\w+)\s+(\w+)(\[\])?\??(?:\s|$)/;

/**
 * Fields by model.
 * @param {string} text content of schema.prisma
 * @returns {Models}
 */
export function parseModels(text) {
  const models = new Map();
  for (const [, , name, body] of text.matchAll(BLOCK)) {
    const fields = new Map();
    for (const line of body.split("\n")) {
      const match = FIELD.exec(line);
      if (match) fields.set(match[1], { type: match[2], list: match[3] !== undefined });
    }
    models.set(name, fields);
  }
  return models;
}

/**
 * Schema text for the WASM engine: it refuses prisma-client-py's generator options.
 * @param {string} text content of schema.prisma
 * @returns {string}
 */
export function engineSchema(text) {
  const withoutGenerators = text.replace(/^generator\s+\w+\s*\{[^]*?^\}/gm, "");
  return `${withoutGenerators}
generator client {
  provider        = "prisma-client-js"
  previewFeatures = ["driverAdapters"]
}
`;
}

/**
 * Name of the schema's data source, which the engine wants for overriding its URL.
 * @param {string} text content of schema.prisma
 * @returns {string}
 */
export function datasourceName(text) {
  const match = /^datasource\s+(\w+)/m.exec(text);
  if (!match) throw new Error("schema.prisma has no datasource");
  return match[1];
}
