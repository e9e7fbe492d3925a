// The HTTP API, drawn from /openapi.json. Small, since it has to come from here and run without inline scripts.

import { $, complain, el, replace } from "../lib/dom.js";
import "../lib/jobs.js";
import "../lib/keys.js";
import { text } from "../lib/texts.js";

let description;

const resolve = (schema) =>
  (schema?.$ref ? description.components.schemas[schema.$ref.split("/").at(-1)] : schema) ?? {};

function kind(schema) {
  if (schema?.$ref) return schema.$ref.split("/").at(-1);
  if (schema?.anyOf) return schema.anyOf.map(kind).join(text.docs.or);
  if (schema?.type === "array") return text.docs.listOf(kind(schema.items ?? schema.prefixItems?.[0]));
  return schema?.format ?? schema?.type ?? text.docs.anything;
}

function fields(schema) {
  const { properties = {}, required = [] } = resolve(schema);
  return el(
    "dl",
    { class: "api-fields" },
    Object.entries(properties).map(([name, one]) => [
      el(
        "dt",
        {},
        el("code", {}, name),
        el("small", {}, `${kind(one)}${required.includes(name) ? "" : text.docs.optional}`),
      ),
      el("dd", {}, one.description ?? ""),
    ]),
  );
}

function body(content) {
  const [type, { schema } = {}] = Object.entries(content ?? {})[0] ?? [];
  if (!type) return null;
  return [
    el("p", {}, el("code", {}, type), " ", schema?.$ref || schema?.title || schema?.type ? kind(schema) : ""),
    schema?.$ref ? fields(schema) : null,
  ];
}

function operation(path, method, one) {
  const inputs = (one.parameters ?? []).map((parameter) => ({
    parameter,
    input: el("input", {
      "aria-label": parameter.name,
      placeholder: parameter.schema?.default ?? "",
      autocomplete: "off",
      spellcheck: false,
    }),
  }));
  const output = el("pre", { tabIndex: 0, hidden: true, "aria-label": text.docs.answer });
  const address = () => {
    let filled = path;
    const query = new URLSearchParams();
    for (const { parameter, input } of inputs) {
      if (parameter.in === "path") filled = filled.replace(`{${parameter.name}}`, encodeURIComponent(input.value));
      else if (input.value) query.append(parameter.name, input.value);
    }
    return query.size ? `${filled}?${query}` : filled;
  };
  const send = async (event) => {
    event.preventDefault();
    output.hidden = false;
    try {
      const response = await fetch(address());
      const answer = response.headers.get("content-type")?.includes("json")
        ? JSON.stringify(await response.json(), null, 1)
        : text.docs.bytes((await response.blob()).size);
      output.textContent = `GET ${address()}\n${response.status} ${response.headers.get("content-type") ?? ""}\n\n${answer.slice(0, 20000)}`;
    } catch (error) {
      output.textContent = error.message;
    }
  };
  return el(
    "details",
    { class: "api-operation" },
    el(
      "summary",
      {},
      el("b", { class: method }, method.toUpperCase()),
      " ",
      el("code", {}, path),
      " ",
      el("span", { class: "text-soft" }, one.description?.split("\n")[0] ?? ""),
    ),
    el(
      "form",
      { on: { submit: send } },
      inputs.length > 0 &&
        el(
          "dl",
          { class: "api-fields" },
          inputs.map(({ parameter, input }) => [
            el(
              "dt",
              {},
              el("code", {}, parameter.name),
              el("small", {}, `${kind(parameter.schema)}${parameter.required ? "" : text.docs.optional}`),
            ),
            el("dd", {}, method === "get" && input, parameter.description ?? ""),
          ]),
        ),
      method === "get" && el("p", {}, el("button", {}, text.docs.send)),
    ),
    output,
    one.requestBody && [el("h3", {}, text.docs.body), body(one.requestBody.content)],
    Object.entries(one.responses)
      .filter(([code]) => code < "3")
      .map(([code, response]) => [el("h3", {}, text.docs.answerOf(code)), body(response.content)]),
  );
}

async function begin() {
  description = await (await fetch("/openapi.json")).json();
  replace(
    $("#lead"),
    description.info.description,
    text.docs.forMachines,
    el("a", { href: "/openapi.json" }, "openapi.json"),
    ".",
  );
  const groups = new Map();
  for (const [path, methods] of Object.entries(description.paths)) {
    for (const [method, one] of Object.entries(methods)) {
      const tag = one.tags?.[0] ?? "other";
      groups.set(tag, [...(groups.get(tag) ?? []), operation(path, method, one)]);
    }
  }
  replace(
    $("#operations"),
    [...groups].map(([tag, operations]) => el("section", {}, el("h2", {}, tag), operations)),
  );
}

begin().catch(complain);
