"""A model of the user's own, as the configuration names it. Values only."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Pooling = Literal["max", "mean"]


@dataclass(frozen=True, slots=True)
class OwnModel:
    """`folder` as written, relative to the configuration's own folder; `path` is where the configuration says so.

    `labels` replaces the names in the folder's config.json, in the order of the model's outputs. `pooling` is how the
    windows of a long text become one answer.
    """

    name: str
    folder: str
    path: str
    labels: tuple[str, ...] = ()
    cpu: bool = True
    pooling: Pooling = "max"


@dataclass(frozen=True, slots=True)
class Unusable:
    """Why a folder is no model: `there` says that it exists at all."""

    message: str
    there: bool


Examine = Callable[[str], Unusable | None]


def unexamined(folder: str) -> Unusable | None:
    """For a configuration that is not on a disk: no folder can be looked at, so none is there."""
    return Unusable(f"the folder {folder!r} is not there", there=False)
