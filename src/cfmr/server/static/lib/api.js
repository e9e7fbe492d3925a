// Requests to the server, and its problem documents as errors.

import { text } from "./texts.js";

/** An answer that says what was wrong. `status` is 0 if there was no answer. */
export class Problem extends Error {
  constructor(status, detail, document = {}) {
    super(detail);
    this.status = status;
    this.document = document;
  }
}

/**
 * A path with a query; empty values are left out, of a list each is given.
 * @param {string} path
 * @param {Record<string, any>} [query]
 */
export function address(path, query = {}) {
  const parameters = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== undefined && one !== null && one !== "") parameters.append(key, one);
    }
  }
  const text = parameters.toString();
  return text ? `${path}?${text}` : path;
}

/**
 * Ask the server.
 * @param {string} method
 * @param {string} path
 * @param {{ query?: Record<string, any>, body?: any, signal?: AbortSignal }} [options]
 * @returns {Promise<any>}
 * @throws {Problem} with status 0 if the server does not answer
 */
export async function call(method, path, options = {}) {
  const response = await ask(method, path, options);
  return response.status === 204 ? null : response.json().catch(() => ({}));
}

/**
 * Ask for a file and save it as the browser saves downloads.
 * @param {string} path
 * @param {any} body
 * @throws {Problem} as `call`
 */
export async function download(path, body) {
  const response = await ask("POST", path, { body });
  const name = /filename="([^"]+)"/.exec(response.headers.get("Content-Disposition") ?? "")?.[1] ?? "download";
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await response.blob());
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/**
 * @param {string} method
 * @param {string} path
 * @param {{ query?: Record<string, any>, body?: any, signal?: AbortSignal }} wanted
 */
async function ask(method, path, { query, body, signal }) {
  /** @type {RequestInit & { headers: Record<string, string> }} */
  const options = { method, signal, headers: {} };
  if (body instanceof Blob) options.body = body;
  else if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = typeof body === "string" ? body : JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(address(path, query), options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, text.api.unreachable);
  }
  if (response.status === 401 && location.pathname !== "/sign-in") {
    location.assign(address("/sign-in", { next: location.pathname + location.search }));
  }
  if (response.ok) return response;
  const content = await response.json().catch(() => ({}));
  throw new Problem(response.status, content.detail ?? response.statusText, content);
}

/** @type {(path: string, query?: Record<string, any>, signal?: AbortSignal) => Promise<any>} */
export const get = (path, query, signal) => call("GET", path, { query, signal });
/** @type {(path: string, body?: any) => Promise<any>} */
export const post = (path, body = {}) => call("POST", path, { body });
