"""What the first stream of a request tells the second, in a header that only we can have written.

    x-onehop-decision: BASE64URL(JSON) "." BASE64URL(HMAC-SHA256(key, BASE64URL(JSON)))

Must stay true: what does not verify or is too old counts as nothing, and what was said of another request (id, path,
body as it goes on) decides nothing about this one. Times are wall-clock seconds, as the streams may be of two
processes.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from hashlib import sha256

import msgspec

from epp.domain import Candidate, Choice, Classification
from epp.protocol.headers import DECISION
from epp.protocol.paths import path_of

LIFETIME_S = 60.0  # the second filter asks at once; only a queue between them takes time
CLOCKS_APART_S = 60.0  # a signer that is ahead; one that is behind has LIFETIME_S. Beyond, every request is refused
KEY_BYTES_MIN = 32
HEADER_BYTES_MAX = 4096


class Decision(msgspec.Struct, frozen=True, array_like=True):
    """The first stream's decision. `about` is the digest of the request it was made about."""

    until: float
    about: str
    receipt: str
    asked: str | None
    model: str | None
    decision: str | None
    category: str | None
    confidence: float | None
    classification: Classification

    def choice(self) -> Choice:
        """As the second stream's choice."""
        reason = f"chosen by the first stream, receipt {self.receipt}"
        return Choice(
            (Candidate(self.model),), self.decision, self.category, self.confidence, self.classification, reason
        )


_DECODER = msgspec.json.Decoder(Decision)


class Signer:
    """Signs with the first key and verifies with any, so that a key can be changed while both are in use."""

    def __init__(self, *keys: bytes) -> None:
        short = min(map(len, keys), default=0)
        if short < KEY_BYTES_MIN:
            raise ValueError(f"a key has {short} bytes, it needs at least {KEY_BYTES_MIN}")
        self._keys = keys

    @classmethod
    def of(cls, content: bytes) -> Signer:
        """Of a file's content: text is one key a line, anything else is one key. Raises ValueError."""
        lines = [line.strip() for line in content.split(b"\n")] if content.isascii() else [content]
        return cls(*filter(None, lines))

    def sign(self, decision: Decision) -> str:
        """The header's value."""
        payload = urlsafe_b64encode(msgspec.json.encode(decision))
        return f"{payload.decode()}.{_mac(self._keys[0], payload).decode()}"

    def verify(self, headers: Mapping[str, str], now: float) -> Decision | None:
        """The decision among the headers, if there is one that we made not long ago; about which request it says."""
        payload, dot, mac = headers.get(DECISION, "").encode("ascii", "replace").partition(b".")
        if not dot or len(payload) > HEADER_BYTES_MAX:
            return None
        if not any(hmac.compare_digest(mac, _mac(key, payload)) for key in self._keys):
            return None
        try:
            decision = _DECODER.decode(urlsafe_b64decode(payload))
        except (ValueError, msgspec.MsgspecError):
            return None
        return decision if now < decision.until <= now + LIFETIME_S + CLOCKS_APART_S else None


def _mac(key: bytes, payload: bytes) -> bytes:
    return urlsafe_b64encode(hmac.digest(key, payload, "sha256"))


def about(request_id: str, headers: Mapping[str, str], body: bytes) -> str:
    """The digest of one request: its id, its path, its body as it goes on."""
    digest = sha256(body)
    for part in (request_id, path_of(headers)):
        digest.update(b"\0" + part.encode("utf-8", "replace"))
    return digest.hexdigest()[:32]
