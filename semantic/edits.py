"""Changes of a request as values: what follows from a decision, said without touching a byte."""

from dataclasses import dataclass
from typing import Literal

Step = str | int
Mode = Literal["set", "insert", "prefix", "remove"]


@dataclass(frozen=True, slots=True)
class Edit:
    """One change of the request's JSON body.

    `path` leads from the top by names and places. `set` replaces the value there or adds the member, with the objects
    around it; `insert` puts an element before that place of an array; `prefix` puts the inside of a JSON string at the
    start of the string there; `remove` takes the member or element out. `value` is JSON.
    """

    mode: Mode
    path: tuple[Step, ...]
    value: bytes = b""


@dataclass(frozen=True, slots=True)
class HeaderEdit:
    """One request header for the model server: set, or removed where `value` is None. Names are lower case."""

    name: str
    value: str | None
