// A JSON schema as text for people: a type in a word, and the members of an object as a list.

import { h } from "./dom.js";

const MOST_SCHEMA_DEPTH = 4;

/** Follows a reference of an OpenAPI document. */
export function resolved(schema, api) {
  const path = schema && schema.$ref;
  if (!path) return schema || {};
  const target = path.replace(/^#\//, "").split("/").reduce((inner, part) => (inner ? inner[part] : undefined), api);
  return { ...target, ...Object.fromEntries(Object.entries(schema).filter(([name]) => name !== "$ref")) };
}

/** A type in a few words. */
export function typeText(schema, api) {
  if (schema && schema.$ref) return schema.$ref.split("/").pop();
  const { type, items, oneOf } = schema || {};
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((each) => JSON.stringify(each)).join(" or ");
  if (oneOf) return oneOf.map((each) => typeText(each, api)).join(" or ");
  if (type === "array") return items && Object.keys(items).length ? `list of ${typeText(items, api)}` : "list";
  if (Array.isArray(type)) return type.join(", ");
  return type || "any value";
}

/** The members of a schema, down to a few levels; `seen` ends recursion. */
export function schemaList(schema, api, depth = 0, seen = []) {
  const name = schema && schema.$ref;
  if (depth > MOST_SCHEMA_DEPTH || (name && seen.includes(name))) return null;
  const known = name ? [...seen, name] : seen;
  const full = resolved(schema, api);
  const about = full.description && depth === 0 ? h("p.quiet", null, full.description) : null;
  if (full.oneOf) return [about, full.oneOf.map((each, index) => [h("p", null, index ? "or" : "either"), schemaList(each, api, depth + 1, known)])];
  if (full.type === "array" && full.items) return [about, schemaList(full.items, api, depth + 1, known)];
  const members = Object.entries(full.properties || {});
  if (!members.length) {
    const values = full.additionalProperties;
    return values ? [about, h("p", null, "Values: ", h("code", null, typeText(values, api))), schemaList(values, api, depth + 1, known)] : about;
  }
  const required = full.required || [];
  return [
    about,
    h(
      "ul.schema",
      null,
      members.map(([member, inner]) => {
        const target = resolved(inner, api);
        return h(
          "li",
          null,
          h("code", null, member),
          ` ${typeText(inner, api)}`,
          !required.includes(member) && h("span.quiet", null, ", optional"),
          target.description && depth < MOST_SCHEMA_DEPTH && h("span.quiet", null, ` – ${target.description}`),
          isNested(inner, api) && schemaList(inner, api, depth + 1, known),
        );
      }),
    ),
  ];
}

function isNested(schema, api) {
  const full = resolved(schema, api);
  if (full.type === "array" && full.items) return isNested(full.items, api);
  return Boolean(full.properties || full.oneOf);
}
