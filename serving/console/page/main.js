// The console: signs in where the server has keys, asks for the documents, and switches views.

import { h, put } from "./dom.js";
import { call, hasKey, useKey } from "./api.js";
import { Recorder } from "./history.js";
import { alertBox } from "./parts.js";
import { showModels } from "./models.js";
import { LiveView } from "./live.js";
import { PictureView } from "./try_pictures.js";
import { FormView } from "./try_form.js";
import { showDocs } from "./docs.js";

const POLL_MS = 1000;
const VIEWS = [
  ["models", "Models"],
  ["live", "Live"],
  ["try", "Try it"],
  ["api", "API"],
];
const [head, main, foot] = ["head", "main", "foot"].map((id) => document.getElementById(id));

const app = { list: null, recorder: null, places: new Map(), live: null, pictures: null, opened: new Map(), trouble: null };

function viewName() {
  const name = location.hash.slice(1);
  if (VIEWS.some(([known]) => known === name)) return name;
  return location.pathname === "/docs" ? "api" : "models";
}

function drawHead() {
  const chosen = viewName();
  const { server } = app.list || { server: null };
  put(
    head,
    h("div.brand", null, h("span.name", null, "onnx-serving"), server && h("span.quiet", null, `${server.version}, ONNX Runtime ${server.onnxruntime}`)),
    h("nav", { "aria-label": "Views" }, VIEWS.map(([name, text]) => h("a", { href: `#${name}`, "aria-current": name === chosen ? "page" : null }, text))),
    app.trouble && alertBox(app.trouble),
  );
  document.title = `${VIEWS.find(([name]) => name === chosen)[1]} – onnx-serving`;
}

function drawFoot() {
  const { server, caller } = app.list;
  const links = ["/v1/models", "/readyz", server.metrics_path, "/openapi.json"].filter(Boolean);
  put(
    foot,
    h("p.quiet", null,
      hasKey() ? `Signed in as ${caller.name}, roles ${caller.roles.join(", ")}. ` : "",
      hasKey() ? h("button", { type: "button", onclick: () => location.reload() }, "Sign out") : links.map((path, index) => [index ? ", " : "For programs: ", h("a", { href: path }, path)]),
    ),
  );
}

/** Shows the view that the address names; a view is drawn at its first visit and then kept. */
function show() {
  const name = viewName();
  drawHead();
  if (!app.list && name !== "api") return;
  let place = app.places.get(name);
  if (!place) {
    place = h("div");
    app.places.set(name, place);
    draw(name, place);
  }
  put(main, place);
  if (name === "live") app.live.update();
}

function draw(name, place) {
  if (name === "models") showModels(place, app.list, app.opened);
  else if (name === "live") app.live = new LiveView(place, app.recorder, app.list);
  else if (name === "api") showDocs(place);
  else {
    const [pictures, form] = [h("section"), h("section")];
    app.pictures = new PictureView(pictures, app.list);
    app.form = new FormView(form, app.list);
    put(place, h("h1", null, "Try it"), pictures, form);
  }
}

/** Asks for the list of models, and draws anew what depends on it. */
async function readList() {
  const { document: list } = await call("/console/models");
  app.list = list;
  app.recorder = app.recorder || new Recorder(list.limits);
  if (app.places.has("models")) showModels(app.places.get("models"), list, app.opened);
  for (const view of [app.live, app.pictures]) if (view) view.list = list;
  // A form keeps what was typed, unless its version is gone.
  const places = app.places.get("try");
  if (places && !isAnswering(list, app.form)) app.places.delete("try");
  show();
  drawFoot();
}

function isAnswering(list, form) {
  if (!form.chosen) return false;
  const model = list.models.find((each) => each.name === form.chosen.model.name);
  return Boolean(model && model.versions.some((each) => each.version === form.chosen.version.version && each.state === "AVAILABLE"));
}

function say(trouble) {
  if (app.trouble === trouble) return;
  app.trouble = trouble;
  drawHead();
}

/** Asks for the figures each second while the page is visible. */
async function poll() {
  if (document.hidden) {
    document.addEventListener("visibilitychange", poll, { once: true });
    return;
  }
  const began = performance.now();
  try {
    const { document: figures } = await call("/console/figures");
    app.recorder.add(figures);
    if (figures.state !== app.list.state) await readList();
    say(null);
    if (viewName() === "live" && app.live) app.live.update();
  } catch (error) {
    say(`${error.message}; asking again each second.`);
    if (error.status === 401) {
      signIn(error.message);
      return;
    }
  }
  setTimeout(poll, Math.max(100, POLL_MS - (performance.now() - began)));
}

function signIn(message) {
  const input = h("input", { type: "password", autocomplete: "current-password", required: true, "aria-describedby": "about-key" });
  const problem = h("div");
  const form = h(
    "form.sign-in",
    {
      onsubmit: async (event) => {
        event.preventDefault();
        useKey(input.value);
        put(problem);
        await start((error) => put(problem, alertBox(error.message)));
      },
    },
    h("h1", null, "Sign in"),
    h("p.quiet", { id: "about-key" }, "This server has keys. The console needs one with the role admin, and predict to try a model. The key stays in the memory of this page."),
    h("label.field", null, h("span", null, "Key"), input),
    h("button.primary", { type: "submit" }, "Sign in"),
    problem,
  );
  app.trouble = null;
  drawHead();
  put(main, form);
  if (hasKey()) put(problem, alertBox(message));
  input.focus();
}

/** Reads the list of models and begins to poll; `fail` gets the error of a call that was refused. */
async function start(fail) {
  try {
    await readList();
    poll();
  } catch (error) {
    // Whoever has the role metadata may read the description of the API.
    if (error.status === 403 && viewName() === "api") show();
    else fail(error);
  }
}

addEventListener("hashchange", () => {
  if (!app.list && viewName() !== "api") return;
  show();
  main.focus();
  scrollTo(0, 0);
});
addEventListener("paste", (event) => viewName() === "try" && app.pictures && app.pictures.paste(event));
// A picture that misses the drop zone would replace the page.
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => event.preventDefault());

drawHead();
start((error) => {
  if (error.status === 401) signIn(error.message);
  else {
    put(main, h("h1", null, "Console"), alertBox(error.message), h("button", { type: "button", onclick: () => location.reload() }, "Ask again"));
  }
});
