"""What to use in place of what vSR has and we have not, by vSR's name for it."""

from collections.abc import Mapping

_CACHE = "answers are not kept here; requests go where their prompt's beginning is cached"
_APPLICATION = "this is the application's part, before the gateway"
_TOOLS = "clients send their tools, and models whose card has none are left out"
_ANSWERS = "answers are not looked at here; guards look at prompts"
_ONE_MODEL = "a request is sent to one model here; `static` or `multi_factor`, and decisions that send what is hard on"
_TRAINED = "a decision over a `classifiers` signal with the trained model, exported to ONNX, says it"
_LATENCY = "`multi_factor` with a weight for latency"
_LEARNING = "`multi_factor` with weights; nothing is learned from answers"

INSTEAD: Mapping[str, str] = {
    # signals
    "reasks": "a turn that adds nothing stays with its model as it is; for others compare with phrases in `embeddings`",
    "preferences": "compare with phrases in `embeddings`, or bring a model in `classifiers`",
    "structure": "a pattern in `keywords`, or `context` for the length",
    "modality": "requests with images go only to models whose card says that they see",
    "role_bindings": "who may do what is the gateway's to decide; priorities are InferenceObjectives'",
    "kb": "`embeddings` with the knowledge base's texts as candidates",
    "events": "`metadata`, where the client says so",
    "projections": "decision trees over the signals themselves",
    "model_scores": "decisions with modelRefs",
    # plugins, and blocks of the same names
    "response_cache": _CACHE,
    "semantic-cache": _CACHE,
    "tools": _TOOLS,
    "tool_selection": _TOOLS,
    "router_replay": "receipts at /debug/decisions, and `onehop replay`",
    "context_compression": "`context` signals send long prompts to models with the room",
    "prompt_compression": "`context` signals send long prompts to models with the room",
    "memory": _APPLICATION,
    "rag": _APPLICATION,
    "vector_store": _APPLICATION,
    "hallucination": _ANSWERS,
    "hallucination_mitigation": _ANSWERS,
    "response_jailbreak": _ANSWERS,
    "image_gen": "ask for the image model by its name",
    "response_api": "requests of the Responses API are sent on to servers that have it",
    "tracing": "the flag --tracing",
    "model_selection": "`algorithm` of a decision",
    "learning": _LEARNING,
    "modality_detector": "requests with images go only to models whose card says that they see",
    # algorithms
    "latency_aware": _LATENCY,
    "router_dc": "`embeddings` with the model's description as a candidate",
    "prompt": _LATENCY,
    **dict.fromkeys(("knn", "kmeans", "svm", "mlp"), _TRAINED),
    **dict.fromkeys(("elo", "rl_driven", "gmtrouter", "hybrid"), _LEARNING),
    "session_aware": "follow-ups stay with their model as it is",
    **dict.fromkeys(("automix", "confidence", "ratings", "remom", "fusion", "workflows"), _ONE_MODEL),
}


def instead(name: str) -> str:
    """ ": use this", or nothing where there is nothing to say."""
    return f": {INSTEAD[name]}" if name in INSTEAD else ""
