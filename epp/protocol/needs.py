"""What a request asks of a model besides text: tools, pictures, sound, an answer in JSON, so many tokens.

Must stay true: nothing is decoded here. What is looked for are names as JSON writes them, and those within a text a
client sent are told apart by their escaped quotes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from epp.domain import NO_NEEDS, Needs, Request

DIGITS_MAX = 9
_NOTHING = re.compile(rb"(?:null|\[\s*\])?\Z")
_JSON_FORMAT = re.compile(rb'"type"\s*:\s*"json_(?:object|schema)"')
# The types of content parts of OpenAI (chat, Responses), Anthropic and vLLM; a film is pictures.
_PART = re.compile(
    rb'"type"\s*:\s*"(?:(image_url|input_image|image|image_embeds|video_url|input_video|video)'
    rb'|input_audio|audio_url|audio)"'
)


def needs(limits: Iterable[bytes], tools: Iterable[bytes], tool_choice: bytes, formats: Iterable[bytes]) -> Needs:
    """From the raw values of members, empty where a body has none; a value that no engine would take asks nothing."""
    output = next((int(raw) for raw in limits if raw.isdigit() and len(raw) <= DIGITS_MAX), None)
    calls = tool_choice != b'"none"' and any(not _NOTHING.match(raw) for raw in tools)
    as_json = any(raw and _JSON_FORMAT.search(raw) for raw in formats)
    return Needs(output, calls, as_json) if output is not None or calls or as_json else NO_NEEDS


def media(request: Request) -> tuple[bool, bool]:
    """Whether the prompt has pictures, and sound. It takes a look at every byte, so ask only where it matters.

    The arguments of an earlier tool call, where an API has them as JSON and not as text, can look like a part.
    """
    images = audio = False
    for part in _PART.finditer(request.prompt):
        images, audio = images or part[1] is not None, audio or part[1] is None
        if images and audio:
            break
    return images, audio
