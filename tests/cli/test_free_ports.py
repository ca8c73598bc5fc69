"""Ports for servers that are started later: free, and nobody else's until then."""

from __future__ import annotations

import socket
from itertools import count

import pytest

from epp.cli import stack
from epp.cli.stack import PORTS, free_ports


def test_no_port_is_given_twice_nor_one_that_the_kernel_may_give_away() -> None:
    given = [port for number in (1, 3, 2, 40) for port in free_ports(number)]

    assert len(set(given)) == 46
    assert set(given) <= set(PORTS)


def test_a_port_that_is_taken_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    (port,) = free_ports(1)
    monkeypatch.setattr(stack, "_places", count(PORTS.index(port)))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        (other,) = free_ports(1)

    assert other != port


def test_where_no_port_is_free_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    (port,) = free_ports(1)
    monkeypatch.setattr(stack, "PORTS", range(port, port + 1))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        with pytest.raises(OSError, match="no port is free"):
            free_ports(1)
