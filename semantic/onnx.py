"""Opening what a model folder holds: a tokenizer and an ONNX session. A wrong file says which and why."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime  # type: ignore[import-untyped]  # ships no types
from tokenizers import Tokenizer

from semantic.reading import ConfigError


def softmax(logits: npt.NDArray[np.float32], temperature: float) -> npt.NDArray[np.float32]:
    """Probabilities from logits, row by row."""
    scaled = (logits - logits.max(axis=1, keepdims=True)) / temperature
    powers = np.exp(scaled)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float32)


def read_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer without truncation and padding; ConfigError when there is none."""
    if not path.is_file():
        raise ConfigError(str(path), "the model folder has no tokenizer.json")
    try:
        tokenizer: Tokenizer = Tokenizer.from_file(str(path))
    except Exception as broken:  # the library raises plain Exception
        raise ConfigError(str(path), f"cannot be read as a tokenizer: {broken}") from broken
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def open_session(path: Path, threads: int) -> Any:
    """A session on the CPU; ConfigError when the file is no model."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Without this, idle worker threads spin and take the core the event loop runs on.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    if not path.is_file():
        raise ConfigError(str(path), "the model folder has no model.onnx")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as broken:  # onnxruntime has one exception class a status, all straight from Exception
        raise ConfigError(str(path), f"cannot be loaded by onnxruntime: {broken}") from broken
