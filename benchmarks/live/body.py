"""The bytes of a chat request."""

from __future__ import annotations

import json
from dataclasses import dataclass

from benchmarks.live.messages import Plan, Shot
from benchmarks.workloads.text import prompt
from epp.protocol.headers import FAIRNESS

BLOCKS_PER_COPY = 1 << 44  # a closed loop's cases have a few blocks only
BLOCKS_PER_PART = 1 << 72  # beyond every block that a workload or a copy makes


@dataclass(slots=True)
class Writer:
    """Requests of one plan."""

    plan: Plan

    def request(self, shot: Shot, copy: int = 0) -> bytes:
        """Head and body; each `copy` of a shot has a prompt of its own."""
        plan = self.plan
        offset = plan.part * BLOCKS_PER_PART + copy * BLOCKS_PER_COPY
        text = prompt([block + offset for block in shot.blocks], shot.prompt_tokens, plan.block_tokens)
        body = b'{"model":%b,"messages":[{"role":"user","content":"%b"}],"max_tokens":%d%b}' % (
            json.dumps(shot.model or plan.model).encode(),
            text,
            shot.answer_tokens,
            self._options(shot),
        )
        return self._head(shot, len(body)) + body

    def _options(self, shot: Shot) -> bytes:
        options = b',"ignore_eos":true' if self.plan.ignore_eos else b""
        if self.plan.stream:
            options += b',"stream":true,"stream_options":{"include_usage":true}'
        asked = self._asked(shot)
        return options + (b',"stop":"x-answer %b"' % asked.encode() if asked else b"")

    def _asked(self, shot: Shot) -> str | None:
        """What the upstream that costs nothing is to do, where that is not a small JSON answer."""
        if self.plan.hold:
            return "hold"
        return None if self.plan.pause_ms is None else f"{shot.answer_tokens}/{self.plan.pause_ms:g}"

    def _head(self, shot: Shot, length: int) -> bytes:
        plan = self.plan
        headers = [("host", plan.host), ("content-type", "application/json"), *plan.headers]
        if shot.tenant is not None:
            headers.append((FAIRNESS[0], shot.tenant))
        if (asked := self._asked(shot)) is not None:
            headers.append(("x-answer", asked))
        lines = [f"POST {plan.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
        return ("\r\n".join(lines) + f"\r\ncontent-length: {length}\r\n\r\n").encode()
