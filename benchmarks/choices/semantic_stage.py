"""Our own choice: the semantic stage that serves, over a table of signals, with all of a decision's models in order.

Which of them answers is decided with the endpoint, when the load is known: `epp/leaving.py`, with the gate.
"""

from __future__ import annotations

from benchmarks.choices.briefing import Briefing
from benchmarks.choices.decisions import document
from benchmarks.choices.signals import Accuracy, TableSignals
from epp.chooser import SemanticChooser
from epp.datastore.pool import Pool
from semantic.config import read_config
from semantic.router import SemanticRouter

DEADLINE_S = 1.0  # never reached: no time passes in the stage


def stage(briefing: Briefing, pool: Pool, accuracy: Accuracy, algorithm: str = "static") -> SemanticChooser:
    """For one run; the pool says how busy a model is, which `multi_factor` asks."""
    signals = TableSignals(briefing.asked.values(), accuracy)
    router = SemanticRouter(read_config(document(briefing, algorithm), provides=signals.provides), signals)
    return SemanticChooser(lambda: router, DEADLINE_S, pool)
