"""Which endpoints serve a model: looked up for every request, worked out when a list or what its endpoints say changes.

Must stay true: an endpoint's `models` and `declared` are replaced and never changed in place, so the objects themselves
say whether anything is new.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from epp.domain import Endpoint

MODELS_MAX = 1024  # remembered; clients may name as many as they like


class Serving:
    """Remembers by model, for one list at a time: a pool's own, which is a tuple and stays the same for long."""

    def __init__(self) -> None:
        self._endpoints: Sequence[Endpoint] = ()
        self._said: list[Mapping[str, str] | None] = []
        self._by_model: dict[str, Sequence[Endpoint]] = {}

    def __len__(self) -> int:
        """How many models are remembered."""
        return len(self._by_model)

    def of(self, model: str | None, endpoints: Sequence[Endpoint]) -> Sequence[Endpoint]:
        """Those that say they serve the model; if none says so, those of which nobody has told what they serve.

        All of them for None. What is returned for a tuple is the same object for as long as it is right.
        """
        if model is None:
            return endpoints
        said = [e.declared if e.models is None else e.models for e in endpoints]
        if not isinstance(endpoints, tuple):  # a hint's, made for this request
            return _serving(model, endpoints, said)
        if endpoints is not self._endpoints or said != self._said or len(self._by_model) >= MODELS_MAX:
            self._endpoints, self._said, self._by_model = endpoints, said, {}
        found = self._by_model.get(model)
        if found is None:
            found = self._by_model[model] = _serving(model, endpoints, said)
        return found


def _serving(model: str, endpoints: Sequence[Endpoint], said: Sequence[Mapping[str, str] | None]) -> Sequence[Endpoint]:
    told = [e for e, names in zip(endpoints, said, strict=True) if names and model in names]
    if len(told) == len(endpoints):
        return endpoints
    return tuple(told or [e for e, names in zip(endpoints, said, strict=True) if names is None])
