"""What was decided earlier in a conversation, so that a follow-up stays and an unclear turn has a prior.

A conversation is known by the name its client gives it, or by what the user has said so far: of words only a digest is
kept. Bounded, and per process: where nothing is known, nothing is assumed.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

from semantic.asked import Asked

ENTRIES_MAX = 8192
SESSION_LENGTH_MAX = 256
Key = bytes


@dataclass(frozen=True, slots=True)
class Remembered:
    """What the last turn led to. `probabilities` are those of its category; empty where it had none."""

    models: tuple[str, ...]
    decision: str | None = None
    category: str | None = None
    confidence: float | None = None
    probabilities: Mapping[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Sessions:
    """The oldest unused conversation is forgotten first."""

    entries_max: int = ENTRIES_MAX
    _entries: OrderedDict[Key, Remembered] = field(default_factory=OrderedDict)

    def before(self, asked: Asked) -> Remembered | None:
        """What is remembered of the turns before the user's last one."""
        said = asked.said
        found = self._find(_key(asked, said[:-1])) if len(said) > 1 else None
        return found or (self._find(_key(asked, [])) if asked.session else None)

    def same(self, asked: Asked) -> Remembered | None:
        """What is remembered of these very turns: a tool has answered since, the user has said nothing new."""
        return self._find(_key(asked, asked.said)) if asked.said else None

    def note(self, asked: Asked, what: Remembered) -> None:
        """After a decision."""
        if not asked.said:
            return
        for key in {_key(asked, asked.said), *([_key(asked, [])] if asked.session else [])}:
            self._entries[key] = what
            self._entries.move_to_end(key)
            if len(self._entries) > self.entries_max:
                self._entries.popitem(last=False)

    def _find(self, key: Key) -> Remembered | None:
        found = self._entries.get(key)
        if found is not None:
            self._entries.move_to_end(key)
        return found


def _key(asked: Asked, said: Sequence[str]) -> Key:
    """By the session's name, if it has one, and what was said; never across tenants or aliases."""
    digest = blake2b(digest_size=16)
    parts = (asked.tenant, asked.model or "", (asked.session or "")[:SESSION_LENGTH_MAX])
    for part in (*parts, *said):
        raw = part.encode(errors="surrogatepass")
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return digest.digest()
