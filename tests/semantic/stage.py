"""A semantic file with something of everything, and a stage by it over signals of our making."""

import textwrap

import yaml

from semantic.choice import Choice
from semantic.config import read_config
from semantic.router import SemanticRouter
from tests.semantic.fakes import EVERYTHING, LONG_S, Told, chat

FILE = textwrap.dedent("""\
    version: v0.3
    providers:
      defaults:
        default_model: big
        default_reasoning_effort: medium
        reasoning_families: {qwen3: {type: chat_template_kwargs, parameter: enable_thinking}}
      models:
        - {name: big, reasoning_family: qwen3, pricing: {prompt_per_1m: 2, completion_per_1m: 4}}
        - {name: small, pricing: {prompt_per_1m: 0.1}}
        - {name: eyes, provider_model_id: eyes-7b-instruct}
    routing:
      modelCards:
        - {name: big, capabilities: [chat, tools], quality_score: 0.9, context_window_size: 100000}
        - {name: small, capabilities: [chat], quality_score: 0.5, loras: [{name: small-law}]}
        - {name: eyes, capabilities: [chat, vision], quality_score: 0.7, context_window_size: 8000}
      signals:
        domains: [{name: math}, {name: law}, {name: physics}, {name: other}]
        keywords: [{name: urgent, keywords: [urgent]}, {name: stop, keywords: [forbidden]}]
        jailbreak: [{name: attack}]
        pii: [{name: mail}]
        language: [{name: es}]
        context: [{name: long, min_tokens: 32K}]
        embeddings: [{name: setup, threshold: 0.8, candidates: [install]}]
        complexity:
          - name: depth
            threshold: 0.5
            hard: {candidates: [proof]}
            easy: {candidates: [quick]}
            composer: {type: domain, name: math}
      decisions:
        - {name: blocked, priority: 99, rules: {type: keyword, name: stop},
           plugins: [{type: fast_response, configuration: {message: No.}}]}
        - {name: hurry, priority: 50, rules: {type: keyword, name: urgent}, modelRefs: [{model: small}]}
        - {name: maths, priority: 10, rules: {type: domain, name: math}, modelRefs: [{model: small}, {model: big}]}
        - {name: laws, priority: 10, rules: {type: domain, name: law},
           modelRefs: [{model: small, lora_name: small-law}]}
        - {name: physics, priority: 10, rules: {type: domain, name: physics},
           modelRefs: [{model: big, use_reasoning: true}, {model: eyes}]}
        - {name: rest, priority: 1, rules: {type: domain, name: other}, modelRefs: [{model: big}]}
    """)


def edited(**changes: object) -> str:
    """FILE with parts of `routing`, or other top-level blocks, replaced."""
    document = yaml.safe_load(FILE)
    for key, value in changes.items():
        if key in document["routing"]:
            document["routing"][key] = value
        else:
            document[key] = value
    return yaml.safe_dump(document)


def stage(text: str = FILE, told: Told | None = None, **more: object) -> SemanticRouter:
    config = read_config(text, provides=EVERYTHING)
    router = SemanticRouter(config, told or Told(), **more)  # type: ignore[arg-type]  # a test's shorthand
    router.prepare()
    return router


async def chosen(router: SemanticRouter, *said: str, **body: object) -> Choice:
    return await router.choose(chat(*said, **body), LONG_S)


GUARDS = [
    {"type": "jailbreak", "name": "attack", "action": "block"},
    {"type": "pii", "name": "mail", "action": "block", "on_unknown": "block"},
]
RECIPES = {
    "entrypoints": [{"model_names": ["vllm-sr/private"], "recipe": "private"}],
    "recipes": [
        {
            "name": "private",
            "routing": {
                "strategy": "confidence",
                "signals": {"keywords": [{"name": "secret", "keywords": ["secret"]}]},
                "decisions": [
                    {"name": "kept", "rules": {"type": "keyword", "name": "secret"}, "modelRefs": [{"model": "small"}]}
                ],
            },
        }
    ],
}
