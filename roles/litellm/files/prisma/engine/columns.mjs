// PostgreSQL column types: what the engine is told, and the text -> value conversions it expects.
// OIDs are fixed in PostgreSQL's src/include/catalog/pg_type.dat.
// @prisma/adapter-pg 5.17.0 is not used: it fails on name, name[], void, "char", timestamptz[] and more, and reads a
// timestamptz as UTC whatever its offset is.
import { ColumnTypeEnum as Type } from "@prisma/driver-adapter-utils";
import pg from "pg";

const parseBytea = pg.types.getTypeParser(17);
const identity = (text) => text;
const bytes = (text) => Array.from(parseBytea(text));
const boolean = (text) => text === "t";
// Currency symbol and thousands separators depend on lc_monetary.
const money = (text) => text.replace(/[^0-9.-]/g, "");

const TIMESTAMPTZ =
  /^(\d{4,})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)(\.\d+)?([+-])(\d\d)(?::(\d\d))?(?::(\d\d))?$/;

/**
 * timestamptz text -> the same moment in UTC without offset, as the engine reads it.
 * @param {string} text for example "2026-01-02 03:04:05.123456-05"
 * @returns {string} for example "2026-01-02 08:04:05.123456"
 */
export function timestamptzToUtc(text) {
  const match = TIMESTAMPTZ.exec(text);
  if (!match) return text;
  const [, year, month, day, hour, minute, second, fraction = "", sign, ...offset] = match;
  const [offsetHours, offsetMinutes, offsetSeconds] = offset.map((part) => Number(part ?? 0));
  const shift = (sign === "-" ? -1 : 1) * (offsetHours * 3600 + offsetMinutes * 60 + offsetSeconds) * 1000;
  const moment = new Date(Date.UTC(+year, +month - 1, +day, +hour, +minute, +second) - shift);
  return moment.toISOString().slice(0, 19).replace("T", " ") + fraction;
}

// oid, oid of its array (0: none), type, type of its array, conversion
const COLUMNS = [
  [16, 1000, Type.Boolean, Type.BooleanArray, boolean],
  [17, 1001, Type.Bytes, Type.BytesArray, bytes],
  [18, 1002, Type.Text, Type.TextArray, identity], // "char"
  [19, 1003, Type.Text, Type.TextArray, identity], // name
  [20, 1016, Type.Int64, Type.Int64Array, identity],
  [21, 1005, Type.Int32, Type.Int32Array, Number],
  [23, 1007, Type.Int32, Type.Int32Array, Number],
  [25, 1009, Type.Text, Type.TextArray, identity],
  [26, 1028, Type.Int64, Type.Int64Array, identity], // oid
  [114, 199, Type.Json, Type.JsonArray, identity],
  [142, 143, Type.Text, Type.TextArray, identity], // xml
  [650, 651, Type.Text, Type.TextArray, identity], // cidr
  [700, 1021, Type.Float, Type.FloatArray, Number],
  [701, 1022, Type.Double, Type.DoubleArray, Number],
  [790, 791, Type.Numeric, Type.NumericArray, money],
  [869, 1041, Type.Text, Type.TextArray, identity], // inet
  [1042, 1014, Type.Text, Type.TextArray, identity], // bpchar
  [1043, 1015, Type.Text, Type.TextArray, identity], // varchar
  [1082, 1182, Type.Date, Type.DateArray, identity],
  [1083, 1183, Type.Time, Type.TimeArray, identity],
  [1114, 1115, Type.DateTime, Type.DateTimeArray, identity],
  [1184, 1185, Type.DateTime, Type.DateTimeArray, timestamptzToUtc],
  [1266, 1270, Type.Time, Type.TimeArray, (text) => text.split(/[+-]/)[0]],
  [1560, 1561, Type.Text, Type.TextArray, identity], // bit
  [1562, 1563, Type.Text, Type.TextArray, identity], // varbit
  [1700, 1231, Type.Numeric, Type.NumericArray, identity],
  [2205, 2210, Type.Text, Type.TextArray, identity], // regclass
  [2950, 2951, Type.Uuid, Type.UuidArray, identity],
  [3802, 3807, Type.Json, Type.JsonArray, identity],
];

const arrayParser = (convert) => (text) => pg.types.arrayParser.create(text, convert).parse();
const TYPES = new Map(COLUMNS.flatMap(([oid, array, type, arrayType]) => [[oid, type], [array, arrayType]]));
const PARSERS = new Map(
  COLUMNS.flatMap(([oid, array, , , convert]) => [[oid, convert], [array, arrayParser(convert)]]),
);

/**
 * The engine's type of a column. Anything unknown (enum, interval, void, extension types) travels as its text.
 * @param {number} oid
 * @returns {number} a value of ColumnTypeEnum
 */
export function columnType(oid) {
  return TYPES.get(oid) ?? Type.Text;
}

/** Text parser of a column, in the form that pg's `types` option wants. */
export const columnParsers = { getTypeParser: (oid) => PARSERS.get(oid) ?? identity };
