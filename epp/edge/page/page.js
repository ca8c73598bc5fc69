// The live page: one stream of states in, elements out; decisions, receipts and the prompt to try.

import { at, keep, make, say, seconds, words } from "./dom.js";
import { Unauthorized, ask, listen, useToken } from "./link.js";
import { draw } from "./receipt.js";
import { show } from "./state.js";

const AGAIN_MS_MAX = 10_000;
let rows = [];
let shown = [];

// The stream.

async function run() {
  let wait = 500;
  for (;;) {
    try {
      await listen("live", (state) => {
        wait = 500;
        link("live", "live");
        show(state);
        offer(state);
        rows = state.moment.rows;
        showRows();
      });
      link("lost", "the stream has ended, trying again");
    } catch (trouble) {
      if (trouble instanceof Unauthorized) await token();
      else link("lost", `not connected: ${trouble.message}`);
    }
    await new Promise((done) => setTimeout(done, wait));
    wait = Math.min(2 * wait, AGAIN_MS_MAX);
  }
}

function link(state, text) {
  at("link").dataset.state = state;
  say(at("link"), text);
}

function token() {
  link("lost", "a token is needed");
  const dialog = at("token");
  if (!dialog.open) dialog.showModal();
  return new Promise((done) => {
    at("token-form").onsubmit = (event) => {
      event.preventDefault();
      useToken(at("token-value").value.trim());
      at("token-value").value = "";
      dialog.close();
      done();
    };
  });
}

// Decisions.

const paused = () => at("pause").getAttribute("aria-pressed") === "true";
const atThem = () => at("rows").matches(":hover") || at("rows").contains(document.activeElement);

function showRows() {
  const wanted = at("refused-only").checked ? rows.filter((row) => row.status >= 400 && !row.picked) : rows;
  if (paused() || (atThem() && shown.length)) {
    // Nothing moves; what is there still becomes what it has become.
    const newer = new Map(wanted.map((row) => [row.id, row]));
    shown = shown.map((row) => newer.get(row.id) ?? row);
  } else {
    shown = wanted;
  }
  keep(at("rows"), shown, (row) => row.id, newRow, showRow);
  at("no-rows").hidden = shown.length > 0;
  const buttons = [...at("rows").querySelectorAll("button")];
  if (!buttons.some((button) => button.tabIndex === 0) && buttons.length) buttons[0].tabIndex = 0;
}

function newRow(row) {
  const open = make("button", { type: "button", tabIndex: -1 });
  open.addEventListener("focus", () => {
    for (const other of at("rows").querySelectorAll("button")) other.tabIndex = other === open ? 0 : -1;
  });
  const tag = make("span", { className: "tag", hidden: !row.spilled }, "spilled");
  const made = make("tr", {}, make("td", {}, open), make("td"), make("td"), make("td", {}, make("span"), tag), make("td"),
    make("td", { className: "number" }), make("td", { className: "outcome" }));
  made.addEventListener("click", () => why(row.id, open));
  return made;
}

function showRow(element, row) {
  const [time, asked, decision, model, endpoint, first, outcome] = element.cells;
  say(time.firstChild, new Date(row.time).toLocaleTimeString([], { hour12: false }));
  time.firstChild.title = `${row.time}, receipt ${row.id}`;
  say(asked, row.asked_model ?? "–");
  say(decision, row.decision ?? "–");
  say(model.firstChild, row.selected_model ?? "–");
  say(endpoint, row.picked ?? "–");
  say(first, seconds(row.ttft_s));
  say(outcome, row.outcome === "open" ? "under way" : words(row.outcome) + (row.status >= 400 ? ` ${row.status}` : ""));
  outcome.dataset.kind = row.outcome === "open" ? "open" : row.status >= 400 || row.outcome === "error" ? "bad" : row.outcome === "disconnected" ? "open" : "good";
}

at("rows").addEventListener("keydown", (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  const edge = { Home: 0, End: -1 }[event.key];
  if (step === undefined && edge === undefined) return;
  event.preventDefault();
  const buttons = [...at("rows").querySelectorAll("button")];
  const place = edge ?? Math.min(buttons.length - 1, Math.max(0, buttons.indexOf(document.activeElement) + step));
  buttons.at(place)?.focus();
});
at("pause").addEventListener("click", () => {
  at("pause").setAttribute("aria-pressed", String(!paused()));
  say(at("pause"), paused() ? "Go on" : "Pause");
  showRows();
});
at("refused-only").addEventListener("change", () => {
  shown = [];
  showRows();
});

// Receipts.

async function why(id, from) {
  try {
    const receipt = await ask(`debug/decisions/${encodeURIComponent(id)}`);
    open(`Receipt ${receipt.id}`, draw(receipt));
    history.replaceState(null, "", `#receipt=${encodeURIComponent(id)}`);
  } catch (trouble) {
    open(`Receipt ${id}`, [make("p", { className: "error" }, trouble.message || "the token is not accepted")]);
  }
  at("receipt").onclose = () => {
    history.replaceState(null, "", location.pathname + location.search);
    if (from?.isConnected) from.focus();
  };
}

function open(title, parts) {
  say(at("receipt-title"), title);
  at("receipt-body").replaceChildren(...parts);
  if (!at("receipt").open) at("receipt").showModal();
  at("receipt").scrollTop = 0;
  at("receipt-title").focus();
}

at("receipt").addEventListener("click", (event) => {
  if (event.target === at("receipt")) at("receipt").close(); // outside of it
});
at("find").addEventListener("submit", (event) => {
  event.preventDefault();
  const id = at("receipt-id").value.trim();
  if (id) why(id, at("receipt-id"));
});
function fromAddress() {
  const id = new URLSearchParams(location.hash.slice(1)).get("receipt");
  if (id) why(id);
}

// A prompt to try.

function offer(state) {
  at("try-card").hidden = state.tries.length === 0;
  const names = new Set(["auto"]);
  for (const pool of state.pools) for (const each of pool.endpoints) for (const name of each.models ?? []) names.add(name);
  keep(at("names"), [...names].sort().slice(0, 200), (name) => name, (name) => make("option", { value: name }), () => {});
  at("port-label").hidden = state.tries.length < 2;
  keep(at("port"), state.tries, (name) => name, (name) => make("option", { value: name }, name), () => {});
}

at("try").addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = at("try").querySelector("button");
  const pool = at("port").value ? `?pool=${encodeURIComponent(at("port").value)}` : "";
  const body = { model: at("model").value.trim() || "auto", messages: [{ role: "user", content: at("prompt").value }] };
  button.disabled = true;
  at("try-error").hidden = true;
  try {
    const receipt = await ask(`debug/try${pool}`, {
      method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body),
    });
    at("receipt").onclose = () => at("prompt").focus();
    open("Where it would go", draw(receipt));
  } catch (trouble) {
    say(at("try-error"), trouble.message || "the token is not accepted");
    at("try-error").hidden = false;
  } finally {
    button.disabled = false;
  }
});
at("prompt").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) at("try").requestSubmit();
});

fromAddress();
run();
