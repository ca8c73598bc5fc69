"""How many tokens a prompt has. An estimate by its bytes is always there; the plugin exists so that files load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from epp.domain import Endpoint
from epp.scheduling.framework import Producer, Query

_TOKENIZER = (
    "prompts are not sent to a tokenizer beside the picker: leave `{}` out, and prompts are estimated at 4 bytes a"
    " token and compared byte by byte, which matches prefixes as well"
)


@dataclass(slots=True)
class TokenProducer(Producer):
    """`bytes / 4` for text, exact for token ids, 1280 for an image (llm-d `token-producer`, its estimate)."""

    type: ClassVar[str] = "token-producer"
    differs: ClassVar[str] = "Every request has the estimate, also without the plugin. There is no other mode."
    hints: ClassVar[Mapping[str, str]] = {name: _TOKENIZER.format(name) for name in ("vllm", "udsTokenizerConfig")}
    model_name: str = ""

    def produce(self, query: Query, endpoints: Sequence[Endpoint]) -> None:
        """The request was estimated when it was read."""
