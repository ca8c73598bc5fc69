"""Discovery files, good and bad, and the mistakes named in them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epp.datastore import discovery
from epp.datastore.pool import Listed
from epp.domain import ConfigError

GOOD = """
endpoints:
- name: llama-0
  namespace: models
  address: 10.0.0.7
  port: 8000
  labels: {app: vllm, "llm-d.ai/role": decode}
- {name: llama-1, address: "FD00:0::7", port: "8001"}
- {name: llama-2, address: Node-3.example.internal, port: 8000, labels: }
"""


def test_yaml_and_json_list_the_same_endpoints() -> None:
    endpoints = [
        {"name": "a", "address": "127.0.0.1", "port": "8000", "labels": {"x": "1"}},
        {"name": "b", "namespace": "n", "address": "::1", "port": 80},
    ]
    expected = [Listed("default/a", "127.0.0.1:8000", {"x": "1"}), Listed("n/b", "[::1]:80")]

    assert discovery.parse(json.dumps({"endpoints": endpoints}).encode()) == expected
    assert discovery.parse(json.dumps({"endpoints": endpoints}, indent="\t").encode()) == expected


def test_names_addresses_and_labels_are_rendered() -> None:
    assert discovery.parse(GOOD.encode()) == [
        Listed("models/llama-0", "10.0.0.7:8000", {"app": "vllm", "llm-d.ai/role": "decode"}),
        Listed("default/llama-1", "[fd00::7]:8001"),
        Listed("default/llama-2", "node-3.example.internal:8000"),
    ]


def test_an_empty_list_is_a_pool_scaled_to_zero() -> None:
    assert discovery.parse(b"endpoints: []") == []


def test_the_same_name_in_two_namespaces_is_two_endpoints() -> None:
    text = b"endpoints: [{name: a, namespace: x, address: h, port: 1}, {name: a, namespace: y, address: h, port: 2}]"

    assert [listed.name for listed in discovery.parse(text)] == ["x/a", "y/a"]


ADDRESS = "must be an IPv4 address, an IPv6 address or a host name, without scheme, brackets and port, not"
PORT = "must be a whole number from 1 to 65535, not"


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("", "file: is empty; write `endpoints: []` for a pool without endpoints"),
        ("# nothing here", "file: is empty; write `endpoints: []` for a pool without endpoints"),
        ("endpoints:", "endpoints: is required; write `endpoints: []` for a pool without endpoints"),
        ("{}", "endpoints: is required; write `endpoints: []` for a pool without endpoints"),
        (
            "endpoints: {a: b}",
            "endpoints: must be a list, not a mapping; write `endpoints: []` for a pool without endpoints",
        ),
        ("- name: a", "file: must be a mapping, not a list"),
        ("just words", 'file: must be a mapping, not "just words"'),
        ("endpoints: [a]", 'endpoints[0]: must be a mapping, not "a"'),
        ("endpoints: [ ~ ]", "endpoints[0]: must be a mapping, not nothing"),
        ("endpoint: []\nendpoints: []", 'endpoint: unknown key; did you mean "endpoints"?'),
        ("endpoints: []\nendpoints: []", "endpoints: is given twice"),
        ("endpoints: [}", "line 1, column 13: not YAML or JSON: did not find expected node content"),
        ("a: b: c", "line 1, column 5: not YAML or JSON: mapping values are not allowed in this context"),
        ("a: *b", "line 1, column 4: not YAML or JSON: found undefined alias"),
        ("--- a\n--- b", "line 2, column 1: not YAML or JSON: but found another document"),
        ("endpoints: " + "[" * 50, "line 1: is nested deeper than 16 levels"),
        ("endpoints: []" + " " * (1 << 20), "file: is larger than 1048576 bytes"),
    ],
)
def test_mistakes_of_the_file(text: str, mistake: str) -> None:
    assert [str(m) for m in discovery.examine(text.encode())[1]][:1] == [mistake]


@pytest.mark.parametrize(
    ("changes", "mistake"),
    [
        ({"name": None}, "endpoints[1].name: is required"),
        ({"name": ""}, 'endpoints[1].name: must be 1 to 253 characters without spaces and slashes, not ""'),
        ({"name": "a/b"}, 'endpoints[1].name: must be 1 to 253 characters without spaces and slashes, not "a/b"'),
        ({"name": "a b"}, 'endpoints[1].name: must be 1 to 253 characters without spaces and slashes, not "a b"'),
        ({"name": 5}, 'endpoints[1].name: must be a string, not "5"; put it in quotes'),
        ({"name": ["a"]}, "endpoints[1].name: must be a string, not a list"),
        ({"name": "first"}, 'endpoints[1].name: "default/first" is already taken by endpoints[0].name'),
        ({"namespace": True}, 'endpoints[1].namespace: must be a string, not "true"; put it in quotes'),
        ({"address": None}, "endpoints[1].address: is required"),
        ({"address": "10.0.0.300"}, f'endpoints[1].address: {ADDRESS} "10.0.0.300"'),
        ({"address": "10.0.0.1:80"}, f'endpoints[1].address: {ADDRESS} "10.0.0.1:80"'),
        ({"address": "http://a"}, f'endpoints[1].address: {ADDRESS} "http://a"'),
        ({"address": "[::1]"}, f'endpoints[1].address: {ADDRESS} "[::1]"'),
        ({"address": "fe80::1%eth0"}, f'endpoints[1].address: {ADDRESS} "fe80::1%eth0"'),
        ({"address": "0.0.0.0"}, f'endpoints[1].address: {ADDRESS} "0.0.0.0"'),
        ({"address": "-a"}, f'endpoints[1].address: {ADDRESS} "-a"'),
        ({"address": "a\nb"}, f'endpoints[1].address: {ADDRESS} "a\\nb"'),
        ({"address": "x" * 64}, f'endpoints[1].address: {ADDRESS} "{"x" * 60}..."'),
        ({"address": "first"}, 'endpoints[1].address: "first:8000" is already taken by endpoints[0].address'),
        ({"port": None}, "endpoints[1].port: is required"),
        ({"port": 0}, f'endpoints[1].port: {PORT} "0"'),
        ({"port": 65536}, f'endpoints[1].port: {PORT} "65536"'),
        ({"port": -1}, f'endpoints[1].port: {PORT} "-1"'),
        ({"port": 80.5}, f'endpoints[1].port: {PORT} "80.5"'),
        ({"port": True}, f'endpoints[1].port: {PORT} "true"'),
        ({"port": "http"}, f'endpoints[1].port: {PORT} "http"'),
        ({"port": "\u0661"}, f'endpoints[1].port: {PORT} "\\u0661"'),
        ({"port": [80]}, f"endpoints[1].port: {PORT} a list"),
        ({"labels": "app"}, 'endpoints[1].labels: must be a mapping, not "app"'),
        ({"labels": {"gpu": 1}}, 'endpoints[1].labels.gpu: must be a string, not "1"; put it in quotes'),
        ({"labels": {"gpu": None}}, None),
        ({"adress": "h"}, 'endpoints[1].adress: unknown key; did you mean "address"?'),
        ({"zzz": "h"}, "endpoints[1].zzz: unknown key; valid keys are name, namespace, address, port, labels"),
    ],
)
def test_mistakes_of_an_endpoint(changes: dict[str, object], mistake: str | None) -> None:
    first = {"name": "first", "address": "first", "port": 8000}
    second = {"name": "second", "address": "second", "port": 8000} | changes
    listed, mistakes = discovery.examine(json.dumps({"endpoints": [first, second]}).encode())

    assert [str(m) for m in mistakes] == ([mistake] if mistake else [])
    assert len(listed) == (1 if mistake else 2)


def test_all_mistakes_are_found_and_the_first_is_raised() -> None:
    text = b"endpoints: [{address: 1.2.3, port: x, labels: {a: 1, b: 2}}, {name: ok, address: h, port: 1}, 5]"
    listed, mistakes = discovery.examine(text)
    with pytest.raises(ConfigError) as raised:
        discovery.parse(text)

    paths = ["name", "address", "port", "labels.a", "labels.b"]
    assert [m.path for m in mistakes] == [*(f"endpoints[0].{path}" for path in paths), "endpoints[2]"]
    assert [item.name for item in listed] == ["default/ok"]
    assert str(raised.value) == "endpoints[0].name: is required (and 5 more)"


def test_a_single_mistake_is_not_said_to_be_one_of_several() -> None:
    with pytest.raises(ConfigError) as raised:
        discovery.parse(b"endpoints: [{address: h, port: 1}]")

    assert str(raised.value) == "endpoints[0].name: is required"


@pytest.mark.parametrize("missing", ["name", "address", "port"])
def test_what_is_missing_twice_is_not_taken_twice(missing: str) -> None:
    both = [{"name": name, "address": f"host-{name}", "port": 8000} for name in "ab"]
    if missing == "port":
        both[1]["address"] = both[0]["address"]
    for one in both:
        del one[missing]
    mistakes = discovery.examine(json.dumps({"endpoints": both}).encode())[1]

    assert [str(m) for m in mistakes] == [f"endpoints[{n}].{missing}: is required" for n in (0, 1)]


@pytest.mark.parametrize(("last", "good"), [(61, True), (62, False)])
def test_a_host_name_may_have_253_characters(last: int, good: bool) -> None:
    host = ".".join(["a" * 63] * 3 + ["a" * last])
    mistakes = discovery.examine(json.dumps({"endpoints": [{"name": "a", "address": host, "port": 1}]}).encode())[1]

    assert len(host) == 192 + last
    assert (mistakes == []) is good


def test_aliases_are_followed_and_endless_ones_are_harmless() -> None:
    text = (
        b"endpoints: [{name: a, address: h, port: 1, labels: &l {x: 'y'}}, {name: b, address: g, port: 1, labels: *l}]"
    )
    endless = b"endpoints: &e [{name: a, address: h, port: 1, labels: {x: *e}}]"

    assert [item.labels for item in discovery.parse(text)] == [{"x": "y"}, {"x": "y"}]
    assert [str(m) for m in discovery.examine(endless)[1]] == ["endpoints[0].labels.x: must be a string, not a list"]


_WORDS = ["endpoints:", "name:", "address:", "port:", "labels:", "10.0.0.1", "::1", "a", "8000", "null", "~", "-", "- "]
_MARKS = [
    "{",
    "}",
    "[",
    "]",
    ",",
    '"',
    "'",
    "\n",
    " ",
    "\n  ",
    "&a ",
    "*a",
    "!!int ",
    "!!binary ",
    "<<: ",
    "|",
    "%",
    "\\ud800",
]
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["endpoints", "name", "address", "port", "labels", "x"]), inner, max_size=5)
    ),
    max_leaves=12,
)


@given(
    st.one_of(
        st.binary(),
        st.lists(st.sampled_from(_WORDS + _MARKS), max_size=40).map(lambda words: "".join(words).encode()),
        _JSON.map(lambda value: json.dumps({"endpoints": [value]}).encode()),
        _JSON.map(lambda value: json.dumps(value).encode()),
    )
)
def test_whatever_the_bytes_are_the_result_is_endpoints_or_mistakes(text: bytes) -> None:
    listed, mistakes = discovery.examine(text)

    assert all(m.path and m.message for m in mistakes)
    assert len({item.name for item in listed}) == len(listed) == len({item.address for item in listed})
