"""Reads the declared signals: one judge for each that can be computed; the others are refused by their path."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import get_args

from semantic.categories import CATEGORIES
from semantic.config_global import FACT_CHECK, FEEDBACK, GlobalSettings, Module, fraction
from semantic.config_names import KINDS, Names
from semantic.instead import instead
from semantic.judges.heads import ATTACKS, Domain, Guard, GuardMethod, Language, OwnClassifier, Personal
from semantic.judges.known import Judge
from semantic.judges.meaning import LEVELS, Aggregation, Complexity, Embedding, Phrases
from semantic.judges.shape import Context, Conversation, Metadata, Source
from semantic.judges.words import Keywords, Method, Operator, is_too_much
from semantic.own.declared import Examine, OwnModel, Pooling
from semantic.reading import Report, Section, nearest
from semantic.rules import Bounds, Truth
from semantic.signals.api import EMBEDDING, LANGUAGE, PII, SAFETY

_TOKENS = re.compile(r"(\d+(?:\.\d+)?)\s*([kKmM]?)\Z")
_TIMES = {"": 1, "k": 1000, "m": 1_000_000}
_SUPPORTED = frozenset(
    {
        *("keywords", "domains", "embeddings", "complexity", "context", "jailbreak", "pii", "language"),
        *("fact_check", "user_feedbacks", "classifiers", "conversation", "metadata"),
    }
)
FACT_LABELS = {"needs_fact_check": "FACT_CHECK_NEEDED", "no_fact_check_needed": "NO_FACT_CHECK_NEEDED"}
FEEDBACK_LABELS = {
    "satisfied": "SAT",
    "need_clarification": "NEED_CLARIFICATION",
    "wrong_answer": "WRONG_ANSWER",
    "want_different": "WANT_DIFFERENT",
}
EMBEDDING_THRESHOLD = 0.5
FACT_THRESHOLD, FEEDBACK_THRESHOLD, LANGUAGE_THRESHOLD = 0.6, 0.7, 0.3
_WITHOUT = "nothing here computes it"


@dataclass(slots=True)
class Given:
    """What signals are checked against: what the shipped models provide, the `global` block, the folders on disk."""

    provides: Mapping[str, tuple[str, ...]]
    settings: GlobalSettings
    examine: Examine
    own: dict[str, OwnModel] = field(default_factory=dict)

    def module(self, name: str) -> Module:
        """A classifier module, unset where the file says nothing."""
        return self.settings.modules.get(name, Module())


def read_signals(signals: Section, names: Names, given: Given) -> None:
    """Fills `names.signals`, and `given.own` with the models that are needed."""
    readers: Mapping[str, Callable[[Section, Given], Judge | None]] = {
        "keyword": _keywords,
        "domain": _domain,
        "embedding": _embedding,
        "complexity": _complexity,
        "context": _context,
        "jailbreak": _jailbreak,
        "pii": _pii,
        "language": _language,
        "fact_check": _fact_check,
        "user_feedback": _feedback,
        "classifier": _classifier,
        "conversation": _conversation,
        "metadata": _metadata,
    }
    for kind, key in KINDS.items():
        named = names.signals.setdefault(kind, {})
        if kind not in readers:
            continue
        for section in signals.sections(key):
            name = section.required("name")
            if name in named:
                section.report.mistake(section.at("name"), f"the {kind} {name!r} is declared twice")
            section.ignore("description")
            named[name] = readers[kind](section, given)
            section.done()
    for key in signals.present():
        if key not in _SUPPORTED and signals.raw(key):
            _unread(signals, key, names)


def _unread(signals: Section, key: str, names: Names) -> None:
    """A kind we cannot compute: its names are known, so that conditions can be told from typing mistakes."""
    kind = next((kind for kind, listed in KINDS.items() if listed == key), None)
    if kind is None:
        signals.report.unsupported(
            signals.at(key), f"unknown key{nearest(key, KINDS.values())}", "--lenient passes over it"
        )
        return
    signals.report.unsupported(signals.at(key), f"signals of the kind {key!r} are not supported yet{instead(key)}")
    raw = signals.raw(key)
    for item in raw if isinstance(raw, list) else ():
        if isinstance(item, dict):
            names.signals[kind][str(item.get("name"))] = None


def _needed(section: Section, given: Given, *wanted: str) -> bool:
    """Whether the shipped models can be asked for all of it; reports what they cannot."""
    missing = [name for name in wanted if name not in given.provides]
    if missing:
        section.report.unsupported(section.path, f"needs {' and '.join(missing)}, and {_WITHOUT}")
    return not missing


def _choice(section: Section, key: str, default: str, known: tuple[str, ...]) -> str:
    value = section.text(key, default)
    if value in known:
        return value
    words = ", ".join(filter(None, known))
    section.report.mistake(section.at(key), f"{value!r} is none of {words}{nearest(value, known)}")
    return default


def _keywords(section: Section, given: Given) -> Judge | None:
    operator = _choice(section, "operator", "OR", get_args(Operator))
    method = _choice(
        section, "method", "fuzzy" if section.flag("fuzzy_match", default=False) else "regex", get_args(Method)
    )
    words = tuple(section.texts("keywords"))
    if not words:
        section.report.mistake(section.at("keywords"), "names no keyword")
    if method == "regex":
        for number, word in enumerate(words):
            if is_too_much(word):
                section.report.mistake(
                    f"{section.at('keywords')}[{number}]",
                    "is no pattern of RE2: what looks around or back takes endless time for some texts; say it without",
                )
    thresholds = {
        "regex": 0.0,
        "bm25": section.number("bm25_threshold", 0.1),
        "ngram": fraction(section, "ngram_threshold", 0.4),
        "fuzzy": section.number("fuzzy_threshold", 80.0) / 100,
    }
    if not 0 <= thresholds["fuzzy"] <= 1:
        section.report.mistake(section.at("fuzzy_threshold"), "should lie between 0 and 100, in percent")
    arity = section.whole("ngram_arity", 3)
    if not 1 <= arity <= 16:
        section.report.mistake(section.at("ngram_arity"), "should lie between 1 and 16")
        arity = 3
    return Keywords(
        name=section.text("name"),
        operator=next(o for o in get_args(Operator) if o == operator),
        keywords=words,
        method=next(m for m in get_args(Method) if m == method),
        case_sensitive=section.flag("case_sensitive", default=False),
        threshold=thresholds[method],
        arity=arity,
    )


def _domain(section: Section, given: Given) -> Judge | None:
    """A domain without a list stands for the category of its name."""
    listed = section.texts("mmlu_categories")
    wanted = [(f"{section.at('mmlu_categories')}[{n}]", text) for n, text in enumerate(listed)]
    wanted = wanted or [(section.at("name"), section.text("name"))]
    known = given.module("domain").own is None
    categories = frozenset(_category(path, text, section.report, known) for path, text in wanted if text)
    if section.raw("model_scores"):
        section.report.unsupported(
            section.at("model_scores"), f"scores of models by domain are not supported yet{instead('model_scores')}"
        )
    return Domain(section.text("name"), categories)


def _category(path: str, text: str, report: Report, known: bool) -> str:
    """The category as the classifier names it; `computer_science` is accepted for `computer science`."""
    if not known:
        return text
    name = text.replace("_", " ")
    if name not in CATEGORIES:
        hint = nearest(name, CATEGORIES)
        report.mistake(path, f"{text!r} is not one of the {len(CATEGORIES)} MMLU-Pro categories{hint}")
    return name


def _embedding(section: Section, given: Given) -> Judge | None:
    aggregation = _choice(section, "aggregation_method", "max", get_args(Aggregation))
    if (modality := section.text("query_modality", "text")) != "text":
        section.report.unsupported(section.at("query_modality"), f"only text is compared, not {modality!r}")
        return None
    phrases = _phrases(section, "candidates")
    threshold = fraction(section, "threshold", EMBEDDING_THRESHOLD)
    if not _needed(section, given, EMBEDDING):
        return None
    return Embedding(
        section.text("name"), phrases, threshold, next(a for a in get_args(Aggregation) if a == aggregation)
    )


def _phrases(section: Section, key: str, *, required: bool = True) -> Phrases:
    texts = tuple(section.texts(key))
    if required and not texts:
        section.report.mistake(section.at(key), "names no phrase")
    return Phrases(texts)


def _complexity(section: Section, given: Given) -> Judge | None:
    threshold = fraction(section, "threshold", 0.1)
    banks = []
    for key in ("hard", "easy"):
        bank = section.section(key)
        banks.append(_phrases(bank, "candidates"))
        if bank.raw("image_candidates"):
            bank.report.unsupported(bank.at("image_candidates"), "images are not compared")
        bank.done()
    section.ignore("composer")  # read with the rules, once all signals are known
    if not _needed(section, given, EMBEDDING):
        return None
    return Complexity(section.text("name"), banks[0], banks[1], threshold, LEVELS)


def _context(section: Section, given: Given) -> Judge | None:
    least, most = _tokens(section, "min_tokens", 0.0), _tokens(section, "max_tokens", float("inf"))
    if least > most:
        section.report.mistake(section.at("min_tokens"), "is more than max_tokens")
    return Context(section.text("name"), least, most)


def _tokens(section: Section, key: str, default: float) -> float:
    """A number, or a text such as 32K or 1.5M (thousands and millions)."""
    value = section.raw(key)
    if value is None:
        return default
    found = _TOKENS.match(value.strip()) if isinstance(value, str) else None
    if found:
        return float(found[1]) * _TIMES[found[2].lower()]
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        return float(value)
    section.report.mistake(section.at(key), f"should be a number of tokens such as 4000 or 32K, not {value!r}")
    return default


def _jailbreak(section: Section, given: Given) -> Judge | None:
    module = given.module("prompt_guard")
    method = _choice(section, "method", "classifier", get_args(GuardMethod))
    attacks = _phrases(section, "jailbreak_patterns", required=method != "classifier")
    benign = _phrases(section, "benign_patterns", required=False)
    threshold = fraction(section, "threshold", 0.7) if "threshold" in section else module.threshold
    on_error = _choice(section, "on_error", "", ("", "allow", "block"))
    unknown = _unknown(on_error) if on_error else module.unknown
    history = section.flag("include_history", default=False)
    wanted = [] if method == "contrastive" or module.own else [SAFETY]
    if not _needed(section, given, *wanted, *([] if method == "classifier" else [EMBEDDING])):
        return None
    if module.own is not None and method != "contrastive":
        given.own[module.own.name] = module.own
        if history:
            section.report.unsupported(section.at("include_history"), "a model of your own reads the last turn alone")
    return Guard(
        name=section.text("name"),
        method=next(m for m in get_args(GuardMethod) if m == method),
        threshold=threshold,
        history=history,
        attacks=attacks,
        benign=benign,
        labels=module.labels or ATTACKS,
        model=None if module.own is None else module.own.name,
        unknown=unknown,
    )


def _unknown(on_error: str) -> Truth:
    return Truth.YES if on_error == "block" else Truth.UNKNOWN


def _pii(section: Section, given: Given) -> Judge | None:
    module = given.module("pii")
    allowed = frozenset(section.texts("pii_types_allowed"))
    default = 0.0 if module.threshold is None else module.threshold
    threshold = fraction(section, "threshold", default)
    history = section.flag("include_history", default=False)
    if module.own is None:
        if not _needed(section, given, PII):
            return None
    else:
        given.own[module.own.name] = module.own
    types = given.provides.get(PII, ())
    for n, one in enumerate(section.texts("pii_types_allowed")):
        if module.own is None and one not in types:
            path = f"{section.at('pii_types_allowed')}[{n}]"
            section.report.note(path, f"{one!r} is no type that is looked for{nearest(one, types)}")
    return Personal(section.text("name"), allowed, threshold, history, None if module.own is None else module.own.name)


def _language(section: Section, given: Given) -> Judge | None:
    """Like vSR, a threshold of 0 means the default."""
    threshold = fraction(section, "threshold", 0.0) or LANGUAGE_THRESHOLD
    if not _needed(section, given, LANGUAGE):
        return None
    name, known = section.text("name"), given.provides[LANGUAGE]
    if known and name.lower() not in known:
        section.report.unsupported(section.at("name"), f"{name!r} is none of the languages that are told apart")
        return None
    return Language(name, threshold)


@dataclass(frozen=True, slots=True)
class _Labelled:
    """Signals whose names are vSR's for the labels of a model that is not shipped; `where` is where to name one."""

    kind: str
    module: str
    labels: Mapping[str, str]
    where: str
    threshold: float


_FACTS = _Labelled("fact_check", "fact_check", FACT_LABELS, FACT_CHECK, FACT_THRESHOLD)
_FEEDBACK = _Labelled("user_feedback", "feedback", FEEDBACK_LABELS, FEEDBACK, FEEDBACK_THRESHOLD)


def _fact_check(section: Section, given: Given) -> Judge | None:
    return _labelled(section, given, _FACTS)


def _feedback(section: Section, given: Given) -> Judge | None:
    return _labelled(section, given, _FEEDBACK)


def _labelled(section: Section, given: Given, what: _Labelled) -> Judge | None:
    name, module = section.text("name"), given.module(what.module)
    threshold = fraction(section, "threshold", what.threshold if module.threshold is None else module.threshold)
    if name not in what.labels:
        known = f"{', '.join(what.labels)}{nearest(name, what.labels)}"
        section.report.mistake(section.at("name"), f"{name!r} is none of {known}")
        return None
    if module.own is None:
        section.report.unsupported(section.path, f"no model for it is shipped: name a folder with one at {what.where}")
        return None
    given.own[module.own.name] = module.own
    return OwnClassifier(name, module.own.name, what.kind, what.labels[name], threshold)


def _classifier(section: Section, given: Given) -> Judge | None:
    name = section.text("name")
    if (kind := section.text("type", "local")) != "local":
        section.report.unsupported(
            section.at("type"), f"a classifier of the type {kind!r} is not supported, only 'local'"
        )
        section.ignore("model", "labels", "instructions", "threshold")
        return None
    folder = section.required("model_path")
    pooling = _choice(section, "pooling", "max", get_args(Pooling))
    own = OwnModel(
        name=f"classifier {name}",
        folder=folder,
        path=section.at("model_path"),
        labels=tuple(section.texts("labels")),
        cpu=section.flag("use_cpu", default=True),
        pooling=next(p for p in get_args(Pooling) if p == pooling),
    )
    threshold = fraction(section, "threshold", 0.5)
    if folder and (why := given.examine(folder)) is not None:
        section.report.unsupported(own.path, why.message)
        return None
    given.own[own.name] = own
    return OwnClassifier(name, own.name, threshold=threshold)


def _conversation(section: Section, given: Given) -> Judge | None:
    feature = section.section("feature")
    kind = _choice(feature, "type", "count", ("count", "exists"))
    source = feature.section("source")
    counted = _choice(source, "type", "message", get_args(Source))
    role = source.text("role")
    source.done()
    feature.done()
    bounds = read_bounds(section.section("predicate")) if kind == "count" else Bounds(gte=1)
    return Conversation(section.text("name"), next(s for s in get_args(Source) if s == counted), role, bounds)


def read_bounds(predicate: Section) -> Bounds:
    """gt, gte, lt, lte."""
    values = {key: predicate.number(key, 0.0) for key in ("gt", "gte", "lt", "lte") if key in predicate}
    predicate.done()
    if not values:
        predicate.report.mistake(predicate.path, "should have one of gt, gte, lt, lte")
    return Bounds(**values)


def _metadata(section: Section, given: Given) -> Judge | None:
    key = section.required("key")
    predicate = section.section("predicate")
    equals = predicate.required("equals")
    predicate.done()
    return Metadata(section.text("name"), key, equals)
