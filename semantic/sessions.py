"""What was decided earlier in a conversation, so that a follow-up stays and an unclear turn has a prior.

A conversation is known by the name its client gives it, or by what the user has said so far: of words only a digest is
kept. Bounded, and per process: where nothing is known, nothing is assumed.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

from semantic.asked import Asked

ENTRIES_MAX = 8192
SESSION_LENGTH_MAX = 256
Key = bytes


@dataclass(frozen=True, slots=True)
class Keys:
    """What a conversation is known by: the turns before the last, all turns, the session's name; None where none is.

    Never the same across tenants or aliases.
    """

    before: Key | None = None
    same: Key | None = None
    session: Key | None = None

    @classmethod
    def of(cls, asked: Asked) -> "Keys":
        """All three in one pass over what was said."""
        said = asked.said
        if not said:
            return cls()
        digest = blake2b(digest_size=16)
        for part in (asked.tenant, asked.model or "", (asked.session or "")[:SESSION_LENGTH_MAX]):
            _feed(digest, part)
        session = digest.digest() if asked.session else None
        for turn in said[:-1]:
            _feed(digest, turn)
        before = digest.digest() if len(said) > 1 else None
        _feed(digest, said[-1])
        return cls(before, digest.digest(), session)


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

    def before(self, keys: Keys) -> Remembered | None:
        """What is remembered of the turns before the user's last one."""
        return self._find(keys.before) or self._find(keys.session)

    def same(self, keys: Keys) -> Remembered | None:
        """What is remembered of these very turns: a tool has answered since, the user has said nothing new."""
        return self._find(keys.same)

    def note(self, keys: Keys, what: Remembered) -> None:
        """After a decision."""
        for key in (keys.same, keys.session):
            if key is None:
                continue
            self._entries[key] = what
            self._entries.move_to_end(key)
            if len(self._entries) > self.entries_max:
                self._entries.popitem(last=False)

    def _find(self, key: Key | None) -> Remembered | None:
        found = None if key is None else self._entries.get(key)
        if key is not None and found is not None:
            self._entries.move_to_end(key)
        return found


def _feed(digest: blake2b, part: str) -> None:
    raw = part.encode(errors="surrogatepass")
    digest.update(len(raw).to_bytes(8, "big") + raw)
