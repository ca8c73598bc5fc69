"""`onehop explain PROMPT`: the signals, rules and candidates of a dry run; `--receipt ID` asks a running OneHop why."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from semantic.config import ConfigError
from semantic.router import SemanticRouter
from semantic.service import ClassificationService

TIMEOUT_S = 5.0
ADMIN = "http://127.0.0.1:9091"


def run(arguments: list[str]) -> int:
    """0 with an explanation, 1 where there is none to give."""
    parser = argparse.ArgumentParser(prog="onehop explain", description=__doc__)
    parser.add_argument("prompt", metavar="PROMPT", nargs="?", help="what a user would say; - for standard input")
    parser.add_argument("--semantic-config-file", metavar="FILE", type=Path, help="what `auto` means")
    parser.add_argument("--model", default="auto", help="the alias that is asked for (default auto)")
    parser.add_argument("--lenient", action="store_true", help="as for serve")
    parser.add_argument("--receipt", metavar="ID", help="the x-onehop-receipt of an answer")
    parser.add_argument("--admin", metavar="URL", default=ADMIN, help=f"where to ask for it (default {ADMIN})")
    parser.add_argument("--admin-token", metavar="TOKEN", help="as it was given to serve")
    parser.add_argument("--json", action="store_true", help="everything, for programs")
    given = parser.parse_args(arguments)
    if given.receipt:
        return _receipt(given.admin, given.receipt, given.admin_token)
    if given.prompt is None or given.semantic_config_file is None:
        parser.error("a PROMPT and --semantic-config-file are required, or --receipt")
    prompt = sys.stdin.read() if given.prompt == "-" else given.prompt
    try:
        router = SemanticRouter.load(given.semantic_config_file, lenient=given.lenient)
        router.prepare()
    except ConfigError as mistake:
        print(f"onehop explain: {given.semantic_config_file}: {mistake}", file=sys.stderr)
        return 1
    said = asyncio.run(_evaluate(router, prompt, given.model))
    print(json.dumps(said, indent=2, ensure_ascii=False) if given.json else _shown(said))
    return 0


async def _evaluate(router: SemanticRouter, prompt: str, model: str) -> dict[str, Any]:
    service = ClassificationService(lambda: router)
    try:
        return await service.evaluate({"text": prompt, "model": model, "trace": True})
    finally:
        router.close()
        router.signals.close()


def _shown(said: dict[str, Any]) -> str:
    lines = [said["reason"], f"classification: {said['classification']}"]
    lines += [f"  {label:<20} {value:.3f}" for label, value in said["probabilities"].items()]
    lines.append("signals:")
    for name, group in (("holds", "matched"), ("does not hold", "unmatched"), ("unknown", "unknown")):
        found = said["decision_result"][f"{group}_signals"]
        lines += [f"  {kind}: {', '.join(names)} {name}" for kind, names in found.items()]
    lines.append("decisions:")
    for one in said["trace"]:
        chosen = "->" if one["decision"] == said["routing_decision"] else "  "
        conditions = ", ".join(f"{c['type']}:{c['name']} {c['verdict']}" for c in one["conditions"]) or "always"
        lines.append(f"{chosen} {one['decision']} (priority {one['priority']}): {one['verdict']} [{conditions}]")
    lines.append("candidates: " + (", ".join(said["recommended_models"]) or said["refusal"] or "answered at once"))
    return "\n".join(lines)


def _receipt(admin: str, receipt: str, token: str | None) -> int:
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    url = f"{admin.rstrip('/')}/debug/decisions/{receipt}"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S) as answer:
            print(json.dumps(json.load(answer), indent=2))
    except urllib.error.HTTPError as refused:
        print(f"onehop explain: {url}: {refused.code} {refused.reason}", file=sys.stderr)
        return 1
    except (urllib.error.URLError, TimeoutError, ValueError) as broken:
        print(f"onehop explain: {url}: {broken}", file=sys.stderr)
        return 1
    return 0
