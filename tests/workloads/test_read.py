"""Traces of every schema we know, told apart by their content."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from random import Random

import pytest

from benchmarks.workloads.read import read
from benchmarks.workloads.sessions import COPY, SessionTrace
from benchmarks.workloads.workload import Arrival, Workload

MOONCAKE = [
    {"timestamp": 0, "input_length": 1_100, "output_length": 500, "hash_ids": [0, 1, 2]},
    {"timestamp": 3_000, "input_length": 900, "output_length": 5, "hash_ids": [0, 3]},
    {"timestamp": 6_000, "input_length": 1_700, "output_length": 5, "hash_ids": [0, 1, 4, 5]},
    {"timestamp": 6_000, "input_length": 500, "output_length": 5, "hash_ids": [9]},
]
AGENT = [
    {"session": "s", "turn": 1, "t_ms": 30_000, "input_length": 200, "output_length": 9, "hash_ids": [7, 8, 1, 2]},
    {"session": "s", "turn": 0, "t_ms": 0, "input_length": 100, "output_length": 70, "hash_ids": [7, 8]},
    {"session": "t", "turn": 0, "t_ms": 0, "input_length": 64, "output_length": 9, "hash_ids": [7]},
]
AZURE = "t_s,input_tokens,output_tokens\n0.0,374,44\n2.0,879,55\n3.0,20,1\n"
SERVEGEN = "t_s,client,input_tokens,output_tokens,reason_share_of_output\n0.0,3,8,1166,0.5\n1.5,4,600,7,0.1\n"


def lines(rows: list[dict[str, object]]) -> str:
    return "\n".join(json.dumps(row) for row in rows) + "\n"


def put(folder: Path, content: str, name: str = "t.jsonl") -> Workload:
    path = folder / name
    path.write_bytes(gzip.compress(content.encode()) if name.endswith(".gz") else content.encode())
    return read(path)


def arrive(workload: Workload, rate: float = 1.0, seed: int = 0) -> list[Arrival]:
    return workload.arrivals(rate, Random(seed))


def test_mooncake_has_blocks_of_512_tokens_the_last_of_them_perhaps_not_full(tmp_path: Path) -> None:
    workload = put(tmp_path, lines(MOONCAKE))
    first = arrive(workload)[0].ask

    assert (workload.block_tokens, workload.name) == (512, "t")
    assert (first.prompt_tokens, first.output_tokens) == (1_100, 500)
    assert first.blocks[:2] == (0, 1)
    assert arrive(workload)[1].ask.blocks == (0, 3)


def test_an_answer_that_a_later_prompt_continues_has_that_prompts_blocks(tmp_path: Path) -> None:
    first, other = (arrival.ask for arrival in arrive(put(tmp_path, lines(MOONCAKE)))[:2])

    # 1,100 + 500 tokens fill three blocks; the third is the later prompt's third, and so is its text so far.
    assert first.hashes == (0, 1, 4)
    assert first.blocks == (0, 1, 4)
    # A shared beginning alone is no conversation: the answer's blocks are its own.
    assert other.hashes == (0,)


def test_what_an_answer_fills_and_nobody_continues_is_nobody_elses(tmp_path: Path) -> None:
    rows = [{"timestamp": n, "input_length": 512, "output_length": 1_024, "hash_ids": [n]} for n in range(2)]
    one, other = (arrival.ask for arrival in arrive(put(tmp_path, lines(rows))))

    assert len(one.hashes) == len(other.hashes) == 3
    assert len({*one.hashes, *other.hashes}) == 6


def test_agents_have_sessions_of_turns_in_their_order(tmp_path: Path) -> None:
    workload = put(tmp_path, lines(AGENT))
    assert isinstance(workload, SessionTrace)
    arrivals = workload.arrivals(2.0, Random(1), 400)

    assert workload.block_tokens == 64
    assert [a.at for a in arrivals] == sorted(a.at for a in arrivals)
    followers = [a for a in arrivals if a.after is not None]
    assert followers
    for arrival in followers:
        before = arrivals[arrival.after or 0]
        assert arrival.gap_s == pytest.approx(arrival.at - before.at) == 30.0
        assert (before.ask.prompt_tokens, arrival.ask.prompt_tokens) == (100, 200)
        assert arrival.ask.blocks[: len(before.ask.blocks)] == before.ask.blocks  # its tail is continued
        assert before.ask.hashes == arrival.ask.hashes[:2]


def test_copies_of_a_session_share_what_sessions_share_and_nothing_else(tmp_path: Path) -> None:
    workload = put(tmp_path, lines(AGENT))
    held = [set(a.ask.blocks) for a in workload.arrivals(5.0, Random(2), 300) if a.ask.prompt_tokens == 200]

    assert len(held) > 10
    assert set.intersection(*held) == {7}
    assert all(len({block % COPY for block in blocks}) == 4 for blocks in held)
    assert len(set.union(*held)) == 1 + 3 * len(held)


def test_sessions_come_at_the_rate_asked_for(tmp_path: Path) -> None:
    arrivals = put(tmp_path, lines(AGENT)).arrivals(4.0, Random(3), 8_000)

    assert len(arrivals) == pytest.approx(8_000, rel=0.05)
    assert arrivals[-1].at == pytest.approx(2_000.0, rel=0.02)


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_tables_share_nothing(tmp_path: Path, name: str) -> None:
    arrivals = arrive(put(tmp_path, AZURE, name))

    assert [a.ask.prompt_tokens for a in arrivals] == [374, 879, 20]
    blocks = [block for a in arrivals for block in a.ask.blocks]
    assert len(blocks) == len(set(blocks)) == 4
    assert all(a.ask.hashes == () for a in arrivals)


def test_clients_of_a_table_are_tenants(tmp_path: Path) -> None:
    assert [a.ask.tenant for a in arrive(put(tmp_path, SERVEGEN))] == ["client-3", "client-4"]


def test_time_is_scaled_to_the_rate_and_keeps_its_shape(tmp_path: Path) -> None:
    rows = [{"timestamp": 3_000 * (n // 7), "input_length": 9, "output_length": 1, "hash_ids": [n]} for n in range(700)]
    workload = put(tmp_path, lines(rows))
    slow, fast = arrive(workload, 1.0), arrive(workload, 4.0)

    assert slow[-1].at == pytest.approx(700.0, rel=0.02)
    assert [a.at for a in fast] == pytest.approx([a.at / 4 for a in slow])
    # Seven come in every step of 3 s, spread over it.
    per_step = [sum(7 * n <= a.at < 7 * (n + 1) for a in slow) for n in range(100)]
    assert set(per_step) == {7}
    assert len({a.at for a in slow}) == 700


def test_a_seed_moves_the_arrivals(tmp_path: Path) -> None:
    workload = put(tmp_path, AZURE)

    assert [a.at for a in arrive(workload, seed=1)] != [a.at for a in arrive(workload, seed=2)]
    assert [a.at for a in arrive(workload, seed=1)] == [a.at for a in arrive(workload, seed=1)]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("t_s,input_tokens\n1,2\n", "output_tokens"),
        ('{"prompt": "x"}\n', "neither"),
        ('{"timestamp": 0, "input_length": 5}\n', "lacks 'output_length'"),
        ("t_s,input_tokens,output_tokens\n1,2,3\n", "at least two"),
        ("", "the table lacks"),
    ],
)
def test_a_file_that_is_no_trace_is_refused_with_the_reason(tmp_path: Path, content: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        put(tmp_path, content)
