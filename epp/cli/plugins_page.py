"""The page about all plugins, made of what they say of themselves: `python -m epp.cli.plugins_page docs/plugins.md`."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import MISSING, Field
from inspect import cleandoc, getmodule
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from epp.options.flow import Detector, FairnessPolicy, OrderingPolicy, UsageLimitPolicy
from epp.options.requests import Parser
from epp.options.sources import Extractor, Source
from epp.plugin import Plugin, Setting
from epp.scheduling.framework import Admitter, Filter, Memory, Picker, Producer, Scorer, Screener
from epp.scheduling.handlers import Decider, ProfileHandler
from epp.scheduling.refused import REFUSED
from epp.scheduling.registry import parameter_names, registered

HEAD = """# Plugins

Made from the plugins themselves by `make plugins-page`; do not edit. These are the types that an `EndpointPickerConfig`
(`--config-file`) may name; `onehop check FILE` validates one and says what it means. Names, parameters, defaults and
formulas are those of the Go picker (llm-d router 0.10) where nothing else is said; types marked *ours* are not there.
*Alpha* ones need `--allow-experimental-plugins`, here as there. A scorer gives each endpoint 0 (worst) to 1 (best); a
profile adds them up, each times its weight.
"""
KINDS: Mapping[str, tuple[type[Plugin], ...]] = {
    "Profile handlers": (ProfileHandler,),
    "Deciders": (Decider,),
    "Screeners": (Screener,),
    "Filters": (Filter,),
    "Scorers": (Scorer,),
    "Pickers": (Picker,),
    "Producers": (Producer,),
    "Admitters": (Admitter,),
    "Saturation detectors": (Detector,),
    "Flow control": (FairnessPolicy, OrderingPolicy, UsageLimitPolicy),
    "Parsers": (Parser,),
    "Data layer": (Source, Extractor),
    "Others": (Memory, Setting),
}
_WORDS: Mapping[Any, str] = {bool: "boolean", int: "integer", float: "number", str: "text"}


def page() -> str:
    """The whole page, as Markdown."""
    left = dict(registered())
    parts = [HEAD]
    for title, kinds in KINDS.items():
        of_kind = {name: cls for name, cls in left.items() if issubclass(cls, kinds)}
        left = {name: cls for name, cls in left.items() if name not in of_kind}
        if of_kind:
            parts += [f"## {title}\n", *(_entry(name, cls) for name, cls in of_kind.items())]
    parts.append("## Not here\n\nA file that names one of these is refused.\n\n| Type | Use instead |\n|---|---|")
    parts += [f"| `{name}` | {instead} |" for name, instead in REFUSED.items()]
    return "\n".join(parts) + "\n"


def _entry(name: str, cls: type[Plugin]) -> str:
    known = parameter_names(cls)
    spelt = {f.name: as_written for as_written, f in known.items()}
    module = getmodule(cls)
    assert module is not None
    source = module.__name__.replace(".", "/") + ".py"
    also = [title for title, kinds in KINDS.items() if title != "Others" and issubclass(cls, kinds)][1:]
    lines = [
        f"### `{name}`\n",
        f"*{cls.stage}*{''.join(f', also among the {a.lower()}' for a in also)}; [{source}](../{source})\n",
        _text(cls.__doc__ or "", spelt),
    ]
    if cls.differs:
        lines.append(f"\n**Differs.** {cls.differs}")
    if known:
        lines.append("\n| Parameter | Kind | Default |\n|---|---|---|")
        types = get_type_hints(cls)
        lines += [f"| `{as_written}` | {_kind(f, types[f.name])} | {_default(f)} |" for as_written, f in known.items()]
    return "\n".join(lines) + "\n"


def _text(doc: str, spelt: Mapping[str, str]) -> str:
    """The docstring, with the parameters as files spell them."""

    def rename(quoted: re.Match[str]) -> str:
        return re.sub(r"[a-z]\w*", lambda word: spelt.get(word[0], word[0]), quoted[0])

    return re.sub(r"`[^`]+`", rename, cleandoc(doc))


def _kind(of: Field[Any], kind: Any) -> str:
    return "duration" if of.metadata.get("duration") else _words(kind)


def _words(kind: Any) -> str:
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin in (UnionType, Union):
        return _words(next(one for one in inner if one is not type(None)))
    if origin is tuple:
        return f"list of {_words(inner[0])}"
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        fields = [f"`{f.encode_name}` ({_words(f.type)})" for f in msgspec.structs.fields(kind)]
        return f"mapping of {', '.join(fields)}"
    return _WORDS.get(kind, "mapping")


def _default(of: Field[Any]) -> str:
    if of.default is MISSING and of.default_factory is MISSING:
        return "required"
    value = of.default_factory() if of.default_factory is not MISSING else of.default
    if of.metadata.get("duration"):
        return f"{value:g}s"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, msgspec.Struct):
        return "`" + msgspec.json.encode(value).decode() + "`"
    return f"`{value}`" if value not in ("", (), {}, None) else ""


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page())
