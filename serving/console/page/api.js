// Calls to this server. The key of the caller stays in the memory of the page: it is neither stored
// nor put into an address, so that no other page and no later visitor of this browser gets it.

let key = "";

/** An answer other than 2xx, or none. `status` is 0 if the server did not answer. */
export class CallError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/** Sends the key with all later calls; an empty text sends none. */
export function useKey(text) {
  key = text.trim();
}

/** Whether calls send a key. */
export function hasKey() {
  return key !== "";
}

/**
 * Calls the server.
 *
 * @param {string} path Path on this server.
 * @param {Object} [body] Sent as JSON with POST; without it the call is a GET.
 * @param {AbortSignal} [signal] Ends the call.
 * @returns {Promise<{document: *, stages: Object, total: number}>} The JSON of the answer; the times
 *     of the header Server-Timing in ms, by stage; and the time until the answer was read, in ms.
 * @throws {CallError} The server refused the call or did not answer.
 */
export async function call(path, body, signal) {
  const headers = { "x-server-timing": "1" };
  if (key) headers.authorization = `Bearer ${key}`;
  if (body !== undefined) headers["content-type"] = "application/json";
  const began = performance.now();
  let answer;
  let text;
  try {
    answer = await fetch(path, {
      method: body === undefined ? "GET" : "POST",
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal,
      credentials: "omit",
      cache: "no-store",
      redirect: "error",
    });
    text = await answer.text();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new CallError("the server does not answer", 0);
  }
  const total = performance.now() - began;
  let content = null;
  try {
    content = JSON.parse(bare(text));
  } catch {
    throw new CallError(`the server answered ${answer.status} with something that is not JSON`, answer.status);
  }
  if (!answer.ok) throw new CallError((content && content.error) || `status ${answer.status}`, answer.status);
  return { document: content, stages: stagesOf(answer.headers.get("server-timing")), total };
}

// TensorFlow Serving writes infinity and NaN without quotes, which JSON does not have. A text in
// quotes is matched as a whole, so that nothing inside of it is replaced.
function bare(text) {
  return text.replace(/"(?:[^"\\]|\\.)*"|-?\bInfinity\b|\bNaN\b/g, (found) => (found.startsWith('"') ? found : `"${found}"`));
}

function stagesOf(header) {
  const stages = {};
  for (const part of (header || "").split(",")) {
    const match = /^\s*(\w+);dur=([\d.]+)\s*$/.exec(part);
    if (match) stages[match[1]] = Number(match[2]);
  }
  return stages;
}

/** Path of a model in TensorFlow Serving's API; `which` is "", a version number or "label:NAME". */
export function modelPath(name, which, method) {
  const chosen = String(which).startsWith("label:")
    ? `/labels/${encodeURIComponent(which.slice(6))}`
    : which === ""
      ? ""
      : `/versions/${which}`;
  return `/v1/models/${encodeURIComponent(name)}${chosen}${method}`;
}
