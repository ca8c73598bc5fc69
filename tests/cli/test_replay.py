"""`onehop replay`: where receipts come from, what is printed, and what goes wrong."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestServer

from epp.__main__ import main
from epp.datastore.receipts import Receipts
from epp.edge.admin import LISTED_MAX, admin_app
from tests.datastore.test_receipts import receipt
from tests.make import fleet
from tests.replay.record import Recording, epc
from tests.replay.test_endpoints import made
from tests.replay.test_models import recording

CONFIG = """\
version: v0.3
providers: {defaults: {default_model: big}, models: [{name: big}, {name: small}]}
routing:
  modelCards: [{name: big}, {name: small}]
  signals: {domains: [{name: math}, {name: law}, {name: physics}, {name: other}]}
  decisions: [{name: sums, priority: 9, rules: {type: domain, name: math}, modelRefs: [{model: big}]}]
"""


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "epc.yaml"
    path.write_bytes(epc(queue=0.1, prefix=0))
    return path


async def scored() -> Recording:
    found = Recording(made(epc()))
    await found.asks(60)
    return found


def replay(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main(["replay", *map(str, words)])
    said = capsys.readouterr()
    return code, said.out, said.err


def file_of(tmp_path: Path, told: Any) -> Path:
    path = tmp_path / "receipts.json"
    path.write_text(told if isinstance(told, str) else json.dumps(told))
    return path


async def test_what_would_change_is_summed_up_and_listed(
    tmp_path: Path, rules: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = file_of(tmp_path, {"decisions": (await scored()).told})
    code, text, _ = replay(capsys, path, "--config-file", rules, "--list", 2)
    _, plain, _ = replay(capsys, path, "--config-file", rules, "--json")
    told = json.loads(plain)

    assert code == 0
    assert text.startswith(f"60 receipts, 60 decided again, {len(told['changes'])} would change\n")
    assert "ENDPOINT\n" in text
    assert f"and {len(told['changes']) - 2} more" in text
    assert told["unchanged"] + len(told["changes"]) == told["decided_again"] == told["endpoints_known"] == 60
    assert sum(move["count"] for move in told["endpoints"]) == told["changed"]["endpoint"] == len(told["changes"])
    assert all(line["before"]["endpoint"] != line["after"]["endpoint"] for line in told["changes"])


async def test_models_move_with_their_shares(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = file_of(tmp_path, (await recording()).told)
    semantic = tmp_path / "semantic.yaml"
    semantic.write_text(CONFIG)
    code, text, _ = replay(capsys, path, "--semantic-config-file", semantic)

    assert code == 0
    assert "small -> big" in text
    assert "SHARE OF ROUTED REQUESTS" in text
    assert "maths -> sums" in text
    assert "note: a signal that goes by words" in text


@pytest.mark.parametrize(
    "form",
    [
        lambda told: json.dumps({"decisions": told}),
        json.dumps,
        lambda told: "\n".join(map(json.dumps, told)),
        lambda told: "\n".join(json.dumps({"decisions": [each]}) for each in told),
    ],
)
async def test_receipts_are_read_as_people_keep_them(
    tmp_path: Path, rules: Path, capsys: pytest.CaptureFixture[str], form: Any
) -> None:
    path = file_of(tmp_path, form((await scored()).told))
    _, plain, _ = replay(capsys, path, "--config-file", rules, "--json")

    assert json.loads(plain)["receipts"] == 60


async def test_a_running_onehop_is_asked_for_all_it_keeps(rules: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = Recording(made(epc()))
    await found.asks(2 * LISTED_MAX + 7)
    async with TestServer(admin_app(fleet(found.pool), found.receipts, {})) as server:
        address = f"http://127.0.0.1:{server.port}"
        code = await asyncio.to_thread(main, ["replay", address, f"--config-file={rules}", "--json"])
    told = json.loads(capsys.readouterr().out)

    assert code == 0
    assert told["receipts"] == 2 * LISTED_MAX + 7


async def test_one_pool_alone(tmp_path: Path, rules: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = (await scored()).told
    path = file_of(tmp_path, [*told, *({**each, "id": f"{n}", "pool": "other"} for n, each in enumerate(told[:7]))])
    _, plain, _ = replay(capsys, path, "--config-file", rules, "--pool", "other", "--json")

    assert json.loads(plain)["receipts"] == 7


async def test_what_clients_call_things_cannot_move_the_cursor(
    tmp_path: Path, rules: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = [{**each, "asked_model": "\x1b[2Jm"} for each in (await scored()).told]
    _, text, _ = replay(capsys, file_of(tmp_path, told), "--config-file", rules)

    assert "?[2Jm" in text
    assert "\x1b" not in text


async def test_the_built_in_policy_has_a_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = file_of(tmp_path, (await scored()).told)
    code, text, _ = replay(capsys, path, "--config-file", "built-in")

    assert code == 0
    assert "note: least-work-scorer goes by what it has learned" in text
    assert "note: at the gate: who waits waits as long as it did" in text
    assert "of those decided again: refused 0, now 0; waited 0, now" in text


async def test_a_bound_of_serve_is_a_change(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = file_of(tmp_path, (await scored()).told)

    assert replay(capsys, path, "--slo-ttft", "500ms", "--spill-wait=0")[0] == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--slo-ttft", "soon"], "--slo-ttft: Value error, 'soon' is not a duration"),
        (["--spill-share-max=2"], "--spill-share-max"),
        (["--slo-ttft=1s", "--config-file={rules}"], "--slo-ttft: is of our own gate; with a file its section"),
    ],
)
def test_a_bound_that_cannot_be_meant_is_refused(
    tmp_path: Path, rules: Path, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    code, _, said = replay(capsys, file_of(tmp_path, "[]"), *(word.format(rules=rules) for word in words))

    assert code == 1
    assert says in said


@pytest.mark.parametrize(
    ("told", "words", "says"),
    [
        ("[]", ["--config-file", "built-in"], "there are no receipts"),
        ("no json", ["--config-file", "built-in"], "is no JSON of receipts"),
        ('[{"id": "7"}]', ["--config-file", "built-in"], "receipt 1: is none"),
        ("[]", [], "takes --config-file, --semantic-config-file or both"),
        ("[]", ["--config-file", "nowhere.yaml"], "nowhere.yaml: No such file"),
        ("[]", ["--semantic-config-file", "nowhere.yaml"], "nowhere.yaml: No such file"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], told: str, words: list[str], says: str
) -> None:
    code, out, err = replay(capsys, file_of(tmp_path, told), *words)

    assert (code, out) == (1, "")
    assert says in err
    assert len(err.splitlines()) == 1


def test_neither_a_file_nor_an_address(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = replay(capsys, "receipts.jsom", "--config-file", "built-in")

    assert code == 1
    assert "receipts.jsom: is no file, and no address either" in err


def test_a_mistake_in_the_new_file_has_its_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = tmp_path / "epc.yaml"
    wrong.write_bytes(epc().replace(b"weight: 2", b"wait: 2"))
    code, _, err = replay(capsys, file_of(tmp_path, "[]"), "--config-file", wrong)

    assert code == 1
    assert "schedulingProfiles[0].plugins[0].wait" in err


async def test_a_replay_of_requests_that_were_never_decided_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    receipts = Receipts()
    receipts.add(receipt("7", status=400, outcome="bad_request"))
    receipts.add(receipt("8", outcome="passed_on", picked=None))
    _, text, _ = replay(capsys, file_of(tmp_path, list(receipts.latest(9))), "--config-file", "built-in")

    assert "2 receipts, 0 decided again, 0 would change" in text
    assert "1 cannot be told: it was refused (bad_request) before a model was chosen" in text
    assert "1 cannot be told: it is the first of two streams" in text
