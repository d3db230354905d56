// Draws /api/openapi.json. Texts go in as text, never as markup.
"use strict";

const METHODS = ["get", "post", "put", "patch", "delete"];

/** An element with attributes and children; strings become text. */
function make(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) element.setAttribute(key, value);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** A schema in a few words. */
function words(schema) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  const options = schema.oneOf || schema.anyOf;
  if (options) return options.map(words).join(" or ");
  if (schema.allOf) return schema.allOf.map(words).join(" and ");
  if (schema.enum) return schema.enum.join(" | ");
  let text = [].concat(schema.type || "any").join(" or ");
  if (schema.type === "array") text = `array of ${words(schema.items)}`;
  if (schema.format) text += ` (${schema.format})`;
  if (schema.minimum !== undefined || schema.maximum !== undefined) text += `, ${schema.minimum ?? "…"} to ${schema.maximum ?? "…"}`;
  if (schema.default !== undefined) text += `, default ${schema.default}`;
  return text;
}

function table(heads, rows) {
  const head = make("tr", {}, ...heads.map((text) => make("th", { scope: "col" }, text)));
  const body = rows.map((cells) => make("tr", {}, ...cells.map((cell) => make("td", {}, cell))));
  return make("table", {}, make("thead", {}, head), make("tbody", {}, ...body));
}

function parameters(call) {
  if (!call.parameters || call.parameters.length === 0) return [];
  const rows = call.parameters.map((parameter) => [
    make("code", {}, parameter.name),
    parameter.in + (parameter.required ? ", required" : ""),
    words(parameter.schema),
    parameter.description || "",
  ]);
  return [make("h3", {}, "Parameters"), table(["Name", "In", "Type", "Meaning"], rows)];
}

/** The members of a schema as table rows, one level deep. */
function members(schema, all) {
  let target = schema;
  if (target && target.$ref) target = all[target.$ref.split("/").pop()];
  const parts = target && target.allOf ? target.allOf : [target];
  const rows = [];
  for (const part of parts) {
    const resolved = part && part.$ref ? all[part.$ref.split("/").pop()] : part;
    const required = new Set((resolved && resolved.required) || []);
    for (const [name, member] of Object.entries((resolved && resolved.properties) || {})) {
      rows.push([
        make("code", {}, name),
        words(member) + (required.has(name) ? "" : ", optional"),
        member.description || "",
      ]);
    }
  }
  return rows;
}

function request(call, all) {
  if (!call.requestBody) return [];
  const parts = [make("h3", {}, "Body")];
  for (const [media, content] of Object.entries(call.requestBody.content)) {
    parts.push(make("p", {}, make("code", {}, media)));
    parts.push(table(["Field", "Type", "Meaning"], members(content.schema, all)));
  }
  return parts;
}

function responses(call) {
  const rows = Object.entries(call.responses).map(([status, response]) => [
    make("code", {}, status),
    Object.entries(response.content || {})
      .map(([media, content]) => `${media}${content.schema ? `: ${words(content.schema)}` : ""}`)
      .join("; "),
    response.description || "",
  ]);
  return [make("h3", {}, "Answers"), table(["Status", "Body", "When"], rows)];
}

function draw(path, method, call, all) {
  const summary = make("summary", {},
    make("span", { class: `method ${method}` }, method),
    make("code", {}, path),
    make("span", {}, call.summary || ""));
  const body = make("div", {},
    call.description ? make("p", {}, call.description) : null,
    ...parameters(call), ...request(call, all), ...responses(call));
  return make("details", { class: "call", id: call.operationId }, summary, body);
}

function shapes(all) {
  const drawn = Object.entries(all).map(([name, schema]) => {
    const rows = members(schema, all);
    const body = rows.length > 0 ? table(["Member", "Type", "Meaning"], rows) : make("p", {}, words(schema));
    return make("details", { class: "call", id: `schema-${name}` },
      make("summary", {}, make("code", {}, name), make("span", {}, (schema.description || "").split("\n")[0])),
      make("div", {}, body));
  });
  return [make("h2", {}, "Shapes"), ...drawn];
}

async function main() {
  const target = document.getElementById("calls");
  const answer = await fetch("/api/openapi.json", { headers: { accept: "application/json" } });
  if (!answer.ok) throw new Error(`the description cannot be read (${answer.status})`);
  const api = await answer.json();
  const all = (api.components && api.components.schemas) || {};
  document.getElementById("title").textContent = `${api.info.title} API ${api.info.version}`;
  const drawn = api.info.description.split("\n\n").map((text) => make("p", {}, text));
  for (const tag of api.tags || []) {
    drawn.push(make("h2", {}, tag.description || tag.name));
    for (const [path, item] of Object.entries(api.paths)) {
      for (const method of METHODS) {
        const call = item[method];
        if (call && (call.tags || []).includes(tag.name)) drawn.push(draw(path, method, call, all));
      }
    }
  }
  target.replaceChildren(...drawn, ...shapes(all));
  const wanted = location.hash && document.getElementById(location.hash.slice(1));
  if (wanted) { wanted.open = true; wanted.scrollIntoView(); }
}

main().catch((error) => {
  document.getElementById("calls").replaceChildren(make("p", { role: "alert" }, `${error.message}. Reload the page to try again.`));
});
