"""What a check says: a finding for each thing that is wrong or was not to be seen, nothing where all is well."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

from epp.doctor.cluster import Cluster


class Level(Enum):
    """How bad it is; a check is as bad as its worst finding."""

    OK = "ok"
    NOT_CHECKED = "not checked"
    WARNING = "warning"
    PROBLEM = "problem"


SEVERITY = {level: number for number, level in enumerate(Level)}


class NotChecked(Exception):
    """There is nothing to look at, or not enough to judge; the text says why."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What happens because of which object, and what to do about it; a sentence each."""

    level: Level
    subject: str
    what: str
    do: str


@dataclass(frozen=True, slots=True)
class Check:
    """A known trap. `needs` are the kinds without which it cannot tell."""

    name: str
    title: str
    needs: tuple[str, ...]
    look: Callable[[Cluster], Iterable[Finding]]


@dataclass(frozen=True, slots=True)
class Result:
    """What a check found; `reason` says why it was not made."""

    check: Check
    level: Level
    findings: tuple[Finding, ...] = ()
    reason: str = ""


def problem(subject: str, what: str, do: str) -> Finding:
    """Requests fail or go where they should not."""
    return Finding(Level.PROBLEM, subject, what, do)


def warning(subject: str, what: str, do: str) -> Finding:
    """Something does not do what it says, or will break under load."""
    return Finding(Level.WARNING, subject, what, do)


def note(subject: str, what: str, do: str) -> Finding:
    """All is well, and this is how far."""
    return Finding(Level.OK, subject, what, do)


def unknown(subject: str, why: str, do: str) -> Finding:
    """This one could not be judged."""
    return Finding(Level.NOT_CHECKED, subject, why, do)


def missing(
    cluster: Cluster, subject: str, what: str, do: str, *, where: tuple[str, str], files_have_others: bool
) -> Finding:
    """Something that is named and not there: a mistake in a cluster, in files perhaps only somebody else's part.

    `where` are the kind and namespace that should have it.
    """
    if where in cluster.hidden:
        return unknown(subject, f"it needs a {where[0]} in {where[1]}, which may not be read.", do)
    level = Level.PROBLEM if cluster.live else Level.WARNING if files_have_others else Level.NOT_CHECKED
    return Finding(level, subject, what, do)


def examine(cluster: Cluster, checks: Iterable[Check]) -> Iterator[Result]:
    """The result of every check."""
    for check in checks:
        yield _result(check, cluster)


def _result(check: Check, cluster: Cluster) -> Result:
    missing = [f"{kind}: {cluster.unread[kind]}" for kind in check.needs if kind in cluster.unread]
    if missing:
        return Result(check, Level.NOT_CHECKED, reason="; ".join(missing))
    try:
        findings = tuple(dict.fromkeys(check.look(cluster)))
    except NotChecked as reason:
        return Result(check, Level.NOT_CHECKED, reason=str(reason))
    worst = max((finding.level for finding in findings), key=SEVERITY.__getitem__, default=Level.OK)
    return Result(check, worst, findings)
