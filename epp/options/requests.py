"""What a configuration file says of how requests are read. The director acts on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from epp.plugin import Setting, Stage


class Parser(Setting):
    """Whose request bodies are understood."""


@dataclass(slots=True, frozen=True)
class OpenAIParser(Parser):
    """Chat and text completions, embeddings, responses, conversations, images; by the longest suffix of the path."""

    type: ClassVar[str] = "openai-parser"


@dataclass(slots=True, frozen=True)
class AnthropicParser(Parser):
    """Messages and their token counts."""

    type: ClassVar[str] = "anthropic-parser"


@dataclass(slots=True, frozen=True)
class VllmHttpParser(Parser):
    """vLLM's own `inference/v1/generate`."""

    type: ClassVar[str] = "vllmhttp-parser"


@dataclass(slots=True, frozen=True)
class PassthroughParser(Parser):
    """Any other body goes on unread; without it, what no other parser knows is refused with 400."""

    type: ClassVar[str] = "passthrough-parser"


@dataclass(slots=True, frozen=True)
class AgentIdentity(Setting):
    """The fairness id of a request that names none: the first of the headers that coding agents name a session by."""

    type: ClassVar[str] = "agent-identity"
    stage: ClassVar[Stage] = "alpha"
    differs: ClassVar[str] = "It counts only with `--tenant-from=header`, where a client's word is taken anyway."
    additional_session_headers: tuple[str, ...] = ()

    @property
    def headers(self) -> tuple[str, ...]:
        """Where the id is looked for, in this order."""
        return (*_AGENT_HEADERS, *(name.lower() for name in self.additional_session_headers))


_AGENT_HEADERS = ("x-claude-code-session-id", "x-session-affinity", "session-id", "session_id")
