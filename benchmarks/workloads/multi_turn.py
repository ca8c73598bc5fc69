"""Chats of 2 to 10 turns under a few system prompts: each prompt holds the conversation so far, answers included."""

from __future__ import annotations

from hashlib import sha256
from random import Random

from benchmarks.workloads.generated import Lengths
from benchmarks.workloads.sessions import SessionTrace, Turn
from benchmarks.workloads.workload import Ask

SYSTEMS, SYSTEM_TOKENS = 20, 1_024
SESSIONS = 400
BLOCK_TOKENS = 64
SAID = Lengths(300, 1.0, least=8, most=16_000)
ANSWERS = Lengths(250, 0.8, least=4, most=2_000)
THINK_S = 10.0
BLOCKS_PER_SESSION = 1 << 14


def multi_turn(name: str = "multi-turn") -> SessionTrace:
    """400 kinds of chats, started again and again with text of their own."""
    rng = Random("multi-turn")
    shared = frozenset(range(SYSTEMS * SYSTEM_TOKENS // BLOCK_TOKENS))
    sessions = [_session(number, rng) for number in range(SESSIONS)]
    said = repr((SYSTEMS, SYSTEM_TOKENS, SESSIONS, SAID, ANSWERS, THINK_S))
    return SessionTrace(name, sha256(said.encode()).hexdigest(), BLOCK_TOKENS, sessions, shared=shared)


def _session(number: int, rng: Random) -> list[Turn]:
    """The session's text is one row of blocks; a prompt is its beginning."""
    whole = SYSTEM_TOKENS // BLOCK_TOKENS
    system = rng.randrange(SYSTEMS)
    begin = (number + 1) * BLOCKS_PER_SESSION
    row = (*range(system * whole, (system + 1) * whole), *range(begin, begin + BLOCKS_PER_SESSION - whole))
    tokens, turns = SYSTEM_TOKENS, list[Turn]()
    for _ in range(rng.randint(2, 10)):
        tokens += SAID.draw(rng)
        answer = ANSWERS.draw(rng)
        blocks, held = row[: -(-tokens // BLOCK_TOKENS)], row[: (tokens + answer) // BLOCK_TOKENS]
        turns.append(Turn(rng.expovariate(1 / THINK_S), Ask(tokens, answer, blocks, held)))
        tokens += answer
    return turns
