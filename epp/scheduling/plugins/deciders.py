"""Whether a stage of a request is worth an endpoint of its own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from epp.domain import Endpoint
from epp.scheduling.framework import Query
from epp.scheduling.handlers import Decider

# A content part's type; the same words in a text have their quotes escaped, so they do not match.
_MEDIA = re.compile(rb'"type"\s*:\s*"(?:image|image_url|input_image|audio_url|input_audio|video|video_url)"')


@dataclass(slots=True)
class AlwaysDisaggPdDecider(Decider):
    """Prefill is always done apart (llm-d)."""

    type: ClassVar[str] = "always-disagg-pd-decider"

    def apart(self, query: Query, decode: Endpoint | None) -> bool:
        """Yes."""
        return True


@dataclass(slots=True)
class PrefixBasedPdDecider(Decider):
    """Prefill is done apart where the decoding endpoint would have to compute `nonCachedTokens` or more itself.

    The prompt must also have `promptTokens` or more. 0 `nonCachedTokens`: never (llm-d).
    """

    type: ClassVar[str] = "prefix-based-pd-decider"
    needs: ClassVar[tuple[str, ...]] = ("prefix",)
    non_cached_tokens: int = 0
    prompt_tokens: int = 0
    prefix_match_info_producer_name: str = ""

    def __post_init__(self) -> None:
        for name in ("non_cached_tokens", "prompt_tokens"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative")

    def apart(self, query: Query, decode: Endpoint | None) -> bool:
        """By the prompt's estimated tokens."""
        least, prompt = self.non_cached_tokens, query.request.prompt_tokens
        if not least or prompt < least or prompt < self.prompt_tokens:
            return False
        cached = 0 if decode is None else query.cached.get(decode, 0)
        return prompt - cached >= least


@dataclass(slots=True)
class AlwaysDisaggMultimodalDecider(Decider):
    """Images, audio and video are always encoded apart, text never (llm-d)."""

    type: ClassVar[str] = "always-disagg-multimodal-decider"

    def apart(self, query: Query, decode: Endpoint | None) -> bool:
        """Whether the prompt has a part that is no text."""
        return _MEDIA.search(query.request.prompt) is not None
