"""Grafana's dashboards, each a module of rows of panels.

    python -m helm.dashboards        writes helm/onehop/dashboards/ anew

Must stay true: every panel shows something while requests come (tests/observability runs all of them against a real
Prometheus); a panel whose series appear only with trouble has a query that is 0 until then.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from helm.dashboards import classification, models, overload, pools, traffic
from helm.dashboards.panels import NS, Row

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH, HEIGHT = 8, 8
DASHBOARDS = {
    "onehop-traffic": ("OneHop: traffic and latency", traffic.ROWS),
    "onehop-models": ("OneHop: models and decisions", models.ROWS),
    "onehop-pools": ("OneHop: pools and endpoints", pools.ROWS),
    "onehop-overload": ("OneHop: overload", overload.ROWS),
    "onehop-classification": ("OneHop: classification", classification.ROWS),
}


def dashboard(uid: str, title: str, rows: Sequence[Row]) -> dict[str, Any]:
    """As Grafana imports it."""
    return {
        "title": title,
        "uid": uid,
        "tags": ["onehop", "inference"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "30s",
        "timezone": "browser",
        "time": {"from": "now-1h", "to": "now"},
        "annotations": {"list": []},
        "links": [{"title": "OneHop", "type": "dashboards", "tags": ["onehop"], "asDropdown": True, "keepTime": True}],
        "templating": {"list": list(_variables())},
        "panels": list(_placed(rows)),
    }


def _variables() -> Iterator[dict[str, Any]]:
    yield {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "current": {}}
    asked = {
        "namespace": "label_values(llm_d_epp_extproc_streams_inflight, namespace)",
        "pool": f"label_values(llm_d_epp_ready_endpoints{{{NS}}}, name)",
    }
    for name, query in asked.items():
        yield {
            "name": name,
            "label": name.capitalize(),
            "type": "query",
            "datasource": DATASOURCE,
            "query": query,
            "refresh": 2,
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
            "current": {"text": "All", "value": "$__all"},
        }


def _placed(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    number, y = 0, 0
    for row in rows:
        number += 1
        place = {"x": 0, "y": y, "w": 3 * WIDTH, "h": 1}
        yield {"id": number, "type": "row", "title": row.title, "collapsed": False, "gridPos": place, "panels": []}
        y += 1
        for at, panel in enumerate(row.panels):
            number += 1
            across, down = at % 3, at // 3
            place = {"x": across * WIDTH, "y": y + down * HEIGHT, "w": WIDTH, "h": HEIGHT}
            yield {
                "id": number,
                "type": panel.kind,
                "title": panel.title,
                "description": panel.text,
                "datasource": DATASOURCE,
                "gridPos": place,
                "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
                "targets": [
                    {"refId": chr(ord("A") + n), "datasource": DATASOURCE, "expr": expr, "legendFormat": legend}
                    for n, (expr, legend) in enumerate(panel.queries)
                ],
            }
        y += -(-len(row.panels) // 3) * HEIGHT


def written() -> dict[str, str]:
    """The files by name."""
    return {
        f"{uid}.json": json.dumps(dashboard(uid, title, rows), indent=1) + "\n"
        for uid, (title, rows) in DASHBOARDS.items()
    }
