"""How fast one endpoint is, learned from what it did: prefill seconds of a prompt, and how fast it decodes right now.

Prefill is `a + k * shape(uncached, cached)` seconds, where `shape` is what an 8B model takes on one H100: linear in the
tokens computed, and quadratic in what they attend to. `a` and `k` are fitted by least squares with forgetting; whatever
the model and the GPU, what differs from the shape's hardware is nearly all in `k`. One fit is learned from all
endpoints together, and of each endpoint how many times as long it takes, as far as endpoints differ by more than the
samples of one do (the positive-part James-Stein estimator): a few that happened to be slow, or one huge prompt, must
not turn a burst away from an endpoint that is as fast as the others.

What a prompt took is the time from when its endpoint could begin with it (when it was sent, or when the prompt before
it was done) to its first token. Engines compute prompts in order of arrival, so these times add up to the time an
endpoint was busy, also where a step finishes several prompts at once.
"""

from __future__ import annotations

from math import exp, inf, log

from epp.domain import Load
from epp.scheduling.unseen import Sent, Unseen

TOKEN_S = 22.0e-6  # Llama-3-8B in bf16 on an H100 (kernel profiles published with Vidur)
PAIR_S = 524_288 / 450e12  # attention: FLOP a pair of tokens over FLOP/s
START_S = 0.015  # half a decode step to wait for, and a step's overhead
SHAPES = (0.0, 0.4)  # where the prior lies
PRIOR_WEIGHT = 2.0  # samples that each of these counts for
FORGET = 0.995  # a sample's weight after the next one
YOUNG = 64.0  # samples up to which what was predicted before them is doubted
TYPICAL = 8.0  # samples for which it counts that an endpoint is as fast as the others
RATIOS = (0.02, 50.0)  # least and most that an endpoint takes of what is typical
OUTLIER = 5.0  # times the prediction: what took longer was not prefill alone
OUTLIER_S = 0.25
PACE_S = 2.0  # how far back the decode pace looks
SEEN_S = 60.0  # for how long first tokens that we saw make the engine's own count of them unnecessary
GAP_S_MAX = 10.0  # between samples: over more than this a mean says nothing of now


def shape(uncached: int, cached: int) -> float:
    """Seconds of prefill on the hardware of reference, without what every request takes."""
    return uncached * (TOKEN_S + PAIR_S * (cached + 0.5 * uncached))


class Fit:
    """`seconds = a + k * shape`, by least squares in which old samples fade."""

    __slots__ = ("_n", "_x", "_xx", "_xy", "_y", "a", "k")

    def __init__(self, a: float = START_S, k: float = 1.0) -> None:
        self._n = self._x = self._y = self._xx = self._xy = 0.0
        for x in SHAPES:
            self._add(x, a + k * x, PRIOR_WEIGHT)
        self.a, self.k = a, k

    def seconds(self, shape_s: float) -> float:
        """What a prompt of this shape takes."""
        return self.a + self.k * shape_s

    def learn(self, shape_s: float, took_s: float) -> None:
        """One prompt was computed."""
        took_s = min(took_s, OUTLIER * self.seconds(shape_s) + OUTLIER_S)
        self._n, self._x, self._y = self._n * FORGET, self._x * FORGET, self._y * FORGET
        self._xx, self._xy = self._xx * FORGET, self._xy * FORGET
        self._add(shape_s, took_s, 1.0)
        spread = self._n * self._xx - self._x * self._x
        if spread > 1e-9 * self._n * self._n:
            self.k = min(max((self._n * self._xy - self._x * self._y) / spread, 0.02), 200.0)
        self.a = min(max((self._y - self.k * self._x) / self._n, 0.0), 2.0)

    def _add(self, x: float, y: float, weight: float) -> None:
        self._n += weight
        self._x += weight * x
        self._y += weight * y
        self._xx += weight * x * x
        self._xy += weight * x * y


class Typical(Fit):
    """Of all endpoints together, and how they differ, in logarithms of what each takes to what the fit says: their
    `mean`, their mean square around it (`spread`), and that of one more sample around its endpoint's (`noise`)."""

    __slots__ = ("_ratios", "_samples", "level", "mean", "noise", "spread")

    def __init__(self) -> None:
        super().__init__()
        self.mean = self.noise = self.spread = self._ratios = self._samples = 0.0
        self.level = 1.0  # what all of them take to what the fit says: e to the mean

    def usual(self, shape_s: float) -> float:
        """What a prompt of this shape takes at an endpoint of which nothing is known."""
        return self.level * (self.a + self.k * shape_s)

    @property
    def young(self) -> bool:
        """Whether the first samples are here and few more, so that what was predicted before may be far from them."""
        return len(SHAPES) * PRIOR_WEIGHT < self._n < YOUNG

    def compare(self, ratio: float) -> None:
        """What all samples of an endpoint say by now."""
        if not self._ratios:
            self.mean = log(ratio)  # the first says nothing of how they differ
        off = log(ratio) - self.mean
        self._ratios = self._ratios * FORGET + 1.0
        self.mean += off / self._ratios
        self.spread += (off * off - self.spread) / self._ratios
        self.level = exp(self.mean)

    def surprise(self, sample: float, ratio: float) -> None:
        """One more sample of an endpoint, and what those before it said."""
        self._samples = self._samples * FORGET + 1.0
        # Of prompts that one step finishes together, all but the first seem to take no time at all.
        off = log(min(max(sample / ratio, 1.0 / OUTLIER), OUTLIER))
        self.noise += (off * off - self.noise) / self._samples

    def believed(self, ratio: float, count: float) -> float:
        """What an endpoint takes to what is usual, if its own samples say this, as many of equal weight as `count`."""
        by_chance = self.noise / count
        trust = 1.0 - by_chance / self.spread if self.spread > by_chance else 0.0
        trust *= count / (TYPICAL + count)
        return exp(trust * (log(ratio) - self.mean))


class Speed:
    """One endpoint's, and how many requests of others it has: what the engine counts and the ledger does not."""

    __slots__ = (
        *("_count", "_seconds", "_shapes", "_squares", "_tokens", "_took", "_weights", "done_at", "held", "load"),
        *("others", "others_waiting", "pace_s", "per_token", "ratio", "sampled_at", "seen_at", "typical", "unseen"),
        "waiting",
    )

    def __init__(self, typical: Typical) -> None:
        self.typical = typical  # of this endpoint and those like it; learns with it
        self.ratio = 1.0  # its seconds to what is usual
        # Of its prompts, fading: how many, their shapes, what they took; what each was to take, and squares of that.
        self._count = self._shapes = self._took = self._weights = self._squares = 0.0
        self.others = self.others_waiting = 0.0
        # Of the last sample: its moment, requests waiting, the part of the KV cache in use, and a token's part of it.
        self.sampled_at, self.waiting, self.held, self.per_token = -inf, 0.0, 0.0, 0.0
        self.done_at = 0.0  # when it finished a prompt last
        self.seen_at = -inf  # when we last saw one finished
        self.unseen = Unseen()
        self.pace_s = 0.0  # seconds from token to token, over the last two seconds or so; 0: not known, or idle
        self.load: Load | None = None  # the sample that was looked at last
        self._seconds = self._tokens = 0.0

    def seconds(self, shape_s: float) -> float:
        """What a prompt of this shape takes here."""
        return self.ratio * self.typical.usual(shape_s)

    def seen(self, sent: Sent, now: float) -> None:
        """A prompt has its first token now, before our eyes."""
        self.seen_at = now
        self.computed(sent.shape_s, sent.at, now)

    def send(self, sent: Sent) -> None:
        """A prompt whose first token nobody will show us."""
        if self.load is not None and self.load.first_tokens is not None:
            self.unseen.add(sent)

    def computed(self, shape_s: float, sent_at: float, now: float) -> None:
        """A prompt that was sent then has its first token now."""
        took_s = max(0.0, now - max(sent_at, self.done_at))
        self.done_at = max(self.done_at, now)
        took_s = min(took_s, OUTLIER * self.seconds(shape_s) + OUTLIER_S)
        weight = self.typical.seconds(shape_s)
        if weight > 0 and self._count:
            self.typical.surprise(_within(took_s / weight), self._own())
        self._count = self._count * FORGET + 1.0
        self._shapes = self._shapes * FORGET + shape_s
        self._took = self._took * FORGET + took_s
        self._weights = self._weights * FORGET + weight
        self._squares = self._squares * FORGET + weight * weight
        self.typical.learn(shape_s, took_s)
        self.typical.compare(self._own())
        self._compare()

    def _own(self) -> float:
        """What its own samples say of its ratio."""
        expected = self._count * self.typical.a + self._shapes * self.typical.k
        return _within(self._took / expected) if expected > 0 else 1.0

    def _compare(self) -> None:
        """With what is typical, which changes by what other endpoints do, too."""
        # A mean in which one prompt outweighs all others says as little as that one prompt.
        if self._squares:
            self.ratio = self.typical.believed(self._own(), self._weights * self._weights / self._squares)

    def look(self, load: Load | None, inflight: int) -> None:
        """Learn from the engine's counters, where there is a new sample of them and so many requests of ours."""
        before, self.load = self.load, load
        self._compare()
        if load is None:
            self.sampled_at = -inf
            return
        self.sampled_at, self.waiting, self.held = load.at, load.waiting or 0.0, load.kv_usage or 0.0
        self.per_token = 1.0 / (load.num_blocks * load.block_size) if load.num_blocks and load.block_size else 0.0
        self._look_at_others(load, inflight, first=before is None)
        if before is not None:
            self._look_at_pace(before, load)
            self._look_at_first_tokens(before, load)

    def _look_at_others(self, load: Load, inflight: int, *, first: bool) -> None:
        waiting, running = load.waiting or 0.0, load.running or 0.0
        others = max(0.0, waiting + running - inflight)
        # Half a sample each time: requests end between a sample and the look at it.
        self.others = others if first else 0.5 * (self.others + others)
        self.others_waiting = min(waiting, self.others)

    def _look_at_first_tokens(self, before: Load, load: Load) -> None:
        """Of requests that the gateway does not show us; those that it shows teach more."""
        if not len(self.unseen) or load.first_tokens is None or before.first_tokens is None:
            return
        count = int(load.first_tokens - before.first_tokens)
        seconds = (load.first_token_seconds or 0.0) - (before.first_token_seconds or 0.0)
        if count < 0 or seconds < 0 or load.at - self.seen_at < SEEN_S or self.others >= 1:
            self.unseen.clear()
            return
        for sent, done_at in self.unseen.counted(count, seconds, self.done_at, self.seconds):
            self.computed(sent.shape_s, sent.at, min(done_at, load.at))

    def _look_at_pace(self, before: Load, load: Load) -> None:
        if load.decode_seconds is None or before.decode_seconds is None:
            return
        seconds = load.decode_seconds - before.decode_seconds
        tokens = (load.decode_tokens or 0.0) - (before.decode_tokens or 0.0)
        gap = load.at - before.at
        if not 0 < gap <= GAP_S_MAX or seconds < 0 or tokens < 0:  # silence, or an engine that began anew
            self._seconds = self._tokens = self.pace_s = 0.0
            return
        kept = max(0.0, 1.0 - gap / PACE_S)
        self._seconds = self._seconds * kept + seconds
        self._tokens = self._tokens * kept + tokens
        self.pace_s = self._seconds / self._tokens if self._tokens > 0.5 else 0.0


def _within(ratio: float) -> float:
    return min(max(ratio, RATIOS[0]), RATIOS[1])
