"""What a container is started with: its words, its flags, its ports."""

from __future__ import annotations

import re
import shlex

from epp.doctor.cluster import Workload
from epp.doctor.tree import Object, at, number, objects, pairs, text, texts

BOOLEANS = {"secure-serving", "ha-enable-leader-election", "events", "enable-cert-reload", "tracing"}
TRUTHS = {"1", "t", "true", "0", "f", "false"}
_VARIABLE = re.compile(r"\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)")
_SHELLS = {"sh", "bash", "ash", "dash"}


def arguments(container: Object, namespace: str = "") -> list[str]:
    """What the container is started with; a shell's command line is taken apart."""
    known = environment(container, namespace)
    words = [
        _VARIABLE.sub(lambda found: known.get(found[1], found[0]), word)
        for word in (*texts(container, "command"), *texts(container, "args"))
    ]
    if words and words[0].rpartition("/")[2] in _SHELLS:
        return [part for word in words if not word.startswith("-") for part in _split(word)]
    return words


def parse(words: list[str]) -> dict[str, tuple[str, ...]]:
    """`--flag value`, `--flag=value` and `-flag` in Go's manner, in the order they are given."""
    found: dict[str, tuple[str, ...]] = {}
    for position, word in enumerate(words):
        if not word.startswith("-") or not word.strip("-"):
            continue
        flag, equals, value = word.lstrip("-").partition("=")
        follows = words[position + 1] if position + 1 < len(words) else "-"
        takes_next = not follows.startswith("-") and (flag not in BOOLEANS or follows.lower() in TRUTHS)
        if not equals:
            value = follows if takes_next else "true"
        found[flag] = (*found.get(flag, ()), value)
    return found


def environment(container: Object, namespace: str) -> dict[str, str]:
    """The variables whose values can be known."""
    found = pairs({text(each, "name"): at(each, "value") for each in objects(container, "env")})
    for each in objects(container, "env"):
        if text(each, "valueFrom", "fieldRef", "fieldPath") == "metadata.namespace":
            found[text(each, "name")] = namespace
    return found


def container_ports(workload: Workload) -> dict[str, int]:
    """The ports that its containers declare, by name; those without a name by their number."""
    found = {}
    for container in workload.containers:
        for port in objects(container, "ports"):
            declared = number(port, "containerPort")
            if declared is not None:
                found[text(port, "name") or str(declared)] = declared
    return found


def _split(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:
        return line.split()
