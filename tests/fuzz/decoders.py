"""Each decoder as a function of bytes, with what must hold of its result.

It raises what `targets.py` allows it, or nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import pairwise
from random import Random
from typing import Any, TypeVar

import msgspec

from epp.datastore import discovery, exposition, model_list
from epp.datastore.engines import BUILT_IN
from epp.datastore.membership import endpoints as member_endpoints
from epp.datastore.objects import (
    BadObject,
    Named,
    decode_objective,
    decode_pod,
    decode_pool,
    decode_rewrite,
)
from epp.datastore.policies import Policies
from epp.datastore.selectors import parse as parse_selector
from epp.datastore.yaml_tree import compose
from epp.domain import ConfigError, Request
from epp.edge.http1 import Answer, BadHttp
from epp.protocol.codec import decode
from epp.protocol.conversation import conversation
from epp.protocol.decision import HEADER_BYTES_MAX, Decision, Signer
from epp.protocol.exchange import Buffers, Exchange
from epp.protocol.headers import DECISION
from epp.protocol.identity import NAME_LENGTH_MAX, source
from epp.protocol.openai import read, with_model
from epp.protocol.restore import ModelRestorer
from epp.protocol.usage import HELD_BYTES_MAX, UsageReader
from semantic.config import read_config
from semantic.reading import ConfigError as SemanticConfigError

N = TypeVar("N", bound=Named)
FETCHED_BYTES_MAX = 1000
SERVED, ASKED = "served-model", "asked-model"


def split(data: bytes) -> tuple[dict[str, str], bytes]:
    """Header lines up to an empty one, and what follows."""
    head, _, body = data.partition(b"\n\n")
    lines = (line.decode("latin-1").partition(": ") for line in head.split(b"\n"))
    return {name.lower(): value for name, _, value in lines}, body


def message(data: bytes) -> None:
    """One ext_proc message, and what an exchange says to it when it is the first."""
    exchange = Exchange(Buffers(1 << 16, 1 << 20))
    try:
        for action in exchange.receive(decode(data)):
            assert action is not None
    finally:
        exchange.close()
    assert exchange.receive(decode(data)) == [], "nothing follows on a closed stream"


def request(data: bytes) -> None:
    """A request's body: read, edited and told as a conversation."""
    headers, body = split(data)
    asked = read("made-up", headers, body, model_required=False)
    assert asked.body in (body, b"")
    assert asked.prompt_tokens >= 0
    told = conversation(Request("r", path=asked.path, body=body))
    assert all(isinstance(role, str) and isinstance(text, str) and text for role, text in told)
    if asked.model_span is None:
        return
    start, stop = asked.model_span
    edited = with_model(asked, ASKED)
    assert edited.startswith(body[:start])
    assert edited.endswith(body[stop:])
    again = read("made-up", headers, edited, model_required=False)
    assert again.model == ASKED or _names_model_twice(body)
    assert again.prompt == asked.prompt


def usage(data: bytes) -> None:
    """An answer's token counts: alike however the body is cut."""
    data = data[:HELD_BYTES_MAX]  # a longer value is found only if it need not be held
    whole = _usage([data])
    assert _usage(_pieces(data)) == whole
    assert _usage([data[at : at + 1] for at in range(len(data))]) == whole


def restore(data: bytes) -> None:
    """The client's model name in an answer: alike however the body is cut, and nothing else changes."""
    whole = _restored([data])
    assert _restored(_pieces(data)) == whole
    assert _restored([data[at : at + 1] for at in range(len(data))]) == whole
    if b"\\" not in data:
        assert whole.replace(ASKED.encode(), SERVED.encode()) == data.replace(ASKED.encode(), SERVED.encode())


def metrics(data: bytes) -> None:
    """A model server's metrics, whichever kind it is taken for at first."""
    kind = BUILT_IN[len(data) % len(BUILT_IN)]
    load = exposition.read(data, 1.0, kind).load
    assert all(v is None or (math.isfinite(v) and v >= 0) for v in (load.waiting, load.running))
    assert load.kv_usage is None or 0 <= load.kv_usage <= 1
    assert all(v is None or v > 0 for v in (load.block_size, load.num_blocks))


def http(data: bytes) -> None:
    """A model server's answer to a GET: alike however it is cut, and no larger than allowed."""
    whole = _fetched([data])
    assert _fetched(_pieces(data)) == whole
    assert _fetched([data[at : at + 1] for at in range(len(data))]) == whole


def _fetched(pieces: list[bytes]) -> object:
    answer = Answer(FETCHED_BYTES_MAX)
    try:
        for piece in pieces:
            answer.feed(piece)
        if not answer.done:
            answer.eof()
    except BadHttp as bad:
        return str(bad)
    assert len(answer.body) <= FETCHED_BYTES_MAX
    return answer.status, answer.body, answer.keep


def models(data: bytes) -> None:
    """A model server's model list."""
    served = model_list.parse(data)
    assert all(isinstance(name, str) and isinstance(base, str) for name, base in served.items())


def endpoints(data: bytes) -> None:
    """The discovery file: every mistake is one of ours, and what has none is listed once."""
    listed, mistakes = discovery.examine(data)
    assert all(isinstance(mistake, ConfigError) for mistake in mistakes)
    assert len({item.address for item in listed}) == len(listed) or mistakes
    compose(data)


def semantic(data: bytes) -> None:
    """The semantic configuration, strictly and leniently."""
    text = data.decode(errors="replace")
    leniently = read_config(text, lenient=True)
    with suppress(SemanticConfigError):
        assert read_config(text).decisions == leniently.decisions


def objects(data: bytes) -> None:
    """A list of Kubernetes objects: what can be read of it makes endpoints and policies, whatever their order."""
    trees = msgspec.json.decode(data, type=list[dict[str, Any]])
    pods, pools = _decoded(decode_pod, trees), _decoded(decode_pool, trees)
    objectives, rewrites = _decoded(decode_objective, trees), _decoded(decode_rewrite, trees)
    for pool in pools:
        listed = member_endpoints(pool, pods).listed
        assert len({item.address for item in listed}) == len({item.name for item in listed}) == len(listed)
        assert member_endpoints(pool, pods[::-1]).listed == listed
    keys = [pool.key for pool in pools]
    policies, again = Policies(keys, objectives, rewrites), Policies(keys, objectives[::-1], rewrites[::-1])
    for model in ("m", None):
        assert policies.rewrite(model, Random(1)) == again.rewrite(model, Random(1))
    assert policies.priority("critical") == again.priority("critical")


def selector(data: bytes) -> None:
    """A label selector: what it is shown as means the same."""
    found = parse_selector(data.decode("latin-1"))
    assert parse_selector(str(found)) == found


def decision(data: bytes) -> None:
    """The signed header of a first stream: nobody else can write one, and a change makes it nothing."""
    signer, now = Signer(b"k" * 32), 100.0
    about, _, text = data.decode("latin-1").partition("\n")
    assert signer.verify({DECISION: text}, now) is None
    made = Decision(now + 1, about, "r", text, text, None, None, None, "full")
    signed = signer.sign(made)
    if len(signed) < HEADER_BYTES_MAX:
        at = len(data) % len(signed)
        changed = signed[:at] + ("A" if signed[at] != "A" else "B") + signed[at + 1 :]
        assert signer.verify({DECISION: signed}, now) == made
        assert signer.verify({DECISION: signed}, now + 1) is None
        assert signer.verify({DECISION: changed}, now) is None


def identity(data: bytes) -> None:
    """Where the tenant comes from, and what a client may put there."""
    flag, _, rest = data.partition(b"\n")
    headers, _ = split(rest)
    found = source(flag.decode("latin-1"), ("x-own", "x-older")).find(headers, headers)
    assert found is None or 0 < len(found) <= NAME_LENGTH_MAX


def _decoded(decode_one: Callable[[dict[str, Any]], N], trees: list[dict[str, Any]]) -> list[N]:
    """Those that are what we read, of each name one, as an API server has them."""
    found: dict[str, N] = {}
    for tree in trees:
        with suppress(BadObject):
            one = decode_one(tree)
            found[one.key] = one
    return list(found.values())


def _usage(pieces: list[bytes]) -> object:
    reader = UsageReader()
    for piece in pieces:
        reader.feed(piece)
    return reader.end()


def _restored(pieces: list[bytes]) -> bytes:
    restorer = ModelRestorer(SERVED, ASKED)
    return b"".join([*(restorer.feed(piece) for piece in pieces), restorer.feed(b"", end=True)])


def _pieces(data: bytes) -> list[bytes]:
    """The data in pieces of uneven sizes, which depend on nothing but its length."""
    edges = [*range(0, len(data), 7 + len(data) % 13), len(data)]
    return [data[start:stop] for start, stop in pairwise(edges)]


def _names_model_twice(body: bytes) -> bool:
    """Parsers differ in which of several counts; ours and the engines' take the last."""

    def count(pairs: list[tuple[str, object]]) -> Mapping[str, object]:
        return {"twice": sum(name == "model" for name, _ in pairs) > 1}

    try:
        return bool(json.loads(body, object_pairs_hook=count)["twice"])
    except ValueError:
        return True
