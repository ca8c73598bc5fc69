"""Alerts, recording rules and the dashboard: they ask for metrics and labels that exist, and do what they say."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from random import Random
from subprocess import run

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from epp.domain import Candidate, Choice, Exclusion, Receipt, Spilled, SpillReason, Usage
from epp.flow.build import Place, own_gate
from epp.flow.settings import FlowSettings
from epp.flow.ticket import Key, Ticket
from epp.picking import Picking
from epp.scheduling.framework import Profile
from epp.scheduling.plugins.max_score import MaxScorePicker
from epp.scheduling.reckoner import Reckoner
from epp.telemetry import Telemetry
from helm.dashboards import written
from tests.make import fleet, load, pool, request

from .chart import CHART, FULLNAME, MODES, Object, container, example, minimal, needs_helm, objects, render
from .chart import pod as pod_of

PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not on PATH: the rules are not run")

RULES = CHART / "rules" / "onehop.yaml"
DASHBOARDS = sorted((CHART / "dashboards").glob("*.json"))
UNIT_TESTS = Path(__file__).parent / "rules_test.yaml"
FROM_PROMETHEUS = {"namespace", "pod", "job", "le"}
SERIES = re.compile(r"\b(?:llm|onehop|inference(?!_pool\b))_[a-z0-9_]+")
MATCHED = re.compile(r"((?:llm|onehop)_[a-z0-9_]+)\{([^}]*)\}")
GROUPED = re.compile(r"\b(?:by|on) \(([^)]*)\)")


def rules() -> list[Object]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def dashboards() -> list[Object]:
    return [json.loads(path.read_text()) for path in DASHBOARDS]


def panels() -> list[Object]:
    return [panel for one in dashboards() for panel in one["panels"] if panel["type"] != "row"]


def expressions() -> list[str]:
    asked = [target["expr"] for panel in panels() for target in panel["targets"]]
    variables = [v["query"] for one in dashboards() for v in one["templating"]["list"] if v["type"] == "query"]
    return [*(rule["expr"] for rule in rules()), *asked, *variables]


def grouped_by(expression: str) -> set[str]:
    return {label for labels in GROUPED.findall(expression) for label in labels.split(", ")}


def exposed() -> dict[str, set[str]]:
    """Every series of a OneHop to which everything has happened once, with its labels."""
    over = pool("a", "b")
    for endpoint in over.endpoints:
        endpoint.load = replace(load(waiting=1), prompt_tokens=1.0, generated_tokens=1.0)
    telemetry = Telemetry(fleet(over))
    telemetry.conditions = {"discovery": lambda: "the API server does not answer"}
    telemetry.reloads = {"semantic": lambda: (1, 1)}
    telemetry.texts = telemetry.spans = lambda: {"failed": 1}
    rng, now = Random(1), lambda: 1.0
    eligible = Picking(over, Profile("test", picker=MaxScorePicker()), rng).eligible
    telemetry.watch("a", own_gate(Place(over, eligible, now, telemetry.meter("a")), FlowSettings(), Reckoner()))
    for outcome in ("dispatched", "wait_too_long"):
        telemetry.meter("a").passed(Ticket(request("m"), Key(frozenset({"m"})), 0.0), outcome, 0.1)
    telemetry.meter("a").evicted(-1)
    happened: Object = {"id": "i", "request_id": "r", "time": 0.0, "path": "/v1", "asked_model": "auto", "model": "m"}
    happened |= {"picked": over.endpoints[0].address, "stream": True, "usage": Usage(7, 10, 3), "answer_bytes": 9}
    happened |= {"chosen_s": 0.1, "decided_s": 0.2, "first_answer_s": 0.5, "ended_s": 2.0, "status": 500}
    signals = {"matched": {"domain:math": 1.0}, "coverage": {"scanned_bytes": 1, "total_bytes": 2}}
    choice = Choice((Candidate("m"),), "math", "math", 0.9, "full", "because", signals=signals)
    receipt = Receipt(**happened, outcome="completed", choice=choice, predicted_ttft_s=0.2)
    receipt.spill, receipt.excluded = Spilled("m", "n", SpillReason.WAIT), {"n": Exclusion.TOOLS}
    telemetry.chose(receipt)
    telemetry.looked([("domain", "math")], 0.1)
    telemetry.foretold(receipt, 0.3)
    telemetry.receipt("stored")
    telemetry.ejected("connect")
    telemetry.read_failed("/metrics", answered=True)
    telemetry.read_failed("/metrics", answered=False)
    telemetry.pace(receipt)(0.1)
    telemetry.decided(receipt)
    telemetry.ended(receipt)
    telemetry.gathered(0.1)
    telemetry.stream_ended("OK", 1.0)
    telemetry.surprise(KeyError())
    families = text_string_to_metric_families(telemetry.text().decode())
    return {sample.name: set(sample.labels) for family in families for sample in family.samples}


def test_what_is_asked_for_exists() -> None:
    known = exposed()

    for expression in expressions():
        for name in SERIES.findall(expression):
            assert name in known, f"{name} in {expression}"


def test_labels_that_are_asked_for_are_those_of_the_metric() -> None:
    known = exposed()
    matched = [found for expression in expressions() for found in MATCHED.findall(expression)]

    assert matched
    for name, matchers in matched:
        assert set(re.findall(r"([a-z_]+)(?:=~|!=|!~|=)", matchers)) <= known[name] | FROM_PROMETHEUS, name
    recorded = {rule["record"]: grouped_by(rule["expr"]) for rule in rules() if "record" in rule}
    for expression in expressions():
        kept = grouped_by(expression)
        has = [known[name] for name in SERIES.findall(expression)]
        has += [labels for name, labels in recorded.items() if name in expression]
        assert kept <= set().union(FROM_PROMETHEUS, *has), expression


OF_ENGINES = "onehop_endpoint_(?:engine|reachable|ejected)|llm_d_epp_(?:average|std_dev|per_endpoint|ready)"
QUEUED_THERE = r'onehop_queued_requests\{(?![^}]*where="gate")'
ADDED_UP = re.compile(rf"\bsum(?: by \([^)]*\))? \((?:rate\()?(?:{OF_ENGINES}|{QUEUED_THERE})")


def test_what_every_onehop_tells_of_the_same_engines_is_not_added_up_over_them() -> None:
    assert ADDED_UP.search("sum by (model, where) (onehop_queued_requests{namespace='a'})")
    assert [expression for expression in expressions() if ADDED_UP.search(expression)] == []


def test_outcomes_that_are_asked_for_exist() -> None:
    told = (CHART.parents[1] / "docs" / "operating.md").read_text()
    asked = {
        word for e in expressions() for said in re.findall(r'outcome[=~!]+"([^"]*)"', e) for word in said.split("|")
    }

    assert {"no_endpoints", "buffers_full", "saturated", "error"} <= asked
    assert all(f"`{outcome}`" in told for outcome in asked)


def test_recorded_names_that_are_asked_for_are_recorded() -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    asked = {name for e in expressions() for name in re.findall(r"\bonehop:[a-z_]+:[a-z0-9_]+", e)}

    assert asked == recorded


def test_every_alert_says_what_it_is_and_what_to_do() -> None:
    alerts = [rule for rule in rules() if "alert" in rule]

    assert len({rule["alert"] for rule in alerts}) == len(alerts) > 10
    for rule in alerts:
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert {"summary", "description"} == rule["annotations"].keys()
        assert rule["alert"].startswith("OneHop")


def test_every_rule_is_run_by_a_unit_test_both_ways() -> None:
    cases = [
        case for test in yaml.safe_load(UNIT_TESTS.read_text())["tests"] for case in test.get("alert_rule_test", ())
    ]
    fired = {case["alertname"] for case in cases if case["exp_alerts"]}
    silent = {case["alertname"] for case in cases if not case["exp_alerts"]}
    alerts = {rule["alert"] for rule in rules() if "alert" in rule}

    assert fired == silent == alerts


@needs_promtool
def test_rules_do_what_they_say() -> None:
    assert PROMTOOL is not None
    for words in (["check", "rules", RULES], ["test", "rules", UNIT_TESTS]):
        ran = run([PROMTOOL, *map(str, words)], capture_output=True, text=True, timeout=60, check=False)

        assert ran.returncode == 0, ran.stdout + ran.stderr


@needs_promtool
def test_every_panel_asks_what_prometheus_understands(tmp_path: Path) -> None:
    assert PROMTOOL is not None
    asked = [target["expr"] for panel in panels() for target in panel["targets"]]
    concrete = [re.sub(r"\$__(?:rate_interval|range)", "5m", expression) for expression in asked]
    group = {"name": "panels", "rules": [{"record": f"panel:{n}", "expr": e} for n, e in enumerate(concrete)]}
    (tmp_path / "panels.yaml").write_text(yaml.safe_dump({"groups": [group]}))
    command = [PROMTOOL, "check", "rules", "--lint=none", str(tmp_path / "panels.yaml")]
    ran = run(command, capture_output=True, text=True, timeout=60, check=False)

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"{len(asked)} rules found" in ran.stdout


def test_the_dashboards_are_those_that_are_written_down() -> None:
    assert {path.name: path.read_text() for path in DASHBOARDS} == written(), "python -m helm.dashboards"


@pytest.mark.parametrize("one", dashboards(), ids=lambda one: one["uid"])
def test_panels_do_not_overlap_and_name_their_data_source(one: Object) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in (panel for panel in one["panels"] if panel["type"] != "row"):
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}

        assert not taken & cells, panel["title"]
        assert at["x"] + at["w"] <= 24
        assert panel["description"]
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])
        taken |= cells


MONITORED: Object = {"prometheusRule": {"create": True, "labels": {"release": "p"}}, "dashboard": {"create": True}}


@needs_helm
def test_rules_and_dashboard_arrive_to_the_letter() -> None:
    rendered = render(minimal(monitoring=MONITORED))
    rule = rendered["PrometheusRule"]
    dashboard = rendered[f"ConfigMap/{FULLNAME}-dashboard"]

    assert rule["spec"] == yaml.safe_load(RULES.read_text())
    assert rule["metadata"]["labels"]["release"] == "p"
    assert {name: json.loads(text) for name, text in dashboard["data"].items()} == {
        path.name: json.loads(path.read_text()) for path in DASHBOARDS
    }
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"


@needs_helm
@pytest.mark.parametrize("mode", MODES)
def test_monitors_find_every_pod_once(mode: str) -> None:
    by_service, by_pod = (
        render(example(mode) | {"monitoring": {kind: {"create": True}}}) for kind in ("serviceMonitor", "podMonitor")
    )
    monitor = by_service["ServiceMonitor"]["spec"]
    (expression,) = monitor["selector"]["matchExpressions"]
    services = [
        item
        for item in objects(by_service, "Service")
        if monitor["selector"]["matchLabels"].items() <= item["metadata"]["labels"].items()
        and item["metadata"]["labels"][expression["key"]] in expression["values"]
    ]
    deployments = objects(by_pod, "Deployment")

    assert len(services) == len(deployments)
    assert all("http-metrics" in [p["name"] for p in item["spec"]["ports"]] for item in services)
    assert set(monitor["namespaceSelector"]["matchNames"]) == {d["metadata"]["namespace"] for d in deployments}
    chosen = by_pod["PodMonitor"]["spec"]
    for item in deployments:
        name = item["metadata"]["name"]
        containers = [container(by_pod, name), *pod_of(by_pod, name).get("initContainers", [])]
        opened = {port["name"] for c in containers for port in c["ports"]}

        assert chosen["selector"]["matchLabels"].items() <= item["spec"]["template"]["metadata"]["labels"].items()
        assert {end["port"] for end in chosen["podMetricsEndpoints"]} <= opened
    jobs = [end["relabelings"] for end in (*monitor["endpoints"], chosen["podMetricsEndpoints"][0])]
    assert jobs == [[{"targetLabel": "job", "replacement": "onehop"}]] * 2, "what the alert OneHopDown asks for"


@needs_helm
def test_nothing_of_the_operators_is_made_unless_asked_for() -> None:
    assert not {"ServiceMonitor", "PodMonitor", "PrometheusRule"} & render(minimal()).keys()


COLLECTOR: Object = {"podSelector": {"matchLabels": {"app": "otel"}}}


@needs_helm
def test_traces_leave_for_the_collector_and_are_told_by_the_sdks_variables() -> None:
    asked = {"tracing": True, "tracing-endpoint": "http://otel.ops:4317", "tracing-sample": 0.5}
    names = [{"name": "OTEL_SERVICE_NAME", "value": "picker-a"}]
    policy = {"create": True, "egress": {"collector": [COLLECTOR]}}
    rendered = render(minimal(flags=asked, extraEnv=names, networkPolicy=policy))
    (found,) = objects(rendered, "NetworkPolicy")
    (out,) = [rule for rule in found["spec"]["egress"] if COLLECTOR in rule.get("to", ())]

    assert {port["port"] for port in out["ports"]} == {4317, 4318}
    assert any({"port": 53, "protocol": "UDP"} in rule["ports"] for rule in found["spec"]["egress"])
    assert {"--tracing=true", "--tracing-sample=0.5"} <= set(container(rendered)["args"])
    assert container(rendered)["env"] == names


@needs_helm
def test_without_a_collector_nothing_is_let_out_for_it() -> None:
    (found,) = objects(render(minimal(networkPolicy={"create": True})), "NetworkPolicy")

    assert 4317 not in {port["port"] for rule in found["spec"]["egress"] for port in rule.get("ports", ())}
