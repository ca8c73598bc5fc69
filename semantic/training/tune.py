"""Fine-tunes several multi-head models in step: layer-wise rates, label smoothing, weight averaging."""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from semantic.training import heads
from semantic.training.arrays import Weights
from semantic.training.heads import functional, torch
from semantic.training.mixture import NOTHING, Batch
from semantic.training.tasks import LABELS

Array = npt.NDArray[Any]
LONG = 96


@dataclass(frozen=True, slots=True)
class Recipe:
    """The knobs of one training; the defaults made the shipped file."""

    epochs: float = 4.0
    batch: int = 64
    rate: float = 6e-5
    head_rate: float = 1e-3
    layer_decay: float = 0.85
    weight_decay: float = 0.01
    warmup: float = 0.08
    dropout: float = 0.1
    smoothing: float = 0.1
    average_from: float = 0.5
    """Weights are averaged over the steps after this fraction of the training; 1 turns averaging off."""
    recorded: bool = True
    """Whether a GPU plays back recorded steps; without, each kernel is launched by itself, which takes longer."""


LOSS_WEIGHTS = {"domain": 1.0, "safety": 1.3, "difficulty": 0.7, "reasoning": 0.7, "code": 0.7, "pii": 2.5}


def tune(
    base: Weights,
    seeds: list[int],
    steps: Iterator[list[Batch]],
    *,
    total: int,
    recipe: Recipe,
    device: str,
    say: Callable[[str], None],
) -> list[dict[str, Array]]:
    """The tuned tensors of each model after `total` steps. `steps` gives one batch a model."""
    torch.manual_seed(seeds[0])
    p = heads.parameters(base, len(seeds), device)
    stepper = _Stepper(p, recipe, device)
    mean: dict[str, Any] = {}
    averaged = 0
    began = time.monotonic()
    for step, arrays in enumerate(_ahead(steps)):
        if step >= total:
            break
        loss = stepper.step(arrays, _pace(step, total, recipe.warmup))
        if step % 500 == 0:
            say(f"step {step} of {total}, loss {loss.item() / len(seeds):.3f}, {time.monotonic() - began:.0f} s")
        if step >= recipe.average_from * total and step % 10 == 0:
            averaged += 1
            for name, tensor in p.items():
                held = mean.setdefault(name, torch.zeros_like(tensor, requires_grad=False))
                held.add_(tensor.detach() - held, alpha=1 / averaged)
    stepper.wait()
    final = {name: tensor.detach().cpu().numpy() for name, tensor in (mean or p).items()}
    return [{name: value[n] for name, value in final.items()} for n in range(len(seeds))]


class _Stepper:
    """One step of all models. On a GPU a step is recorded once for each length of rows and then played back.

    A step is some thousand small kernels: to launch them one by one takes longer than to run them.
    """

    def __init__(self, p: dict[str, Any], recipe: Recipe, device: str) -> None:
        self._p, self._recipe, self._device = p, recipe, device
        self._on_gpu = device != "cpu"
        groups = _groups(p, recipe)
        self._rates = [group["lr"] for group in groups]
        for group in groups:
            group["lr"] = torch.tensor(group["lr"], device=device)
        self._optimiser = torch.optim.AdamW(
            groups,
            betas=(0.9, 0.98),
            fused=self._on_gpu,
            capturable=self._on_gpu,
            foreach=None if self._on_gpu else False,
        )
        self._seen: set[int] = set()
        self._recorded: dict[int, tuple[Any, tuple[Any, ...], Any]] = {}
        if self._on_gpu:
            torch.cuda.set_device(p["head.domain.bias"].device)
            self._stream = torch.cuda.Stream()
            self._pool = torch.cuda.graph_pool_handle()

    def step(self, arrays: Sequence[Any], pace: float) -> Any:
        """The loss; `pace` is the share of each group's own rate."""
        for group, rate in zip(self._optimiser.param_groups, self._rates, strict=True):
            group["lr"].fill_(rate * pace)
        if not self._on_gpu or not self._recipe.recorded:
            return self._run([a.to(self._device) for a in arrays])
        length = arrays[0].shape[2]
        if length not in self._recorded:
            if length not in self._seen:  # the first time as it comes: libraries set themselves up
                self._seen.add(length)
                torch.cuda.current_stream().synchronize()
                with torch.cuda.stream(self._stream):
                    loss = self._run([a.to(self._device) for a in arrays])
                torch.cuda.current_stream().wait_stream(self._stream)
                return loss
            self._record(length, arrays)
        graph, inputs, loss = self._recorded[length]
        for held, given in zip(inputs, arrays, strict=True):
            held.copy_(given, non_blocking=True)
        graph.replay()
        return loss

    def wait(self) -> None:
        """Until all that was launched is done."""
        if self._on_gpu:
            torch.cuda.synchronize()

    def _record(self, length: int, arrays: Sequence[Any]) -> None:
        inputs = tuple(a.to(self._device) for a in arrays)
        torch.cuda.synchronize()
        self._optimiser.zero_grad(set_to_none=True)
        graph = torch.cuda.CUDAGraph()
        # Memory that the thread of `_ahead` pins meanwhile would spoil a recording that minds all threads.
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
            loss = self._run(inputs)
        self._recorded[length] = graph, inputs, loss

    def _run(self, inputs: Sequence[Any]) -> Any:
        loss = _loss(self._p, inputs, self._recipe)
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        _clip(self._p)
        self._optimiser.step()
        return loss.detach()


def _ahead(steps: Iterable[list[Batch]]) -> Iterator[tuple[Any, ...]]:
    """The stacked batches of each step, made by a thread while the step before runs."""
    ready: queue.Queue[tuple[Any, ...] | BaseException | None] = queue.Queue(maxsize=8)
    pinned = torch.cuda.is_available()

    def make() -> None:
        try:
            for batches in steps:
                arrays = [torch.from_numpy(part) for part in _stacked(batches)]
                ready.put(tuple(a.pin_memory() for a in arrays) if pinned else tuple(arrays))
        except BaseException as failed:  # raised again where it is taken
            ready.put(failed)
        ready.put(None)

    threading.Thread(target=make, daemon=True).start()
    while (got := ready.get()) is not None:
        if isinstance(got, BaseException):
            raise got
        yield got


def _loss(p: dict[str, Any], inputs: Sequence[Any], recipe: Recipe) -> Any:
    ids, mask, shapes, labels, tags = inputs
    # One cast of all weights a step, instead of autocast's of every operand: half the kernels and half the traffic.
    half = {name: tensor.to(torch.bfloat16) for name, tensor in p.items()}
    out = heads.forward(half, ids.long(), mask, shapes, recipe.dropout)
    rows = ids.shape[1]
    loss = 0.0
    for column, task in enumerate(LABELS):
        wanted = labels[:, :, column].long()
        each = functional.cross_entropy(
            out[task].float().flatten(0, 1),
            wanted.flatten(),
            reduction="sum",
            label_smoothing=recipe.smoothing,
            ignore_index=NOTHING,
        )
        loss = loss + LOSS_WEIGHTS[task] * each / rows
    wanted = tags.long()
    each = functional.cross_entropy(
        out["pii"].float().flatten(0, 2), wanted.flatten(), reduction="none", ignore_index=NOTHING
    ).view(wanted.shape)
    per_row = each.sum(2) / (wanted != NOTHING).sum(2).clamp(min=1)
    return loss + LOSS_WEIGHTS["pii"] * per_row.sum() / rows


def _clip(p: dict[str, Any]) -> None:
    """Scales the gradient of each model down to a norm of 1."""
    squares = [t.grad.flatten(1).pow(2).sum(1) for t in p.values() if t.grad is not None]
    scale = (1 / (torch.stack(squares).sum(0).sqrt() + 1e-6)).clamp(max=1)
    for t in p.values():
        if t.grad is not None:
            t.grad.mul_(scale.view(-1, *([1] * (t.grad.ndim - 1))))


def _stacked(batches: Sequence[Batch]) -> tuple[Array, ...]:
    """The batches of all models with a model axis in front, padded alike, to one of few lengths."""
    longest = _few(max(b.ids.shape[1] for b in batches))
    size = len(batches), batches[0].ids.shape[0], longest
    ids, mask, shapes = np.zeros(size, np.int32), np.zeros(size, np.int8), np.zeros(size, np.int8)
    tags = np.full(size, NOTHING, np.int16)
    for n, b in enumerate(batches):
        length = b.ids.shape[1]
        ids[n, :, :length], mask[n, :, :length], shapes[n, :, :length] = b.ids, b.mask, b.shapes
        tags[n, :, :length] = b.tags
    return ids, mask, shapes, np.stack([b.labels for b in batches]), tags


def _few(length: int) -> int:
    """The next multiple of 8, from 96 on of 32: a step is recorded for each."""
    unit = 8 if length <= LONG else 32
    return -(-length // unit) * unit


def _groups(p: dict[str, Any], recipe: Recipe) -> list[dict[str, Any]]:
    """Parameter groups of one rate each, which falls with the distance from the heads."""
    groups: dict[tuple[float, float], list[Any]] = {}
    for name, tensor in p.items():
        far = heads.depth(name)
        rate = recipe.head_rate if far == 0 else recipe.rate * recipe.layer_decay ** (far - 1)
        decay = recipe.weight_decay if tensor.ndim > 2 else 0.0
        groups.setdefault((rate, decay), []).append(tensor)
    return [{"params": tensors, "lr": rate, "weight_decay": decay} for (rate, decay), tensors in groups.items()]


def _pace(step: int, total: int, warmup: float) -> float:
    """Linear warm-up, then linear down to a tenth (the averaged tail still has to move)."""
    done = step / max(total, 1)
    return max(done, 1e-3) / warmup if done < warmup else max(0.1, (1 - done) / (1 - warmup))


def soup(models: Sequence[Weights]) -> dict[str, Array]:
    """The mean of several trainings that started from the same base: better on unseen sources, no slower."""
    return {name: np.asarray(np.mean([m[name] for m in models], axis=0, dtype=np.float32)) for name in models[0]}
