"""Looks at a folder that should hold a model: which files, labels and lengths, without loading anything."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semantic.own.declared import Examine, OwnModel, Unusable
from semantic.reading import ConfigError

MODEL_FILES = ("model.onnx", "onnx/model.onnx")
TOKENIZER_FILE = "tokenizer.json"
WINDOW_TOKENS_MAX = 512
"""Tokens of one window: what classification heads were trained on, whatever the encoder below could read."""
WINDOW_TOKENS_MIN = 8


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder whose files are there. `several` says that a text may have more than one of the labels at once."""

    model: Path
    tokenizer: Path
    labels: tuple[str, ...]
    window_tokens: int
    several: bool


def examiner(base: Path) -> Examine:
    """Says of a folder as written why it is no model, or None; relative folders are below `base`."""

    def examine(folder: str) -> Unusable | None:
        where = base / folder
        if not where.is_dir():
            return Unusable(f"the folder {folder!r} is not there", there=False)
        try:
            read_folder(where, ())
        except ConfigError as mistake:
            return Unusable(mistake.message, there=True)
        return None

    return examine


def open_folder(base: Path, own: OwnModel) -> Folder:
    """The folder of a declared model. Raises ConfigError with the path in the configuration."""
    try:
        return read_folder(base / own.folder, own.labels)
    except ConfigError as mistake:
        raise ConfigError(own.path, mistake.message) from mistake


def read_folder(where: Path, labels: tuple[str, ...]) -> Folder:
    """Raises ConfigError for what is missing or contradicts itself."""
    model = next((where / name for name in MODEL_FILES if (where / name).is_file()), None)
    if model is None:
        raise ConfigError(str(where), f"the folder {where.name!r} has no {' or '.join(MODEL_FILES)}: export it to ONNX")
    tokenizer = where / TOKENIZER_FILE
    if not tokenizer.is_file():
        raise ConfigError(str(where), f"the folder {where.name!r} has no {TOKENIZER_FILE}")
    config = _read_json(where / "config.json")
    named = labels or _labels(config)
    window = config.get("max_position_embeddings")
    tokens = (
        min(WINDOW_TOKENS_MAX, window) if isinstance(window, int) and window >= WINDOW_TOKENS_MIN else WINDOW_TOKENS_MAX
    )
    return Folder(model, tokenizer, named, tokens, config.get("problem_type") == "multi_label_classification")


def _labels(config: dict[str, Any]) -> tuple[str, ...]:
    """In the order of the outputs; without names the model itself must tell how many there are."""
    names = config.get("id2label")
    if not isinstance(names, dict):
        return ()
    try:
        return tuple(str(names[key]) for key in sorted(names, key=int))
    except ValueError as broken:
        raise ConfigError("config.json: id2label", "config.json: id2label has keys that are no numbers") from broken


def _read_json(path: Path) -> dict[str, Any]:
    """Empty where there is none: the labels may come from the configuration."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as broken:
        raise ConfigError(str(path), f"{path.name} is not JSON: {broken}") from broken
    if not isinstance(content, dict):
        raise ConfigError(str(path), f"{path.name} is not a JSON object")
    return content
