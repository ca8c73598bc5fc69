"""What a response tells as it passes, and the client's own model name put back where that is asked for.

Nothing is held back but what `restore.py` must; every piece goes on in the call that brought it. A defect in reading
along costs what would have been read, never the answer.
"""

from __future__ import annotations

from dataclasses import replace

from epp.domain import Usage
from epp.protocol.media import legible
from epp.protocol.messages import Body, Event, Headers, Side
from epp.protocol.restore import ModelRestorer
from epp.protocol.usage import UsageReader

_STREAM = "text/event-stream"


class AnswerReader:
    """Give it the response's events in order; it gives back what the exchange should see instead.

    `served` and `asked` are the model's two names, None where nothing is to be put back. `bytes_seen` is the size of
    the answer's body as the server sent it, None where no body was shown; `is_stream` says that its headers called it
    one; `restorer`, known once these were seen, changes its bytes, and where it is None nothing does; `defect` is what
    went wrong in reading it.
    """

    def __init__(self, served: str | None = None, asked: str | None = None) -> None:
        self.bytes_seen: int | None = None
        self.defect: Exception | None = None
        self.is_stream = False
        self._names = (served, asked)
        self._reader: UsageReader | None = None
        self._legible = False
        self.restorer: ModelRestorer | None = None

    def see(self, event: Event) -> list[Event]:
        """The event, or what it becomes: restored bytes, and what was held back before the trailers."""
        if type(event) is Body:  # first, as the most
            self.note(event.data)
            if self.restorer is not None:
                event = replace(event, data=self.restorer.feed(event.data, end=event.end))
        elif type(event) is Headers:
            self._begin(event)
        elif self.restorer is not None:
            return [Body(Side.RESPONSE, self.restorer.feed(b"", end=True), False), event]
        return [event]

    def note(self, data: bytes) -> None:
        """The bytes of a piece, by themselves."""
        if self.bytes_seen is None:
            self.bytes_seen = len(data)
            self._reader = UsageReader() if self._legible else None
        else:
            self.bytes_seen += len(data)
        if self._reader is not None:
            try:
                self._reader.feed(data)
            except Exception as defect:
                self.defect, self._reader = defect, None

    def end(self) -> Usage | None:
        """Nothing follows: what the answer said it took, if it was readable and said so."""
        if self._reader is not None:
            try:
                return self._reader.end()
            except Exception as defect:
                self.defect = defect
        return None

    def _begin(self, event: Headers) -> None:
        self.is_stream = _STREAM in event.headers.get("content-type", "").lower()
        self._legible = legible(event.headers)
        if not self._legible:
            return
        served, asked = self._names
        if served is not None and asked is not None and served != asked:
            self.restorer = ModelRestorer(served, asked)
