// The state of a second, drawn into the page: pools, mixes, configuration and what is wrong.

import { at, bar, count, keep, make, percent, rate, say, seconds, setBar, words } from "./dom.js";

export function show(state) {
  numbers(state);
  keep(at("pools"), state.pools, (pool) => pool.key, newPool, (element, pool) => showPool(element, pool, state));
  shares(at("models"), state.moment.models, "blue", "No request yet.");
  const { spilled } = state.moment;
  say(at("spilled"), spilled ? `${spilled} went to another model than the first, for a shorter wait.` : "");
  refusals(state.moment.refusals);
  classification(state.moment);
  files(state.configuration);
  trouble(state);
}

function numbers({ moment, gates }) {
  const waiting = Object.values(gates).reduce((sum, gate) => sum + gate.waiting, 0);
  const told = [
    ["routed a second", rate(moment.routed_per_s)],
    ["refused a second", rate(moment.refused_per_s)],
    ["wait for room", String(waiting)],
    ["first answer, median", seconds(moment.first_answer_s?.p50)],
    ["first answer, p95", seconds(moment.first_answer_s?.p95)],
  ];
  keep(at("numbers"), told, ([name]) => name,
    ([name]) => make("div", {}, make("dt", {}, name), make("dd", {})),
    (element, [, value]) => say(element.lastChild, value));
  at("numbers").title = `of the last ${moment.span_s} s${moment.sample < 1 ? `, from a sample of ${percent(moment.sample)}` : ""}`;
}

const COLUMNS = ["Endpoint", "In flight", "Queue", "Running", "KV cache", "Prefix hit", "Requests a second"];

function newPool() {
  return make("div", { className: "pool scroll", tabIndex: -1 }, make("table", {},
    make("caption", {}, make("span", { className: "name" }), " ", make("span", { className: "soft" })),
    make("thead", {}, make("tr", {}, ...COLUMNS.map((name) => make("th", { scope: "col", className: narrow(name) }, name)))),
    make("tbody")));
}

const narrow = (name) => (name === "Queue" || name === "Running" ? "number hide-narrow" : name === "Requests a second" ? "number" : "");

function showPool(box, pool, state) {
  const element = box.firstChild;
  const gate = state.gates[pool.name];
  const endpoints = pool.endpoints.length + pool.left_out;
  const full = gate ? `, ${percent(gate.fullness)} full, ${gate.waiting} waiting` : "";
  const more = pool.left_out ? `, of which ${pool.endpoints.length} are shown` : "";
  say(element.caption.firstChild, pool.key);
  say(element.caption.lastChild, `${endpoints} endpoint${endpoints === 1 ? "" : "s"}${more}${full}`);
  const most = Math.max(8, ...pool.endpoints.map((each) => each.inflight_requests));
  keep(element.tBodies[0], pool.endpoints, (each) => each.name + each.address, newEndpoint,
    (row, each) => showEndpoint(row, each, most, state.moment.endpoints[each.address]));
}

function newEndpoint() {
  const gauge = () => make("td", {}, make("div", { className: "gauge" }, bar(), make("span")));
  return make("tr", {},
    make("td", {}, make("span", { className: "dot" }), make("span", { className: "name" }), make("span", { className: "under" })),
    gauge(), make("td", { className: "number hide-narrow" }), make("td", { className: "number hide-narrow" }),
    gauge(), gauge(), make("td", { className: "number" }));
}

function showEndpoint(row, each, most, traffic) {
  const [who, flight, queue, running, kv, prefix, requests] = row.cells;
  const out = Boolean(each.ejected) || !each.reachable;
  const [dot, name, under] = who.children;
  dot.dataset.state = out ? "out" : each.health.state === "warming_up" ? "limited" : "good";
  say(name, each.name.split("/").pop());
  const trouble = each.ejected || Object.entries(each.troubles).map(([path, why]) => `${path}: ${why}`).join("; ");
  const models = each.models === null ? "any model" : each.models.join(", ");
  const warming = each.health.state === "warming_up" ? ", warming up" : "";
  say(under, trouble ? `${out ? "left out: " : ""}${trouble}` : `${each.address}, ${models}${warming}`);
  under.className = trouble ? "under bad" : "under";
  who.title = `${each.name} ${each.address}, ${models}, sampled ${each.age_s === null ? "never" : `${each.age_s} s ago`}`;
  gauge(flight, each.inflight_requests / most, "blue", count(each.inflight_requests));
  say(queue, count(each.waiting));
  say(running, count(each.running));
  gauge(kv, each.kv_usage, each.kv_usage > 0.9 ? "bad" : each.kv_usage > 0.75 ? "warm" : "blue", percent(each.kv_usage));
  gauge(prefix, traffic?.prefix_hit, "good", percent(traffic?.prefix_hit));
  say(requests, rate(traffic?.per_s ?? 0));
}

function gauge(cell, part, kind, text) {
  const [drawn, said] = cell.firstChild.children;
  setBar(drawn, [part, kind]);
  say(said, text);
}

function shares(list, rows, kind, none) {
  keep(list, rows.length ? rows : [{ name: none, empty: true }], (row) => row.key ?? row.name,
    (row) => (row.empty ? make("li", { className: "soft" }, row.name)
      : make("li", {}, make("span", { className: "name", title: row.name }, row.name), make("span", { className: "soft" }), bar())),
    (element, row) => {
      if (row.empty) return;
      say(element.children[1], row.said ?? `${rate(row.per_s)} a second, ${percent(row.share)}`);
      setBar(element.children[2], [row.share, kind]);
    });
}

function refusals(rows) {
  const total = rows.reduce((sum, row) => sum + row.per_s, 0) || 1;
  shares(at("refusals"), rows.map((row) => ({
    key: `${row.reason} ${row.class}`, name: words(row.reason), said: `${row.class}, ${rate(row.per_s)} a second`, share: row.per_s / total })),
    "bad", "Nothing was refused in the last minute.");
}

const KINDS = [["full", "good"], ["degraded", "warm"], ["skipped", "none"]];

function classification(moment) {
  const found = moment.classification;
  const total = KINDS.reduce((sum, [name]) => sum + (found[name] ?? 0), 0);
  const box = at("classes");
  if (!box.firstChild) box.append(bar(), make("p", { className: "legend" }), make("p", { className: "hint" }));
  const [drawn, legend, scanned] = box.children;
  setBar(drawn, ...KINDS.map(([name, kind]) => [(found[name] ?? 0) / (total || 1), kind]));
  keep(legend, KINDS, ([name]) => name, ([, kind]) => make("span", {}, make("i", { data: { kind } }), make("span")),
    (element, [name]) => say(element.lastChild, `${name} ${total ? percent((found[name] ?? 0) / total) : "–"}`));
  say(scanned, moment.scanned === null ? "" : `Of what was classified, ${percent(moment.scanned)} of the bytes were read.`);
  shares(at("rules"), moment.decisions, "blue", "No decision of the semantic stage yet.");
}

function files(rows) {
  keep(at("files"), rows, (row) => row.what,
    () => make("li", {}, make("span", { className: "name" }), " ", make("span", { className: "soft" }), make("span", { className: "under" })),
    (element, row) => {
      say(element.children[0], row.what);
      say(element.children[1], reloads(row));
      say(element.children[2], row.error ? `not in use: ${row.error}` : row.path);
      element.children[2].className = row.error ? "under bad" : "under";
    });
}

function reloads(row) {
  if (row.reloads === null) return "";
  const failed = row.failed_reloads ? `, ${row.failed_reloads} failed` : "";
  return `${row.reloads} reload${row.reloads === 1 ? "" : "s"}${failed}`;
}

// Numbers to look at, and what the endpoints' own rows say already.
const QUIET = new Set(["streams", "classifier", "semantic_stage", "scrape", "series", "ejected", "scorers"]);

function trouble(state) {
  const said = [
    ...Object.entries(state.conditions).filter(([name]) => !QUIET.has(name)).flatMap(([name, what]) => flat(what).map((text) => [name, text])),
    ...state.pools.flatMap((pool) => [...pool.conditions, ...pool.conflicts].map((text) => [pool.key, text])),
  ].slice(0, 20);
  const box = at("trouble");
  box.hidden = said.length === 0;
  keep(box, said, ([name, text]) => name + text, ([name]) => make("p", {}, make("b", {}, `${words(name)}: `), make("span")),
    (element, [, text]) => say(element.lastChild, text));
}

function flat(what) {
  if (what === null || what === "" || what === 0 || what === false) return [];
  if (Array.isArray(what)) return what.flatMap(flat);
  if (typeof what === "object") return Object.entries(what).flatMap(([name, each]) => flat(each).map((text) => `${name}: ${text}`));
  return [String(what)];
}
