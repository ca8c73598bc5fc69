// Talking to the process: the token where it asks for one, and the stream of events.
// `fetch` and not EventSource, which cannot send the token.

const HEADERS = () => (token() ? { authorization: `Bearer ${token()}` } : {});
const token = () => sessionStorage.getItem("onehop-token");

export class Unauthorized extends Error {}

export function useToken(value) {
  sessionStorage.setItem("onehop-token", value);
}

/** The JSON at a path and its status. Throws Unauthorized, or an Error with what the process says. */
export async function ask(path, options = {}) {
  const answer = await fetch(path, { ...options, headers: { ...HEADERS(), ...(options.headers ?? {}) } });
  if (answer.status === 401) throw new Unauthorized();
  const told = await answer.json();
  if (!answer.ok) throw new Error(told.error ?? `status ${answer.status}`);
  return told;
}

/** Calls `onState` with each state until the stream ends. */
export async function listen(path, onState) {
  const answer = await fetch(path, { headers: HEADERS(), cache: "no-store" });
  if (answer.status === 401) throw new Unauthorized();
  if (!answer.ok) throw new Error((await answer.json()).error);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    for (const event of events) {
      const data = event.split("\n").filter((line) => line.startsWith("data: "));
      if (data.length) onState(JSON.parse(data.map((line) => line.slice(6)).join("\n")));
    }
  }
}
