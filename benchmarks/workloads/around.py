"""What workloads have in common that change something of another one."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.workloads.workload import Shape, Workload


@dataclass(frozen=True)
class Around:
    """All that is not changed is `inner`'s."""

    inner: Workload

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def block_tokens(self) -> int:
        return self.inner.block_tokens

    @property
    def natural_rate(self) -> float:
        return self.inner.natural_rate

    @property
    def shape(self) -> Shape:
        return self.inner.shape
