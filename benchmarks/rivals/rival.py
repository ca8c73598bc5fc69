"""What a rival is: a program that proxies to model servers, and how to start it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Place:
    """Where a rival is to stand: before these `HOST:PORT`, which serve `model`, on loopback ports of its own."""

    workers: Sequence[str]
    model: str
    port: int
    metrics_port: int
    folder: Path
    """For the files it needs."""

    @property
    def urls(self) -> list[str]:
        """Of the workers."""
        return [f"http://{worker}" for worker in self.workers]


@dataclass(frozen=True, slots=True)
class Rival:
    """A router of another project. `words` are the arguments of its program at a place, with a policy."""

    name: str
    package: str
    """In the package index; its version is told with every result."""
    program: str
    """In the environment's `bin`."""
    policies: Sequence[str]
    """Those that need nothing but HTTP workers; the first one is its own default."""
    words: Callable[[Place, str], list[str]]
    ready_path: str
    ready: Callable[[str, int], bool]
    """Whether the body of that page says that so many workers are in use."""
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Entry:
    """A rival with one of its policies, from an environment."""

    rival: Rival
    policy: str
    venv: Path

    @property
    def name(self) -> str:
        """What results call it."""
        return f"{self.rival.name}:{self.policy}"

    def command(self, place: Place) -> list[str]:
        """The program and its arguments."""
        variables = [f"{name}={value}" for name, value in self.rival.environment.items()]
        program = str(self.venv / "bin" / self.rival.program)
        return ["env", *variables, program, *self.rival.words(place, self.policy)]  # env becomes the program
