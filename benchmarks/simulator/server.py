"""The HTTP face of one replica: vLLM's routes, statuses and errors over a driver.

A handler lives as long as its exchange; when the client goes away it is cancelled, and the job is aborted with it. What
a slow reader has not taken is a number of tokens, not bytes, so nothing grows with it.
"""

import time
from collections.abc import Callable
from uuid import uuid4

from aiohttp import web

from benchmarks.simulator.answer import Answer, draw_output_tokens, write_text
from benchmarks.simulator.driver import Driver, Ticket
from benchmarks.simulator.exposition import expose
from benchmarks.simulator.openai import ApiError, Ask, parse_chat, parse_completion
from benchmarks.simulator.prompt import hash_blocks, tokens_of
from benchmarks.simulator.sequence import Job
from benchmarks.simulator.spec import ReplicaSpec

BODY_BYTES_MAX = 32 * 2**20
REPLICA_HEADER = "x-simulated-replica"
TRACE_HEADER = "x-simulated-traceparent"
"""Response header: the `traceparent` that came, as an engine with tracing would have taken it up."""
STATUS_HEADER = "x-simulate-status"
"""Request header: answer with this status, from 400 to 599, and do nothing."""
DROPPED = 0
"""In the place of a status: no answer, the connection is dropped."""


class ReplicaServer:
    """Routes and counts of one replica, from its start to its end."""

    def __init__(self, spec: ReplicaSpec, driver: Driver) -> None:
        self.spec = spec
        self.driver = driver
        self.requests_seen = 0
        """Completions asked for, refused ones included."""
        self.in_flight = 0
        """Completions being answered."""
        self.trouble: int | None = None
        """A status that every completion is answered with; `DROPPED` ends its connection without an answer."""
        self._started_at = time.time()

    def application(self) -> web.Application:
        """Return the routes."""
        app = web.Application(client_max_size=BODY_BYTES_MAX)
        app.on_response_prepare.append(self._sign)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/completions", self._completion)
        app.router.add_post("/tokenize", self._tokenize)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/health", self._health)
        app.router.add_get("/metrics", self._metrics)
        return app

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        return await self._complete(request, parse_chat)

    async def _completion(self, request: web.Request) -> web.StreamResponse:
        return await self._complete(request, parse_completion)

    async def _complete(self, request: web.Request, parse: Callable[[bytes], Ask]) -> web.StreamResponse:
        self.requests_seen += 1
        self.in_flight += 1
        try:
            body = await request.read()
            _fail_if_asked(request)
            self._fail_if_in_trouble(request)
            return await self._answer(request, parse(body))
        except ApiError as error:
            return web.json_response(error.body, status=error.status)
        except web.HTTPRequestEntityTooLarge:
            refused = ApiError(413, f"The body is larger than {BODY_BYTES_MAX} bytes.")
            return web.json_response(refused.body, status=refused.status)
        finally:
            self.in_flight -= 1

    def _fail_if_in_trouble(self, request: web.Request) -> None:
        if self.trouble == DROPPED and request.transport is not None:
            request.transport.abort()
        if self.trouble is not None:
            raise ApiError(self.trouble or 500, "The engine is in trouble.", "SimulatedError")

    async def _answer(self, request: web.Request, ask: Ask) -> web.StreamResponse:
        asked = ask.model or self.spec.models[0]
        adapter = self._adapter(asked)
        context_left = self._context_left(ask)
        tokens, finish_reason = draw_output_tokens(ask, context_left, self.spec.output_tokens_median, self.spec.seed)
        text = write_text(adapter or self.spec.models[0], tokens)
        block_tokens = self.driver.replica.config.block_tokens
        hashes = hash_blocks(ask.prompt + text, block_tokens, f"{adapter}\0{ask.cache_salt}")
        answer = Answer(
            ask,
            text,
            answer_id=f"{'chatcmpl' if ask.chat else 'cmpl'}-{uuid4().hex}",
            created=int(time.time()),
            model=asked,
            finish_reason=finish_reason,
        )
        with self.driver.submit(Job(ask.prompt_tokens, tokens, hashes, adapter)) as ticket:
            if ask.stream:
                return await _stream(request, answer, ticket)
            await ticket.beyond(tokens - 1)
            body = answer.whole(ticket.sequence.cached_tokens)
            return web.Response(body=body, content_type="application/json")

    def _adapter(self, model: str) -> str | None:
        if model in self.spec.models:
            return None
        if model in self.spec.adapters:
            return model
        raise ApiError(404, f"The model `{model}` does not exist.", "NotFoundError", "model")

    def _context_left(self, ask: Ask) -> int:
        longest = self.driver.replica.config.context_tokens_max
        wanted = ask.output_tokens_max or 1
        if ask.prompt_tokens + wanted > longest:
            raise ApiError(
                400,
                f"This model's maximum context length is {longest} tokens. However, you requested {wanted} output "
                f"tokens and your prompt contains {ask.prompt_tokens} input tokens. Please reduce the length of the "
                "input prompt or the number of requested output tokens.",
            )
        return longest - ask.prompt_tokens

    async def _tokenize(self, request: web.Request) -> web.Response:
        """Of a chat or of a `prompt`: vLLM's route, which routers ask for the tokens of a prompt."""
        body = await request.read()
        try:
            tokens = tokens_of((parse_chat if b'"messages"' in body else parse_completion)(body).prompt)
        except ApiError as error:
            return web.json_response(error.body, status=error.status)
        longest = self.driver.replica.config.context_tokens_max
        told = {"count": len(tokens), "max_model_len": longest, "tokens": tokens, "token_strs": None}
        return web.json_response(told)

    async def _models(self, request: web.Request) -> web.Response:
        cards = [self._card(name, None) for name in self.spec.models]
        cards += [self._card(name, self.spec.models[0]) for name in self.spec.adapters]
        return web.json_response({"object": "list", "data": cards})

    def _card(self, name: str, parent: str | None) -> dict[str, object]:
        return {
            "id": name,
            "object": "model",
            "created": int(self._started_at),
            "owned_by": "vllm",
            "root": name if parent else self.spec.models[0],
            "parent": parent,
            "max_model_len": None if parent else self.driver.replica.config.context_tokens_max,
            "permission": [],
        }

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response()

    async def _metrics(self, request: web.Request) -> web.Response:
        adapters_max = self.spec.adapters_max if self.spec.adapters else None
        text = expose(self.driver.replica, self.spec.models[0], adapters_max, self._started_at, time.time())
        return web.Response(text=text, headers={"content-type": "text/plain; version=0.0.4; charset=utf-8"})

    async def _sign(self, request: web.Request, response: web.StreamResponse) -> None:
        response.headers[REPLICA_HEADER] = self.spec.name
        if "traceparent" in request.headers:
            response.headers[TRACE_HEADER] = request.headers["traceparent"]


async def _stream(request: web.Request, answer: Answer, ticket: Ticket) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": "text/event-stream; charset=utf-8"})
    await response.prepare(request)
    sent = 0
    while sent < answer.tokens:
        ready = await ticket.beyond(sent)
        await response.write(answer.events(sent, ready, ticket.sequence.cached_tokens))
        sent = ready
    await response.write_eof()
    return response


def _fail_if_asked(request: web.Request) -> None:
    asked = request.headers.get(STATUS_HEADER)
    if asked is None:
        return
    if not asked.isascii() or not asked.isdigit() or not 400 <= int(asked) <= 599:
        raise ApiError(400, f"{STATUS_HEADER} must be a status from 400 to 599, got {asked!r}")
    raise ApiError(int(asked), f"Simulated status {asked}.", "SimulatedError")
