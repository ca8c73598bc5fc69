"""From older vSR layouts to v0.3: the converted document, what carries over, what does not, and what that changes.

Two layouts are known: the flat one before v0.3 (`model_config`, `categories`, `decisions`), and the one before that,
whose categories score models themselves (`categories[].model_scores`, no decisions). Pure: a text in, values out.
Nothing is dropped in silence: every key of the file is either carried, or named with what its absence changes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from semantic.config import HELM_WRAPPERS, OLDER_KEYS, VERSION
from semantic.reading import ConfigError, parse_yaml

LOST: Mapping[str, str] = {
    "semantic_cache": "answers are not cached: repeated questions cost as much as new ones",
    "tools": "tools are not chosen for the client: the model sees those that the request brings, and no others",
    "bert_model": "the embedding model of vSR is not loaded; the shipped encoder makes all embeddings",
    "embedding_models": "the embedding models of vSR are not loaded; the shipped encoder makes all embeddings",
    "router": "the choice between two classifiers by latency and batch size falls away: there is one, with a deadline",
    "api": "the limits of the classification API are OneHop's own",
    "observability": "tracing and metrics are set by OneHop's flags; no trace is exported because this file says so",
    "model_selection": "models are chosen by weight or by several factors, not by a trained selector",
    "response_api": "responses are not stored; a request that goes on with an earlier one is for the model server",
    "router_replay": "decisions are in OneHop's receipts; requests and answers are not recorded",
    "memory": "nothing is remembered of a user between conversations",
    "vector_stores": "no documents are looked up",
    "vllm_endpoints": "where models run is what the InferencePools say; addresses in the file have no effect",
}
"""Blocks of the older layouts without a counterpart, and what changes without them."""
LOST_PLUGINS: Mapping[str, str] = {
    "semantic-cache": "answers of this decision are not cached",
    "response_cache": "answers of this decision are not cached",
    "hallucination": "answers are not looked through for hallucinations",
    "memory": "nothing is remembered of a user between conversations",
    "rag": "no documents are looked up",
    "router_replay": "requests and answers are not recorded; receipts say what was decided",
    "image_gen": "no image is made by the router itself",
    "tools": "tools are not chosen for the client",
    "tool_selection": "tools are not chosen for the client",
}
KEPT_PLUGINS = ("system_prompt", "fast_response", "header_mutation", "request_params")
RULES: Mapping[str, str] = {
    "keyword_rules": "keywords",
    "embedding_rules": "embeddings",
    "context_rules": "context",
    "language_rules": "language",
    "fact_check_rules": "fact_check",
    "user_feedback_rules": "user_feedbacks",
    "preference_rules": "preferences",
    "complexity_rules": "complexity",
    "jailbreak_rules": "jailbreak",
    "pii_rules": "pii",
}
"""Lists of the flat layout and the signals they become."""
THRESHOLD = "is not carried: the shipped model is another one, with a calibrated threshold of its own"
GUARD, POLICY = "prompt_guard", "pii_policy"
REFUSAL = "This request holds personal data that is not allowed here."


@dataclass(slots=True)
class Migration:
    """The new document, and what became of the old one: lines of `path: what`, in the file's order."""

    document: dict[str, Any] = field(default_factory=dict)
    carried: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    def carry(self, path: str, where: str) -> None:
        """Something has a new place."""
        self.carried.append(f"{path} -> {where}")

    def lose(self, path: str, changes: str) -> None:
        """Something has none."""
        self.lost.append(f"{path}: {changes}")


def migrate(text: str) -> Migration:
    """Raises ConfigError for what is no older layout: a v0.3 file, or no configuration at all."""
    document = parse_yaml(text)
    out = Migration()
    old, prefix = _unwrapped(document, out)
    if old.get("version"):
        raise ConfigError(f"{prefix}version", f"is {old['version']!r}: there is nothing to convert")
    if not OLDER_KEYS & set(old):
        raise ConfigError("the file", f"is no configuration of vSR from before {VERSION}")
    return _Converter(old, prefix, out).run()


class _Converter:
    """Takes the old document apart key by key; what is left at the end is reported."""

    def __init__(self, old: dict[str, Any], prefix: str, out: Migration) -> None:
        self._old = dict(old)
        self._prefix = prefix
        self._out = out
        self._signals: dict[str, list[dict[str, Any]]] = {}
        self._guards: list[dict[str, Any]] = []

    def run(self) -> Migration:
        out = self._out
        providers, cards = self._models()
        self._categories_as_domains()
        for key, kind in RULES.items():
            self._rules(key, kind)
        decisions = self._decisions()
        self._prompt_guard()
        self._classifier()
        routing: dict[str, Any] = {"modelCards": cards}
        if (strategy := self._take("strategy", "routing.strategy")) is not None:
            routing["strategy"] = strategy
        routing["signals"] = {kind: rules for kind, rules in self._signals.items() if rules}
        routing["decisions"] = decisions
        out.document = {"version": VERSION, "listeners": [], "providers": providers, "routing": routing}
        if self._guards:
            out.document["onehop"] = {"guards": self._guards}
        self._auto_name()
        for key in list(self._old):
            out.lose(self._at(key), LOST.get(key, "is not known to OneHop and has no effect"))
        return out

    def _at(self, key: str) -> str:
        return f"{self._prefix}{key}"

    def _take(self, key: str, where: str) -> Any:
        """A value out of the old document, noted as carried where it is there."""
        value = self._old.pop(key, None)
        if value is not None:
            self._out.carry(self._at(key), where)
        return value

    def _models(self) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        defaults: dict[str, Any] = {"default_model": self._take("default_model", "providers.defaults.default_model")}
        for key in ("reasoning_families", "default_reasoning_effort"):
            if (value := self._take(key, f"providers.defaults.{key}")) is not None:
                defaults[key] = value
        models, cards = [], []
        configured = _mapping(self._old.pop("model_config", None))
        for name, raw in configured.items():
            model, card = self._model(name, dict(_mapping(raw)))
            models.append(model)
            cards.append(card)
        if configured:
            self._out.carry(self._at("model_config"), "providers.models and routing.modelCards")
        named = {card["name"] for card in cards}
        for name in dict.fromkeys([defaults["default_model"], *self._scored()]):
            if name and name not in named:
                cards.append({"name": name})
        return {"defaults": defaults, "models": models}, cards

    def _model(self, name: str, raw: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        path = f"{self._at('model_config')}.{name}"
        model: dict[str, Any] = {"name": name}
        card: dict[str, Any] = {"name": name}
        for key in ("reasoning_family", "pricing", "external_model_ids"):
            if key in raw:
                model[key] = raw.pop(key)
        for key in ("loras", "param_size", "context_window_size", "description", "capabilities", "quality_score"):
            if key in raw:
                card[key] = raw.pop(key)
        if "preferred_endpoints" in raw:
            raw.pop("preferred_endpoints")
            self._out.lose(f"{path}.preferred_endpoints", LOST["vllm_endpoints"])
        if "pii_policy" in raw:
            self._pii_policy(f"{path}.pii_policy", _mapping(raw.pop("pii_policy")))
        for key in raw:
            self._out.lose(f"{path}.{key}", "is not known to OneHop and has no effect")
        return model, card

    def _scored(self) -> list[str]:
        """The models that categories of the oldest layout name."""
        return [
            str(_mapping(score).get("model"))
            for category in _list(self._old.get("categories"))
            for score in _list(_mapping(category).get("model_scores"))
        ]

    def _categories_as_domains(self) -> None:
        domains = []
        for category in _list(self._old.get("categories")):
            entry = _mapping(category)
            domains.append({key: entry[key] for key in ("name", "description", "mmlu_categories") if key in entry})
        if domains:
            self._out.carry(self._at("categories"), "routing.signals.domains")
            self._signals["domains"] = domains

    def _rules(self, key: str, kind: str) -> None:
        rules = []
        for raw in _list(self._old.pop(key, None)):
            rule = dict(_mapping(raw))
            if "category" in rule:
                rule["name"] = rule.pop("category")
            if kind == "embeddings" and "keywords" in rule:
                rule["candidates"] = rule.pop("keywords")
            if "aggregation_method_config" in rule:
                rule.pop("aggregation_method_config")
            rules.append(rule)
        if rules:
            self._out.carry(self._at(key), f"routing.signals.{kind}")
            self._signals[kind] = rules

    def _decisions(self) -> list[dict[str, Any]]:
        categories = _list(self._old.pop("categories", None))
        if "decisions" not in self._old:
            return [self._of_category(n, dict(_mapping(raw))) for n, raw in enumerate(categories)]
        for n, category in enumerate(categories):
            for key in _mapping(category).keys() - {"name", "description", "mmlu_categories"}:
                self._out.lose(f"{self._at('categories')}[{n}].{key}", "decisions say this since, and theirs counts")
        raws = [dict(_mapping(raw)) for raw in _list(self._old.pop("decisions"))]
        self._out.carry(self._at("decisions"), "routing.decisions")
        allowed = [self._allowed(raw) for raw in raws]
        lists = {tuple(sorted(one)) for one in allowed if one is not None}
        same = len(lists) == 1 and None not in allowed
        if same:
            self._pii_guard(next(iter(lists)), f"{self._at('decisions')}[].plugins (pii)")
        decisions = []
        for n, raw in enumerate(raws):
            decision = self._decision(n, raw)
            types = allowed[n]
            if types is not None and not same:
                # Twice the priority leaves room for each refusal just above its own decision.
                decision["priority"] = 2 * int(decision.get("priority", 0))
                decisions.append(self._refusing(decision, types, n))
            elif lists and not same:
                decision["priority"] = 2 * int(decision.get("priority", 0))
            decisions.append(decision)
        return decisions

    def _decision(self, n: int, raw: dict[str, Any]) -> dict[str, Any]:
        path = f"{self._at('decisions')}[{n}]"
        if "rules" in raw:
            raw["rules"] = _renamed(raw["rules"])
        plugins = []
        for m, plugin in enumerate(_list(raw.pop("plugins", None))):
            kept = self._plugin(f"{path}.plugins[{m}]", dict(_mapping(plugin)))
            if kept is not None:
                plugins.append(kept)
        if plugins:
            raw["plugins"] = plugins
        return raw

    def _plugin(self, path: str, plugin: dict[str, Any]) -> dict[str, Any] | None:
        kind = str(plugin.get("type"))
        settings = _mapping(plugin.get("configuration"))
        if kind in KEPT_PLUGINS or not settings.get("enabled", True):
            return plugin if kind not in ("pii", "jailbreak", "semantic-cache") else None
        if kind == "pii":
            return None  # read as a policy
        if kind == "jailbreak":
            self._out.lose(path, "the guard is one for all requests: a decision cannot have one of its own")
            return None
        self._out.lose(f"{path} ({kind})", LOST_PLUGINS.get(kind, "is not known to OneHop and has no effect"))
        return None

    def _allowed(self, raw: Mapping[str, Any]) -> list[str] | None:
        """The personal data that a decision's policy allows; None without a policy."""
        for plugin in _list(raw.get("plugins")):
            settings = _mapping(_mapping(plugin).get("configuration"))
            if _mapping(plugin).get("type") == "pii" and settings.get("enabled", True):
                return [str(one) for one in _list(settings.get("pii_types_allowed"))]
        return None

    def _pii_guard(self, allowed: tuple[str, ...], path: str) -> None:
        if any(guard["name"] == POLICY for guard in self._guards):
            self._out.lose(path, "a second policy on personal data; the first one counts for all requests")
            return
        self._signals.setdefault("pii", []).append({"name": POLICY, "pii_types_allowed": list(allowed)})
        self._guards.append({"type": "pii", "name": POLICY, "action": "block"})
        self._out.carry(
            path, f"routing.signals.pii ({POLICY}) and onehop.guards, which now refuses explicit models, too"
        )

    def _pii_policy(self, path: str, policy: Mapping[str, Any]) -> None:
        """Of a model, in the oldest layout."""
        if policy.get("allow_by_default", True):
            self._out.carry(path, "nothing: it allows everything")
            return
        self._pii_guard(tuple(str(one) for one in _list(policy.get("pii_types_allowed"))), path)

    def _refusing(self, decision: Mapping[str, Any], allowed: list[str], n: int) -> dict[str, Any]:
        """A decision's policy on personal data as v0.3 says it: one just above it that answers instead of a model."""
        name = f"{decision.get('name')}_pii"
        self._signals.setdefault("pii", []).append({"name": name, "pii_types_allowed": allowed})
        conditions = [{"type": "pii", "name": name}]
        rules = decision.get("rules")
        both = {"operator": "AND", "conditions": [rules, *conditions]} if rules else conditions[0]
        path = f"{self._at('decisions')}[{n}].plugins (pii)"
        self._out.carry(path, f"routing.signals.pii and the decision {name}, which answers in the model's place")
        return {
            "name": name,
            "priority": int(decision.get("priority", 0)) + 1,
            "rules": both,
            "plugins": [{"type": "fast_response", "configuration": {"message": REFUSAL}}],
        }

    def _of_category(self, n: int, category: dict[str, Any]) -> dict[str, Any]:
        """The oldest layout: a category scores models, and the best one answers."""
        path = f"{self._at('categories')}[{n}]"
        name = category.pop("name", "")
        scores = [dict(_mapping(raw)) for raw in _list(category.pop("model_scores", None))]
        refs = []
        for score in sorted(scores, key=lambda one: -float(one.get("score", 0))):
            ref = {"model": score.pop("model", None), "weight": score.pop("score", 1.0)}
            kept = ("use_reasoning", "reasoning_effort", "reasoning_description", "lora_name")
            refs.append(ref | {key: score[key] for key in kept if key in score})
        plugins = []
        if prompt := category.pop("system_prompt", None):
            mode = category.pop("system_prompt_mode", "replace")
            on = category.pop("system_prompt_enabled", True)
            settings = {"enabled": on, "system_prompt": prompt, "mode": mode}
            plugins.append({"type": "system_prompt", "configuration": settings})
        for key in ("use_reasoning", "reasoning_effort"):
            if (value := category.pop(key, None)) is not None:
                for ref in refs:
                    ref.setdefault(key, value)
        self._out.carry(path, f"routing.decisions ({name}_decision)")
        for key in category.keys() - {"description", "mmlu_categories"}:
            why = "answers are not cached" if "cache" in key else "is not known to OneHop and has no effect"
            if key == "jailbreak_enabled":
                why = "the guard is one for all requests: a category cannot have one of its own"
            self._out.lose(f"{path}.{key}", why)
        rule = {"operator": "OR", "conditions": [{"type": "domain", "name": name}]}
        decision = {"name": f"{name}_decision", "priority": 10, "rules": rule, "modelRefs": refs}
        return decision | ({"plugins": plugins} if plugins else {})

    def _prompt_guard(self) -> None:
        guard = _mapping(self._old.pop("prompt_guard", None))
        path = self._at("prompt_guard")
        if not guard:
            return
        if not guard.get("enabled", False):
            self._out.carry(path, "nothing: it is switched off")
            return
        self._signals.setdefault("jailbreak", []).append({"name": GUARD})
        self._guards.append({"type": "jailbreak", "name": GUARD, "action": "block"})
        where = f"routing.signals.jailbreak ({GUARD}) and onehop.guards, which now refuses explicit models, too"
        self._out.carry(path, where)
        if "threshold" in guard:
            self._out.lose(f"{path}.threshold", THRESHOLD)
        if "model_id" in guard:
            self._out.lose(f"{path}.model_id", "the shipped safety model is used")

    def _classifier(self) -> None:
        classifier = _mapping(self._old.pop("classifier", None))
        for key, raw in classifier.items():
            path = f"{self._at('classifier')}.{key}"
            model = _mapping(raw)
            if key in ("category_model", "pii_model"):
                self._out.lose(f"{path}.model_id", "the shipped model is used")
                if "threshold" in model:
                    self._out.lose(f"{path}.threshold", THRESHOLD)
            elif model.get("enabled", True):
                self._out.lose(path, "is not known to OneHop and has no effect")

    def _auto_name(self) -> None:
        name = self._take("auto_model_name", "global.router.auto_model_name")
        if name is not None:
            self._out.document["global"] = {"router": {"auto_model_name": name}}


def _unwrapped(document: object, out: Migration) -> tuple[dict[str, Any], str]:
    if not isinstance(document, dict):
        raise ConfigError("the file", "is no mapping")
    for key in HELM_WRAPPERS:
        inner = document.get(key)
        if isinstance(inner, dict) and not OLDER_KEYS & set(document):
            for other in document.keys() - {key}:
                out.lose(str(other), "a value for vSR's chart, not for the router")
            return inner, f"{key}."
    return document, ""


def _renamed(rules: Any) -> Any:
    """Conditions used to name their rule by `rule_name`."""
    if isinstance(rules, list):
        return [_renamed(one) for one in rules]
    if not isinstance(rules, dict):
        return rules
    return {("name" if key == "rule_name" else key): _renamed(value) for key, value in rules.items()}


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
