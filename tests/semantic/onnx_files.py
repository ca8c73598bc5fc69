"""Tiny classifiers as ONNX files, written byte by byte: a table of logits by word, and the largest of them for a text.

Field numbers are those of onnx.proto (ModelProto, GraphProto, NodeProto, TensorProto, ValueInfoProto).
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

FLOAT, INT64 = 1, 7
FAR = -50.0
PAD, UNKNOWN = "[PAD]", "[UNK]"


def classifier(
    folder: Path,
    labels: Sequence[str],
    words: Mapping[str, str],
    *,
    tokens: bool = False,
    inputs: Sequence[str] = ("input_ids", "attention_mask"),
    **config: object,
) -> Path:
    """A folder with a model in which each word speaks for one label; every other word for the first."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {PAD: 0, UNKNOWN: 1} | {word: n for n, word in enumerate(words, start=2)}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    table = np.zeros((len(vocabulary), len(labels)), dtype=np.float32)
    table[0] = FAR
    table[1, 0] = 1.0
    for word, label in words.items():
        table[vocabulary[word], labels.index(label)] = 5.0
    (folder / "model.onnx").write_bytes(_model(table, tokens=tokens, inputs=inputs))
    names = {str(n): label for n, label in enumerate(labels)}
    (folder / "config.json").write_text(json.dumps({"id2label": names, **config}))
    return folder


def _model(table: "np.ndarray[tuple[int, int], np.dtype[np.float32]]", *, tokens: bool, inputs: Sequence[str]) -> bytes:
    rows, labels = table.shape
    tensor = _number(1, rows) + _number(1, labels) + _number(2, FLOAT) + _text(8, "table") + _bytes(9, table.tobytes())
    gathered = "logits" if tokens else "each"
    nodes = _bytes(1, _text(1, "table") + _text(1, inputs[0]) + _text(2, gathered) + _text(4, "Gather"))
    if not tokens:
        axes = _text(1, "axes") + _number(8, 1) + _number(20, 7)
        keep = _text(1, "keepdims") + _number(3, 0) + _number(20, 2)
        reduce = _text(1, "each") + _text(2, "logits") + _text(4, "ReduceMax") + _bytes(5, axes) + _bytes(5, keep)
        nodes += _bytes(1, reduce)
    shape: list[str | int] = ["batch", "tokens", labels] if tokens else ["batch", labels]
    graph = nodes + _text(2, "g") + _bytes(5, tensor)
    graph += b"".join(_bytes(11, _value(name, INT64, ["batch", "tokens"])) for name in inputs)
    graph += _bytes(12, _value("logits", FLOAT, shape))
    return _number(1, 8) + _bytes(7, graph) + _bytes(8, _text(1, "") + _number(2, 13))


def _value(name: str, kind: int, shape: Sequence[str | int]) -> bytes:
    dims = b"".join(_bytes(1, _text(2, dim) if isinstance(dim, str) else _number(1, dim)) for dim in shape)
    return _text(1, name) + _bytes(2, _bytes(1, _number(1, kind) + _bytes(2, dims)))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _text(field: int, value: str) -> bytes:
    return _bytes(field, value.encode())


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])
