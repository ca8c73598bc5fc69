"""How fairly tenants were served who ask for unlike amounts: Jain's index against the max-min fair shares.

R. Jain, A. Durresi and G. Babic, "Throughput Fairness Index: An Explanation" (ATM Forum 99-0045): with `x_i` the
throughput of i divided by its max-min fair one, the index is `(sum x)^2 / (n sum x^2)`. Max-min fair shares (Bertsekas
and Gallager, Data Networks, 6.5.2) give everyone the same, but nobody more than asked for.

Throughput here is tokens of prompt and answer of the requests that met their objectives, demand the same of all that
were offered, and what is shared is what was served: 1 where everybody had a fair part, 1/n where one had it all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from benchmarks.sim.flight import Flight
from benchmarks.sim.statistics import jain


def max_min(demands: Sequence[float], total: float) -> list[float]:
    """The fair share of each demand where `total` is all there is; all of it where that suffices."""
    shares = [0.0] * len(demands)
    left = total
    for served, n in enumerate(sorted(range(len(demands)), key=demands.__getitem__)):
        shares[n] = min(demands[n], left / (len(demands) - served))
        left -= shares[n]
    return shares


def served_fairly(demands: Sequence[float], served: Sequence[float]) -> float | None:
    """Jain's index of what each was served of its fair share; None where nobody was served."""
    fair = max_min(demands, sum(served))
    return jain([got / share for got, share in zip(served, fair, strict=True) if share > 0])


def of_tenants(flights: Iterable[Flight], met: Iterable[object]) -> float | None:
    """The index over the tenants of these requests, of which those were served that `met` their objectives.

    None for one tenant, or where nobody was served.
    """
    offered, served = Counter[str](), Counter[str]()
    for flight, fine in zip(flights, met, strict=True):
        tenant, tokens = flight.ask.tenant or "", flight.ask.prompt_tokens + flight.ask.output_tokens
        offered[tenant] += tokens
        served[tenant] += tokens if fine else 0
    if len(offered) < 2:
        return None
    return served_fairly(list(offered.values()), [served[tenant] for tenant in offered])
