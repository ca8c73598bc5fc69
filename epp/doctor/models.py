"""Whether the pods of a pool answer to the names of models that routes lead to it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from epp.datastore import selectors
from epp.doctor import services
from epp.doctor.arguments import arguments, parse
from epp.doctor.cluster import Cluster, Workload
from epp.doctor.findings import Finding, NotChecked, problem
from epp.doctor.gateways import rules
from epp.doctor.pickers import Picker, pickers
from epp.doctor.pools import members
from epp.doctor.tree import Object, name_of, namespace_of, objects, text

MODEL_HEADER = re.compile(r"x-(?:[a-z-]+-)?model(?:-name)?", re.IGNORECASE)
NAME_FLAGS = ("served-model-name", "served_model_name")
MODEL_FLAGS = ("model", "model-path", "model_path", "model-name", "model_name")
LORA_FLAGS = ("lora-modules", "lora_modules")
RUNTIME_LORA = "VLLM_ALLOW_RUNTIME_LORA_UPDATING"


def pool_models(cluster: Cluster) -> Iterator[Finding]:
    """A route that leads a model's name to a pool finds pods that answer to the name."""
    looked = False
    for rule in rules(cluster):
        for model in sorted(promised(rule.rule)):
            known = [names for pool in rule.pools for names in _names(cluster, pool)]
            if not known or any(_may_load_more(cluster, pool) for pool in rule.pools):
                continue
            looked = True
            if not any(model in names for names in known):
                listed = ", ".join(sorted(set().union(*known)))
                yield problem(
                    rule.title,
                    f"it leads requests for {model} to {', '.join(rule.pools)}, whose pods answer to {listed} only, so"
                    " they answer 404.",
                    f"Serve it under that name too (vLLM: --served-model-name {model} ...), or rewrite it with an"
                    " InferenceModelRewrite.",
                )
    if not looked:
        raise NotChecked("no route names a model by a header, or no pod tells its models by its arguments")


def promised(rule: Object) -> set[str]:
    """The models that a route's rule names by an exact header."""
    return {
        text(header, "value")
        for match in objects(rule, "matches")
        for header in objects(match, "headers")
        if (text(header, "type") or "Exact") == "Exact" and MODEL_HEADER.fullmatch(text(header, "name"))
    } - {""}


def served(workload: Workload) -> set[str]:
    """The names to which a model server answers, by its arguments; empty where these do not tell."""
    found: set[str] = set()
    for container in workload.containers:
        words = arguments(container, workload.namespace)
        named = _after(words, NAME_FLAGS)
        flags = parse(words)
        models = [value for flag in MODEL_FLAGS for value in flags.get(flag, ())]
        if "serve" in words[:-1] and not words[words.index("serve") + 1].startswith("-"):
            models.append(words[words.index("serve") + 1])
        adapters = [word.partition("=")[0] for word in _after(words, LORA_FLAGS) if "=" in word]
        found |= {*(named or models), *adapters, *_simulated(words)}
    return {name for name in found if "$" not in name}


def _names(cluster: Cluster, pool: str) -> Iterator[set[str]]:
    """What each member answers to, where that can be known; a rewrite adds its names to all."""
    namespace, _, name = pool.partition("/")
    found = cluster.find("InferencePool", namespace, name)
    if found is None:
        return
    told = _pickers_of(cluster, found)
    rewritten = _rewritten(cluster, found)
    for member in members(cluster, found):
        names = served(member) | _declared(member, told)
        if names:
            yield names | rewritten


def _may_load_more(cluster: Cluster, pool: str) -> bool:
    """Whether LoRA adapters may come and go, so that arguments do not tell all names."""
    namespace, _, name = pool.partition("/")
    found = cluster.find("InferencePool", namespace, name)
    pods = members(cluster, found) if found is not None else []
    return any(
        "enable-lora" in parse(arguments(container))
        or RUNTIME_LORA in [text(v, "name") for v in objects(container, "env")]
        for member in pods
        for container in member.containers
    )


def _declared(member: Workload, told: list[Picker]) -> set[str]:
    """What OneHop is told of the member's models, by a label or by configuration."""
    found = {member.labels.get(picker.last("model-label"), "") for picker in told if picker.last("model-label")}
    for picker in told:
        for word in picker.flags.get("serves", ()):
            model, _, labels = word.partition("=")
            try:
                fits = bool(labels) and selectors.parse(labels).matches(member.labels)
            except ValueError:
                fits = False
            found |= {model} if fits else set()
    return found - {""}


def _pickers_of(cluster: Cluster, pool: Object) -> list[Picker]:
    ref = services.picker_ref(pool)
    behind = services.resolve(cluster, *ref).workloads if ref is not None else ()
    return [picker for workload in behind for picker in pickers(workload)]


def _rewritten(cluster: Cluster, pool: Object) -> set[str]:
    """The names that an InferenceModelRewrite of the pool turns into others."""
    return {
        text(match, "model", "value")
        for item in cluster.all("InferenceModelRewrite")
        if (namespace_of(item), text(item, "spec", "poolRef", "name")) == (namespace_of(pool), name_of(pool))
        for rule in objects(item, "spec", "rules")
        for match in objects(rule, "matches")
    } - {""}


def _after(words: list[str], flags: tuple[str, ...]) -> list[str]:
    """All words that follow a flag up to the next one: `--served-model-name a b`, `--served-model-name=a`."""
    found: list[str] = []
    taking = False
    for word in words:
        if word.startswith("-"):
            flag, _, value = word.lstrip("-").partition("=")
            taking = flag in flags
            found += [value] if taking and value else []
        elif taking:
            found.append(word)
    return found


def _simulated(words: list[str]) -> set[str]:
    """Of our simulator: `--replica name=..,models=a+b,...`."""
    parts = [part for word in _after(words, ("replica",)) for part in word.split(",")]
    return {name for part in parts if part.startswith("models=") for name in part.removeprefix("models=").split("+")}
