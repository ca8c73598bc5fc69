"""`python -m benchmarks.simulator`: its arguments and what it says when they are wrong."""

import argparse
import socket

import pytest

from benchmarks.simulator.__main__ import main, parse_replica


def test_a_replica_is_read_from_keys_and_values() -> None:
    spec = parse_replica("name=a,models=llama3-8b+auto,address=127.0.0.2,port=8001,gpu=l4,adapters=x+y,kv_tokens=1600")

    assert (spec.name, spec.models, spec.address, spec.port) == ("a", ("llama3-8b", "auto"), "127.0.0.2", 8001)
    assert (spec.gpu, spec.adapters, spec.kv_tokens) == ("l4", ("x", "y"), 1600)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name=a", "has no models"),
        ("models=m", "has no name"),
        ("name=a,models=m,prot=1", "'prot=1' is not KEY=VALUE"),
        ("name", "'name' is not KEY=VALUE"),
        ("name=a,models=m,port=http", "port must be a number, got 'http'"),
        ("name=a,models=m,gpu=tpu", "no time constants for gpu 'tpu'"),
    ],
)
def test_a_wrong_replica_says_why(text: str, expected: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=expected):
        parse_replica(text)


def test_a_taken_port_ends_with_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status = main(["--replica", f"name=a,models=m,port={port}"])

    assert status == 1
    expected = f"replica a: cannot listen on 127.0.0.1:{port}: the port is taken; choose another, or 0 for any free one"
    assert expected in capsys.readouterr().err


def test_a_time_factor_of_nothing_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--replica", "name=a,models=m", "--time-factor", "0"]) == 1
    assert "time_factor must be above 0" in capsys.readouterr().err
