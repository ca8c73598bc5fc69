"""Which paths we know, and what they ask of a body."""

from __future__ import annotations

import pytest

from epp.protocol.paths import APIS, PARSERS, error_shape, find, path_of


@pytest.mark.parametrize(
    ("path", "suffix"),
    [  # row 57
        ("/v1/chat/completions", "/chat/completions"),
        ("/v1/completions", "/completions"),
        ("/x/v1/completions/", "/completions"),
        ("/v1/chat/completions?stream=1", "/chat/completions"),
        ("/v1/chat/completions/render", "/chat/completions/render"),
        ("/v1/completions/render", "/completions/render"),
        ("/v1/embeddings", "/embeddings"),
        ("/v1/responses", "/responses"),
        ("/v1/conversations", "/conversations"),
        ("/v1/images/generations", "/images/generations"),
        ("/v1/messages", "/v1/messages"),
        ("/team-a/v1/messages/count_tokens", "/v1/messages/count_tokens"),
        ("/inference/v1/generate", "/inference/v1/generate"),
        ("/generate", None),
        ("/v1/audio/transcriptions", None),
        ("/v1/chat/completions/x", None),
        ("/", None),
    ],
)
def test_the_longest_suffix_wins(path: str, suffix: str | None) -> None:
    api = find(path_of({":path": path}))

    assert (api.suffix if api else None) == suffix


def test_no_suffix_hides_another() -> None:
    for api in APIS:
        assert find(f"/any/prefix{api.suffix}") is api


@pytest.mark.parametrize(
    ("headers", "path"),
    [  # section 1.6: `:path`, then x-original-path, then x-forwarded-path, then completions
        ({":path": "/a/?q=/v1", "x-original-path": "/b"}, "/a"),
        ({"x-original-path": "/b/", "x-forwarded-path": "/c"}, "/b"),
        ({":path": "", "x-forwarded-path": "/c"}, "/c"),
        ({}, "/v1/completions"),
    ],
)
def test_the_path_may_come_in_other_headers(headers: dict[str, str], path: str) -> None:
    assert path_of(headers) == path


def test_a_parser_that_is_not_in_use_knows_nothing() -> None:
    assert find("/v1/messages", PARSERS - {"anthropic-parser"}) is None
    assert find("/v1/completions", ()) is None


def test_anthropics_paths_want_anthropics_errors() -> None:
    assert [error_shape(p) for p in ("/v1/messages", "/v1/messages/count_tokens", "/v1/completions", "/x")] == [
        "anthropic",
        "anthropic",
        "openai",
        "openai",
    ]
