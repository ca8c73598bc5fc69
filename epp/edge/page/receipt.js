// One receipt, drawn: what was asked and decided, the candidates and the endpoints with their scores, and where time went.

import { bar, make, percent, seconds, words } from "./dom.js";

export function draw(receipt) {
  return [
    make("p", { className: "why" }, sentence(receipt)),
    facts(receipt),
    ...part("Candidates", candidates(receipt)),
    ...part(endpointsTitle(receipt), endpoints(receipt)),
    ...part("What the gate saw: seconds until its prompt would have begun", gate(receipt)),
    ...part("Where the time went", times(receipt)),
    receipt.id === "dry-run"
      ? make("p", { className: "hint" }, "A dry run: nothing was sent, stored or logged; it knows no queue and no spill.")
      : make("p", { className: "hint" }, "In a terminal: ", make("code", {}, `onehop explain --receipt ${receipt.id}`)),
  ];
}

function part(title, drawn) {
  return drawn ? [make("h3", {}, title), drawn] : [];
}

function sentence(receipt) {
  if (receipt.message) return `Refused (${words(receipt.outcome)}): ${receipt.message}`;
  const model = receipt.selected_model ?? receipt.asked_model ?? "no model";
  const where = receipt.picked ? ` at ${receipt.picked}` : "";
  return receipt.why ? `${model}${where}: ${receipt.why}` : `${model}${where}: the model was named by the client`;
}

function facts(receipt) {
  const rows = [
    ["asked for", [receipt.asked_model ?? "no model", receipt.rewrite && `rewritten by ${receipt.rewrite}`]],
    ["request", [receipt.request_id !== "dry-run" && receipt.request_id, receipt.pool && `pool ${receipt.pool}`,
      `tenant ${receipt.tenant}`, receipt.objective && `objective ${receipt.objective}`, `priority ${receipt.priority}`]],
    ["trace", [receipt.trace_id]],
    ["signals", [...signals(receipt.signals ?? {}), `classification ${receipt.classification}`]],
    ["decision", [receipt.decision]],
    ["spill", [spill(receipt.spill)]],
    ["served by", [receipt.served && receipt.served !== receipt.picked && receipt.served]],
    ["prompt", [tokens(receipt)]],
    ["not asked", Object.entries(receipt.unused_scorers ?? {}).map(([name, why]) => `${name}: ${why}`)],
    ["outcome", [words(receipt.outcome), receipt.status && `status ${receipt.status}`, receipt.fault && `fault ${receipt.fault}`]],
  ];
  const list = make("dl", { className: "facts" });
  for (const [name, said] of rows) {
    const text = said.filter(Boolean).join(", ");
    if (text) list.append(make("dt", {}, name), make("dd", {}, text));
  }
  return list;
}

function signals(found) {
  const said = [];
  if (found.domain?.label) said.push(`${found.domain.label} (${(found.domain.confidence ?? 0).toFixed(2)})`);
  for (const [name, sure] of Object.entries(found.matched ?? {})) said.push(`${name} ${Number(sure).toFixed(2)}`);
  if (found.unknown?.length) said.push(`unknown: ${found.unknown.join(" ")}`);
  const { scanned_bytes: scanned, total_bytes: total } = found.coverage ?? {};
  if (total) said.push(`${Math.round((100 * scanned) / total)} % of ${total} bytes read`);
  return said;
}

function spill(found) {
  if (!found) return null;
  const waits = found.wait_s === null ? "" : `, a wait of ${seconds(found.wait_s)} was predicted`;
  if (found.to === null) return `stayed with ${found.from} (${words(found.reason)})${waits}`;
  return `from ${found.from} to ${found.to} (${words(found.reason)})${waits}`;
}

function tokens(receipt) {
  if (!receipt.prompt_tokens) return null;
  const known = receipt.hashed_tokens ? `, ${receipt.cached_tokens} of ${receipt.hashed_tokens} looked up thought to be cached` : "";
  const usage = receipt.usage ? `; by the server ${receipt.usage.prompt} in (${receipt.usage.cached} cached), ${receipt.usage.completion} out` : "";
  return `about ${receipt.prompt_tokens} tokens${known}${usage}`;
}

function candidates(receipt) {
  if (!receipt.candidates?.length) return null;
  return chart(receipt.candidates.map((each) => ({
    name: each.model ?? "any model",
    kind: each.excluded ? "out" : each.model === receipt.selected_model ? "won" : "",
    parts: [[each.quality, each.excluded ? "none" : "blue"]],
    number: each.margin === 1 ? "–" : each.quality.toFixed(2),
    note: each.excluded ? `left out: ${words(each.reason)}` : each.margin === 1 ? "the default, where nobody else can answer" : "",
  })));
}

function gate(receipt) {
  const rows = receipt.gate?.endpoints ?? [];
  if (!rows.length) return null;
  const longest = Math.max(1e-9, receipt.slo_ttft_s ?? 0, ...rows.map((row) => row.wait_s));
  const before = receipt.gate.before_s ? `, after ${seconds(receipt.gate.before_s)} of prompts that waited before it` : "";
  return make("div", {},
    make("p", { className: "hint" }, `Due in ${seconds(receipt.slo_ttft_s)}, its own prompt takes ${seconds(receipt.gate.own_s)}${before}.`),
    chart(rows.map((row) => ({
      name: row.address,
      parts: [[row.wait_s / longest, "warm"]],
      number: seconds(row.wait_s),
      note: [`${row.inflight_requests} in flight`, row.full > 0 && `KV cache ${percent(row.full)} of the way to full`,
        row.pace_s > 0 && `${seconds(row.pace_s)} a token`].filter(Boolean).join(", "),
    }))));
}

const inSeconds = (row) => row.details && "prefill_s" in row.details;

function endpointsTitle(receipt) {
  const some = receipt.endpoints?.some(inSeconds);
  return some ? "Endpoints, by predicted seconds: the wait there, then the prompt's own" : "Endpoints, by score";
}

function endpoints(receipt) {
  const rows = receipt.endpoints ?? [];
  if (!rows.length) return null;
  const scored = rows.filter((row) => !row.excluded);
  scored.sort((a, b) => (b.address === receipt.picked) - (a.address === receipt.picked) || b.total - a.total);
  const longest = Math.max(1e-9, ...scored.filter(inSeconds).map(({ details }) => details.wait_s + details.prefill_s));
  const best = Math.max(1e-9, ...scored.map((row) => row.total));
  const drawn = scored.map((row) => ({
    name: row.name.split("/").pop(),
    more: row.name === row.address ? null : row.address,
    kind: row.address === receipt.picked ? "won" : "",
    parts: inSeconds(row)
      ? [[row.details.wait_s / longest, "warm"], [row.details.prefill_s / longest, "blue"]]
      : [[row.total / best, "blue"]],
    number: row.total.toFixed(2),
    note: inSeconds(row) ? reckoned(row.details) : Object.entries(row.scores).map(([name, value]) => `${name.replace(/-scorer$/, "")} ${value.toFixed(2)}`).join(", "),
  }));
  for (const row of rows.filter((each) => each.excluded)) {
    drawn.push({ name: row.name.split("/").pop(), more: row.address, kind: "out", parts: [], number: "–", note: `left out by ${row.reason}` });
  }
  return chart(drawn);
}

function reckoned(told) {
  return `${told.wait_s ? `wait ${seconds(told.wait_s)}` : "no wait"}, own prefill ${seconds(told.prefill_s)}, ${told.cached_tokens} tokens cached, ${told.in_flight} in flight`;
}

function chart(rows) {
  return make("ul", { className: "chart" }, ...rows.map((row) =>
    make("li", { data: { kind: row.kind } },
      make("span", { className: "name", title: row.name }, row.name),
      bar(...row.parts),
      make("span", { className: "number" }, row.number),
      row.more ? make("span", { className: "soft" }, row.more) : null,
      row.note ? make("span", { className: "note" }, row.note) : null)));
}

function times(receipt) {
  const end = receipt.ended_s ?? receipt.ttft_s ?? receipt.decided_s;
  if (!end) return null;
  const waited = receipt.waited_s ?? 0;
  const parts = [
    ["our queue", waited, "none"],
    ["our decision", Math.max(0, (receipt.decided_s ?? 0) - waited), "warm"],
    ["to the first answer", receipt.ttft_s === null ? 0 : receipt.ttft_s - (receipt.decided_s ?? 0), "blue"],
    ["the answer", receipt.ended_s === null || receipt.ttft_s === null ? 0 : receipt.ended_s - receipt.ttft_s, "good"],
  ].filter(([, value]) => value > 0);
  const line = make("div", { className: "times", aria: { hidden: "true" } });
  const legend = make("p", { className: "legend" });
  for (const [name, value, kind] of parts) {
    const piece = make("i", { data: { kind } });
    piece.style.width = `${(100 * value) / end}%`;
    line.append(piece);
    legend.append(make("span", {}, make("i", { data: { kind } }), `${name} ${seconds(value)}`));
  }
  if (receipt.predicted_ttft_s !== null && receipt.predicted_ttft_s !== undefined) {
    legend.append(make("span", {}, `first token predicted after ${seconds(receipt.predicted_ttft_s)}`));
  }
  return make("div", {}, line, legend);
}
