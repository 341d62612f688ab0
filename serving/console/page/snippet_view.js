// "Copy as": the call that was made, for the client that the reader chooses.

import { h, put } from "./dom.js";
import { hasKey } from "./api.js";
import { copyText, switcher } from "./parts.js";
import { CLIENTS, snippets } from "./snippets.js";

let chosenClient = CLIENTS[0][0];

/** Where the snippets call the server: the address of this page, unless gRPC has another port. */
export function placeOf(server) {
  const secure = location.protocol === "https:";
  return {
    rest: location.origin,
    grpc: server.grpc_port ? `${location.hostname}:${server.grpc_port}` : location.host,
    secure,
    grpcSecure: server.grpc_port ? server.grpc_has_tls : secure,
    hasKey: hasKey(),
  };
}

/** Shows the snippets of a call; `file` is what the reader must have beside them, or null. */
export function snippetView(made, server, file) {
  const texts = snippets(made, placeOf(server));
  const code = h("code");
  const text = h("pre.wrapped.snippet", { tabindex: "0", "aria-label": "The call as a command or program" }, code);
  const status = h("span.quiet", { role: "status" });
  const why = h("p.quiet");
  const copy = h("button", { type: "button", onclick: async () => put(status, await copyText(code.textContent, code)) }, "Copy");
  const buttons = h("div");
  const choose = (client) => {
    chosenClient = client;
    const snippet = texts[client];
    const possible = typeof snippet === "string";
    put(code, possible ? snippet : "");
    put(why, possible ? "" : snippet.why);
    put(status);
    text.hidden = !possible;
    copy.hidden = !possible;
    text.dataset.client = client;
    put(buttons, switcher("Client", CLIENTS, client, (next) => {
      choose(next);
      buttons.querySelector("[aria-pressed=true]").focus();
    }));
  };
  choose(chosenClient);
  return h("div.copy-as", null, h("h4", null, "Copy as"), buttons, why, text, h("div.row", null, copy, status, file));
}
