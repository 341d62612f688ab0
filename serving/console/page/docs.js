// The view of the API: /openapi.json as a page.

import { h, put, table } from "./dom.js";
import { call } from "./api.js";
import { markdown } from "./markdown.js";
import { alertBox } from "./parts.js";
import { resolved, schemaList, typeText } from "./schema.js";

/** Draws the description of the APIs. */
export async function showDocs(place) {
  put(place, h("h1", null, "API"), h("p.quiet", { role: "status" }, "Reading /openapi.json…"));
  try {
    const { document: api } = await call("/openapi.json");
    put(
      place,
      h("h1", null, "API"),
      h("div.card-text", null, markdown(api.info.description, 2)),
      h("p", null, h("a", { href: "/openapi.json" }, "/openapi.json"), ` describes it for programs, in OpenAPI ${api.openapi}.`),
      api.tags.map((tag) => [h("h2", null, tag.name), operationsOf(api, tag.name).map((each) => operation(each, api))]),
    );
  } catch (error) {
    put(place, h("h1", null, "API"), alertBox(error.message));
  }
}

/** The operations of a tag; the paths of one handler are one entry. */
function operationsOf(api, tag) {
  const found = new Map();
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const [method, entry] of Object.entries(methods)) {
      if (!entry.tags.includes(tag)) continue;
      const id = `${method} ${entry.summary}`;
      const known = found.get(id) || { method, paths: [], entry };
      known.paths.push(path);
      if (entry.parameters.length > known.entry.parameters.length) known.entry = entry;
      found.set(id, known);
    }
  }
  return [...found.values()];
}

function operation({ method, paths, entry }, api) {
  const content = h("div.inside");
  const body = entry.requestBody && entry.requestBody.content["application/json"];
  const fill = () =>
    put(
      content,
      paths.length > 1 && h("p", null, "Also: ", paths.slice(1).map((path, index) => [index ? ", " : "", h("code", null, path)])),
      markdown(entry.description),
      entry.parameters.length > 0 && parameters(entry, api),
      body && [h("h3", null, `Body: ${typeText(body.schema, api)}`), schemaList(body.schema, api)],
      body && body.example && [h("p", null, "For example"), h("pre.wrapped", { tabindex: "0" }, JSON.stringify(body.example))],
      Object.keys((entry.requestBody || { content: {} }).content).length > 1 && h("p.quiet", null, "Bytes of tensors may follow the JSON."),
      h("h3", null, "Answers"),
      answersTable(entry, api),
      success(entry, api),
    );
  return h(
    "details.operation",
    { ontoggle: (event) => event.target.open && !content.hasChildNodes() && fill() },
    h("summary", null, h("span.badge.method", null, method.toUpperCase()), h("code", null, paths[0]), h("span.quiet", null, entry.summary)),
    content,
  );
}

function parameters(entry, api) {
  const rows = entry.parameters.map((each) => [h("code", null, each.name), each.in, typeText(each.schema, api), each.required ? "required" : "optional", each.description || ""]);
  return table("Parameters", ["parameter", "in", "type", "needed", "meaning"], rows);
}

function answersTable(entry, api) {
  const rows = Object.entries(entry.responses).map(([status, response]) => {
    const [type, content] = Object.entries(response.content)[0];
    return [status, type === "application/json" ? typeText(content.schema, api) : "text", response.description];
  });
  return table("Answers", ["status", "body", "meaning"], rows);
}

function success(entry, api) {
  const content = entry.responses["200"].content["application/json"];
  if (!content || !resolved(content.schema, api)) return null;
  return [h("h3", null, `Answer: ${typeText(content.schema, api)}`), schemaList(content.schema, api)];
}
