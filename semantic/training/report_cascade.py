"""The tables of docs/models/cascade.md: what both tiers say together, and what the shipped file says of unseen rows."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from semantic.signals.engine import Engine
from semantic.signals.pii import has_capital_inside
from semantic.signals.settings import Settings, read_settings
from semantic.signals.values import TextSignals
from semantic.training.calibrate import probabilities
from semantic.training.knobs import Fold, recall
from semantic.training.settings import likely, names_of, read_folds, words_of
from semantic.training.tasks import GATED, LABELS, Example, is_held_out, read_all, read_rows_of_languages, split
from semantic.windows import pieces_of

Array = npt.NDArray[Any]
FROM = (0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
BATCH = 32


def cascade(args: Any) -> Iterator[str]:
    """Both tiers on the unseen rows of every fold, and the curves over the confidence that tier 0 needs."""
    settings = read_settings(args.model)
    where = args.data, args.trained, args.tier0
    yield from _choices(args)
    folds = {task: likely(*where, task) for task in ("domain", "safety", "code")}
    yield "| head | fold | encoder alone | tier 1 | tier 0 | both | loss | tier 1 runs for |"
    yield "|---|---|---|---|---|---|---|---|"
    for task, of_task in folds.items():
        for fold, said, first in of_task:
            kept = _kept(fold, first, fold.choice.sure)
            alone, one, zero = (x.argmax(1) == fold.labels for x in (fold.encoder, said, first))
            both = np.where(kept, zero, one).mean()
            cells = " | ".join(f"{x.mean():.3f}" for x in (alone, one, zero))
            yield f"| {task} | {fold.name} | {cells} | {both:.3f} | {one.mean() - both:+.3f} | {1 - kept.mean():.2f} |"
    for task in ("domain", "code"):
        yield f"\n{task}: tier 1 runs for, and points lost, by the confidence that tier 0 needs\n"
        yield from _curve(folds[task])
    yield "\nsafety: recall of attacks at 5 % false alarms, tier 1 alone and both\n"
    yield from _guard(folds["safety"])
    yield "\nnames: texts with names or other data without a form that the encoder is asked about\n"
    yield from _names(args, settings)


def _choices(args: Any) -> Iterator[str]:
    yield "Chosen on the other folds: weight of tier 0, temperatures of both tiers, confidence that tier 0 needs\n"
    names = names_of(args.trained)
    yield "| choice | " + " | ".join(names) + " |\n|---|" + "---|" * len(names)
    for task in LABELS:
        chosen = {f.name: f.choice for f in read_folds(args.data, args.trained, args.tier0, task)}
        cells = []
        for name in names:
            c = chosen.get(name)
            cells.append(f"{c.blend:g}, {c.temperature:g}, {c.tier0_temperature:g}, {c.sure:g}" if c else "")
        yield f"| {task} | " + " | ".join(cells) + " |"
    yield ""


def _curve(folds: Sequence[tuple[Fold, Array, Array]]) -> Iterator[str]:
    yield "| from | " + " | ".join(f.name for f, _, _ in folds) + " | mean | \n|---|" + "---|" * (len(folds) + 1)
    for least in FROM:
        shares, losses = [], []
        for fold, said, first in folds:
            kept = _kept(fold, first, least)
            one, zero = (x.argmax(1) == fold.labels for x in (said, first))
            shares.append(1 - kept.mean())
            losses.append(100 * (one.mean() - np.where(kept, zero, one).mean()))
        cells = [f"{s:.2f}, {loss:+.1f}" for s, loss in zip(shares, losses, strict=True)]
        yield f"| {least} | " + " | ".join(cells) + f" | {np.mean(shares):.2f}, {np.mean(losses):+.1f} |"


def _guard(folds: Sequence[tuple[Fold, Array, Array]]) -> Iterator[str]:
    yield "| fold | tier 1 | both | tier 1 runs for | for benign texts |\n|---|---|---|---|---|"
    for fold, said, first in folds:
        kept = _kept(fold, first, fold.choice.sure)
        one = said[:, 2:].sum(1)
        both = np.where(kept, 0, one)
        found = [recall(risk, fold) for risk in (one, both)]
        plain = 1 - kept[fold.labels == 0].mean()
        yield f"| {fold.name} | {found[0]:.3f} | {found[1]:.3f} | {1 - kept.mean():.2f} | {plain:.2f} |"


def _names(args: Any, settings: Settings) -> Iterator[str]:
    yield "| fold | with such data: asked | without: asked | domain questions: asked |\n|---|---|---|---|"
    examples = read_all(args.data)
    for name in names_of(args.trained):
        unseen = split(examples, name)[1]
        path = args.tier0 / f"tier0-{name}.npz"
        rows, questions = ([e for e in unseen if e.task == task] for task in ("pii", "domain"))
        if not rows:
            continue
        asked = _asked(rows, path, settings)
        has = np.array([any(kind in GATED for _, _, kind in e.spans) for e in rows])
        others = f"{asked[~has].mean():.2f}" if (~has).any() else ""
        yield f"| {name} | {asked[has].mean():.3f} | {others} | {_asked(questions, path, settings).mean():.2f} |"


def _asked(rows: Sequence[Example], tier0: Any, settings: Settings) -> Array:
    named = probabilities(words_of(tier0, tuple(e.text for e in rows))["names"], 1.0)[:, 1]
    return np.array([has_capital_inside(e.text) for e in rows]) | (named >= settings.names_sure)


def _kept(fold: Fold, first: Array, least: float) -> Array:
    """Where tier 0 answers, as `Engine.glance` decides it (long texts, which always go on, are left out of sight)."""
    kept = first.max(1) >= least
    if fold.rows[0].task == "safety":
        kept &= (first.argmax(1) == 0) & np.array(["\n" not in e.text.strip() for e in fold.rows])
    return np.asarray(kept)


def shipped(args: Any) -> Iterator[str]:
    """The int8 file as it serves, over the rows of every task that it never saw."""
    engine = Engine(args.model)
    yield "| task | rows | tier 1 | both | tier 0 | both: tier 1 runs for |\n|---|---|---|---|---|---|"
    unseen = split(read_all(args.data), "rows")[1]
    for task in ("domain", "safety", "difficulty", "code"):
        yield from _line(engine, task, [e for e in unseen if e.task == task], task)
    for part in ("mmlu_pro", "mmlu/", "openstax"):
        rows = [e for e in unseen if e.task == "domain" and e.source.startswith(part)]
        yield from _line(engine, "domain", rows, f"domain, {part.strip('/')}")
    rows = [e for e in unseen if e.task == "pii"]
    found = _read(engine, rows)
    scores = [f"{_f1(rows, [f[n] for f in found]):.3f}" for n in range(3)]
    runs = np.mean(["pii" in engine.glance(e.text).open for e in rows])
    yield f"| personal data (F1) | {len(rows)} | {' | '.join(scores)} | {runs:.2f} |"
    spoken = [(t, c) for t, c in read_rows_of_languages(args.data) if is_held_out(Example("language", t, 0, ""))]
    right = np.mean([engine.glance(text).heads["language"].label == code for text, code in spoken])
    yield f"| language | {len(spoken)} | | | {right:.3f} | 0.00 |"


def _line(engine: Engine, head: str, rows: Sequence[Example], name: str) -> Iterator[str]:
    found = _read(engine, rows)
    right = [
        np.mean([f[n].heads[head].label == LABELS[head][e.label] for f, e in zip(found, rows, strict=True)])
        for n in range(3)
    ]
    runs = np.mean([f[1].heads[head].tier for f in found])
    yield f"| {name} | {len(rows)} | " + " | ".join(f"{r:.3f}" for r in right) + f" | {runs:.2f} |"


def _read(engine: Engine, rows: Sequence[Example]) -> list[tuple[TextSignals, TextSignals, TextSignals]]:
    """Signals of tier 1, of both, and of tier 0, from one pass of the encoder."""
    out: list[Any] = [None] * len(rows)
    order = sorted(range(len(rows)), key=lambda n: len(rows[n].text))
    for at in range(0, len(order), BATCH):
        chosen = order[at : at + BATCH]
        pieces = [pieces_of(rows[n].text) for n in chosen]
        answers = iter(
            engine.encoder.classify([rows[n].text[s:e] for n, p in zip(chosen, pieces, strict=True) for s, e in p])
        )
        for n, places in zip(chosen, pieces, strict=True):
            text, glance = rows[n].text, engine.glance(rows[n].text)
            had = [next(answers) for _ in places]
            alone = engine.at_tier0(glance, glance.open)
            one = engine.signals(text, glance, places, had, everything=True)
            out[n] = (one, engine.signals(text, glance, places, had) if glance.open else alone, alone)
    return out


def _f1(rows: Sequence[Example], found: Sequence[TextSignals]) -> float:
    hit = said = wanted = 0
    for example, signals in zip(rows, found, strict=True):
        got = {(s.start, s.end, s.type) for s in signals.pii}
        hit, said, wanted = hit + len(got & set(example.spans)), said + len(got), wanted + len(example.spans)
    return 2 * hit / max(1, said + wanted)
