"""MiniLM with all heads as one ONNX graph of onnxruntime's fused operators, from weights alone.

Token embeddings are kept as int8 with a scale a row: half of the model is this table, and a scale for the whole of
it costs accuracy. Inputs `input_ids`, `attention_mask` and `shapes` (`semantic.shapes`); outputs `logits` (the labels
of every head one after another), `tags` (logits a token) and `embedding` (the mean-pooled vector).
"""

from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from semantic.shapes import SHAPES
from semantic.training.arrays import HEADS, LAYERS, NORM_EPSILON, WIDTH, Weights
from semantic.training.tasks import LABELS, PII_TAGS

# onnx is no dependency of the product; imported by name so that type checking does not need it.
onnx: Any = import_module("onnx")

OPSET = 17
FUSED = "com.microsoft"
FLOAT_NODES = ("queries", "tags_plain")
"""Products of the heads: a thousandth of the work, so they stay in float32."""


class Graph:
    """Collects nodes and constants."""

    def __init__(self) -> None:
        """Starts empty."""
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, name: str, value: npt.NDArray[Any]) -> str:
        """Adds a stored tensor and gives its name back."""
        self.constants.append(onnx.numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def node(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Adds a node with one output and gives the output's name back."""
        self.nodes.append(onnx.helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output


def build(weights: Weights, max_tokens: int, *, int8_tokens: bool) -> Any:
    """The model, its matrix products still in float32."""
    g = Graph()
    x = _embeddings(g, weights, max_tokens, int8_tokens=int8_tokens)
    mask = g.node("Cast", ["attention_mask"], "mask_int", to=onnx.TensorProto.INT32)
    for layer in range(LAYERS):
        x = _layer(g, weights, f"encoder.layer.{layer}", x, mask)
    _heads(g, weights, x)
    inputs = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.INT64, ["batch", "tokens"])
        for name in ("input_ids", "attention_mask", "shapes")
    ]
    width = sum(len(labels) for labels in LABELS.values())
    outputs = [
        onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["batch", width]),
        onnx.helper.make_tensor_value_info("tags", onnx.TensorProto.FLOAT, ["batch", "tokens", len(PII_TAGS)]),
        onnx.helper.make_tensor_value_info("embedding", onnx.TensorProto.FLOAT, ["batch", WIDTH]),
    ]
    graph = onnx.helper.make_graph(g.nodes, "heads", inputs, outputs, g.constants)
    opsets = [onnx.helper.make_opsetid("", OPSET), onnx.helper.make_opsetid(FUSED, 1)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, producer_name="onehop")
    model.ir_version = 8
    return model


def _embeddings(g: Graph, weights: Weights, max_tokens: int, *, int8_tokens: bool) -> str:
    table = weights["embeddings.word_embeddings.weight"]
    if int8_tokens:
        scale = np.abs(table).max(axis=1, keepdims=True) / 127
        stored = g.constant("tokens_int8", np.round(table / np.maximum(scale, 1e-12)).astype(np.int8))
        whole = g.node("Gather", [stored, "input_ids"], "tokens_whole")
        cast = g.node("Cast", [whole], "tokens_cast", to=onnx.TensorProto.FLOAT)
        scales = g.node("Gather", [g.constant("tokens_scale", scale.astype(np.float32)), "input_ids"], "tokens_scales")
        tokens = g.node("Mul", [cast, scales], "tokens_float")
    else:
        tokens = g.node("Gather", [g.constant("tokens", table), "input_ids"], "tokens_float")
    # The token type is always 0, so its vector is added to the positions once, here.
    places = weights["embeddings.position_embeddings.weight"] + weights["embeddings.token_type_embeddings.weight"][0]
    length = g.node("Slice", [g.node("Shape", ["input_ids"], "shape"), *_ints(g, "one_two", 1, 2)], "length")
    stored = g.constant("positions", places[:max_tokens])
    cut = g.node("Slice", [stored, *_ints(g, "from_zero", 0), length], "positions_cut")
    summed = g.node("Add", [tokens, cut], "embedded")
    norm = [g.constant(f"embeddings.{part}", weights[f"embeddings.LayerNorm.{part}"]) for part in ("weight", "bias")]
    return g.node("LayerNormalization", [summed, *norm], "embedded_norm", epsilon=NORM_EPSILON, axis=-1)


def _layer(g: Graph, weights: Weights, name: str, x: str, mask: str) -> str:
    parts = [f"{name}.attention.self.{part}" for part in ("query", "key", "value")]
    joined = g.constant(f"{name}.qkv.weight", np.concatenate([weights[f"{p}.weight"].T for p in parts], axis=1))
    bias = g.constant(f"{name}.qkv.bias", np.concatenate([weights[f"{p}.bias"] for p in parts]))
    mixed = g.node("Attention", [x, joined, bias, mask], f"{name}.mixed", num_heads=HEADS, domain=FUSED)
    attended = _product(g, weights, f"{name}.attention.output.dense", mixed)
    x = _skip(g, weights, f"{name}.attention.output", attended, x)
    inner = _product(g, weights, f"{name}.intermediate.dense", x)
    inner_bias = g.constant(f"{name}.intermediate.bias", weights[f"{name}.intermediate.dense.bias"])
    bent = g.node("BiasGelu", [inner, inner_bias], f"{name}.bent", domain=FUSED)
    return _skip(g, weights, f"{name}.output", _product(g, weights, f"{name}.output.dense", bent), x)


def _product(g: Graph, weights: Weights, name: str, x: str) -> str:
    return g.node("MatMul", [x, g.constant(f"{name}.weight", weights[f"{name}.weight"].T)], f"{name}.product")


def _skip(g: Graph, weights: Weights, name: str, x: str, past: str) -> str:
    """Residual, bias and layer norm in one."""
    stored = {
        part: g.constant(f"{name}.{part}", weights[f"{name}.{part}"])
        for part in ("LayerNorm.weight", "LayerNorm.bias", "dense.bias")
    }
    return g.node(
        "SkipLayerNormalization", [x, past, *stored.values()], f"{name}.norm", epsilon=NORM_EPSILON, domain=FUSED
    )


def _heads(g: Graph, weights: Weights, x: str) -> None:
    """The mean over the real tokens, a weighted mean for each head that chooses one, and the labels from both."""
    real = g.node("Cast", ["attention_mask"], "mask_float", to=onnx.TensorProto.FLOAT)
    column = g.node("Unsqueeze", [real, *_ints(g, "last_axis", 2)], "mask_column")
    (tokens_axis,) = _ints(g, "tokens_axis", 1)
    total = g.node("ReduceSum", [g.node("Mul", [x, column], "real_only"), tokens_axis], "total", keepdims=0)
    count = g.node("ReduceSum", [column, tokens_axis], "count", keepdims=0)
    g.node("Div", [total, count], "embedding")
    choosing = [task for task in LABELS if f"head.{task}.query" in weights]
    queries = g.constant("queries.weight", np.stack([weights[f"head.{task}.query"] for task in choosing], axis=1))
    scores = g.node("MatMul", [x, queries], "queries")
    one, far = (g.constant(name, np.array(value, np.float32)) for name, value in (("one", 1), ("far", -1e4)))
    hidden = g.node("Mul", [g.node("Sub", [one, column], "padding"), far], "hidden")
    shares = g.node("Softmax", [g.node("Add", [scores, hidden], "scores")], "shares", axis=1)
    turned = g.node("Transpose", [shares], "turned", perm=[0, 2, 1])
    attended = g.node("MatMul", [turned, x], "attended")
    parts = []
    for task in LABELS:
        stored = weights[f"head.{task}.weight"]
        plain = [
            g.constant(f"head.{task}.mean", stored[:, :WIDTH]),
            g.constant(f"head.{task}.bias", weights[f"head.{task}.bias"]),
        ]
        logits = g.node("Gemm", ["embedding", *plain], f"logits.{task}.mean", transB=1)
        if task in choosing:
            place = g.constant(f"place.{task}", np.array(choosing.index(task), np.int64))
            own = g.node("Gather", [attended, place], f"attended.{task}", axis=1)
            more = g.constant(f"head.{task}.attended", stored[:, WIDTH:])
            logits = g.node("Gemm", [own, more, logits], f"logits.{task}", transB=1)
        parts.append(logits)
    g.node("Concat", parts, "logits", axis=1)
    _tags(g, weights, x)


def _tags(g: Graph, weights: Weights, x: str) -> None:
    """The tag of each token from its vector and from how it and its neighbours are written."""
    stored = weights["head.pii.weight"]
    plain = g.node("MatMul", [x, g.constant("head.pii.tokens", stored[:, :WIDTH].T)], "tags_plain")
    summed = g.node("Add", [plain, g.constant("head.pii.bias", weights["head.pii.bias"])], "tags_biased")
    first = g.node("Slice", ["shapes", *_ints(g, "cut_first", 0, 1, 1)], "shapes_first")
    nothing = g.node("Sub", [first, first], "shapes_nothing")
    whole = g.constant("cut_end", np.array([np.iinfo(np.int64).max], np.int64))
    start, last, axis = _ints(g, "cut_last", 0, -1, 1)
    (second,) = _ints(g, "cut_second", 1)
    before = g.node(
        "Concat", [nothing, g.node("Slice", ["shapes", start, last, axis], "shapes_front")], "before", axis=1
    )
    after = g.node(
        "Concat", [g.node("Slice", ["shapes", second, whole, axis], "shapes_back"), nothing], "after", axis=1
    )
    for n, (name, codes) in enumerate((("before", before), ("own", "shapes"), ("after", after))):
        low = WIDTH + n * SHAPES
        table = g.constant(f"head.pii.{name}", stored[:, low : low + SHAPES].T)
        output = "tags" if name == "after" else f"tags_{name}"
        summed = g.node("Add", [summed, g.node("Gather", [table, codes], f"shape_{name}")], output)


def _ints(g: Graph, name: str, *values: int) -> list[str]:
    """Each number as a stored one-element list."""
    return [g.constant(f"{name}.{n}", np.array([value], dtype=np.int64)) for n, value in enumerate(values)]
