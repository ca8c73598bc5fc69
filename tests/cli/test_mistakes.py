"""Mistakes of whoever types a command: a sentence that says what to mend, an exit status of its own, no traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from epp.__main__ import main

FILES = {
    "port.yaml": b"endpoints:\n  - {name: a, address: 10.0.0.7}\n",
    "broken.yaml": b"endpoints: [\n",
    "binary": b"\xff\xfe\x00bad",
    "cut.gz": b"\x1f\x8b\x08\x00",
    "other.yaml": b"hello: world\n",
    "number.jsonl": b'{"text": 5}\n',
    "words.jsonl": b"no json\n",
    "empty.json": b"{}",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    for name in ("ONEHOP_TRACES", "ONEHOP_ROUTING", "ONEHOP_ADMIN_TOKEN", "KUBECONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("command", "status", "said"),
    [
        ("nonsense", 2, "there is no command 'nonsense'"),
        ("serve", 1, "--discovery-file: or one of"),
        ("serve --no-such-flag", 1, "--no-such-flag: unknown flag"),
        ("serve --grpc-port 70000 --discovery-file port.yaml", 1, "--grpc-port: Input should be less than or equal"),
        ("serve --discovery-file none.yaml", 1, "none.yaml: cannot be read: No such file"),
        ("serve --discovery-file .", 1, ".: cannot be read: Is a directory"),
        ("serve --discovery-file port.yaml", 1, "port.yaml: endpoints[0].port: is required"),
        ("serve --discovery-file port.yaml --admin-address 0.0.0.0:0", 1, "is not loopback, so it needs a token"),
        ("check none.yaml", 1, "none.yaml: No such file or directory\n"),
        ("check .", 1, ".: Is a directory\n"),
        ("check broken.yaml", 1, "broken.yaml: line 2, column 1: not YAML or JSON"),
        ("check binary", 1, "binary: the file: is not UTF-8 text"),
        ("check other.yaml", 1, "other.yaml: hello: unknown key"),
        ("classify none.jsonl", 1, "onehop classify: none.jsonl: No such file or directory\n"),
        ("classify number.jsonl", 1, 'number.jsonl: line 1 is not an object with a string "text"'),
        ("classify words.jsonl", 1, "words.jsonl: line 1 is not JSON"),
        ("classify binary", 1, "onehop classify: binary: is not UTF-8 text\n"),
        ("inspect --address 127.0.0.1:1", 1, "nobody listens there; is OneHop running?"),
        ("explain", 1, "onehop explain: arguments: takes one of PROMPT, --request FILE and --receipt ID\n"),
        ("explain --request none.json", 1, "none.json: No such file or directory"),
        ("explain hello --semantic-config-file other.yaml", 1, "other.yaml: version: is missing"),
        ("replay empty.json", 1, "onehop replay: arguments: takes --config-file, --semantic-config-file or both"),
        ("replay none.json --config-file built-in", 1, "none.json: is no file, and no address either"),
        ("replay empty.json --config-file built-in", 1, "receipt 1: is none: it has no 'endpoints'\n"),
        ("replay binary --config-file built-in", 1, "binary: is no JSON of receipts"),
        ("doctor --file none.yaml", 1, "onehop doctor: none.yaml: No such file or directory\n"),
        ("doctor --file broken.yaml", 1, "broken.yaml: not YAML or JSON: line 2"),
        ("doctor --kubeconfig none", 1, "none: not found; outside of a pod, name a kubeconfig file"),
        ("migrate none.yaml", 1, "onehop migrate: none.yaml: No such file or directory\n"),
        ("migrate binary", 1, "binary: is not UTF-8 text\n"),
        ("migrate other.yaml", 1, "other.yaml: the file: is no configuration of vSR from before v0.3"),
        ("quickstart --port 99999 --once", 1, "--port: must be 0 to 65535"),
        ("quickstart --replicas 0 --once", 1, "--replicas: must be 1 to 50"),
        ("bench", 2, "usage: onehop bench COMMAND"),
        ("bench sim --trace none --rate 1", 1, "none: No such file or directory\n"),
        ("bench sim --trace binary --rate 1", 1, "binary: is no text, plain or gzipped\n"),
        ("bench sim --trace cut.gz --rate 1", 1, "cut.gz: is no text, plain or gzipped\n"),
        ("bench sim --workload chat --data . --rate 1", 1, "azure2023_conv.csv.gz: No such file or directory\n"),
        ("bench compare empty.json empty.json", 2, "empty.json holds no results"),
        ("bench plot none.json --out x", 1, "none.json: No such file or directory\n"),
        ("bench plot binary --out x", 1, "binary: is no text, plain or gzipped\n"),
        ("bench live --url http://192.0.2.1 --model m", 1, "--allow-remote"),
    ],
)
def test_it_is_told_what_to_mend(
    command: str, status: int, said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = main(command.split())
    told = capsys.readouterr()

    assert said in told.err
    assert ended == status
    assert told.out == ""
    assert "Traceback" not in told.err
    assert "Errno" not in told.err


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("check", "the following arguments are required: FILE"),
        ("classify --tier 7 number.jsonl", "argument --tier: invalid choice: '7'"),
        ("inspect --address nonsense", "argument --address"),
        ("bench sim --workload nope", "argument --workload: invalid choice: 'nope'"),
        ("bench sim --workload rag --rate -1", "argument --rate: must be above 0, and finite"),
        ("bench sim --workload rag --rate inf", "argument --rate: must be above 0, and finite"),
        ("bench sim --workload rag --rate nan", "argument --rate: must be above 0, and finite"),
        ("bench sim --workload rag --requests 0", "argument --requests: must be at least 1"),
        ("bench sim --workload rag --replicas 0", "argument --replicas: must be at least 1"),
        ("bench sim --workload rag --mix 1,1", "argument --mix: three shares"),
        ("bench shedding --loads x", "argument --loads: invalid loads value: 'x'"),
        ("bench shedding --knee 0", "argument --knee: must be above 0, and finite"),
        ("bench live --prompts 5XB", "argument --prompts"),
    ],
)
def test_a_flag_that_is_wrong_is_named(
    command: str, said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(command.split())

    assert ended.value.code == 2
    assert said in capsys.readouterr().err
