"""Header and metadata names of the Endpoint Picker Protocol (GIE proposal 004), of vSR, and our own."""

from __future__ import annotations

from collections.abc import Mapping

DESTINATION = "x-gateway-destination-endpoint"
SERVED = "x-gateway-destination-endpoint-served"
SCORES = "x-gateway-destination-endpoint-scores"
SUBSET = "x-gateway-destination-endpoint-subset"
ENVOY_LB = "envoy.lb"
SUBSET_NAMESPACE = "envoy.lb.subset_hint"
DROPPED_REASON = "x-llm-d-request-dropped-reason"
REWRITE = ("x-llm-d-model-name-rewrite", "x-gateway-model-name-rewrite")  # the newer name wins
OBJECTIVE = ("x-llm-d-inference-objective", "x-gateway-inference-objective")
FAIRNESS = ("x-llm-d-inference-fairness-id", "x-gateway-inference-fairness-id")

SLO_TTFT = ("x-llm-d-slo-ttft-ms", "x-slo-ttft-ms")

NEVER_DEGRADE = "x-onehop-never-degrade"
SESSION = (  # what clients, vSR and the Go picker call a conversation, the plainest name first
    "x-session-id",
    "x-conversation-id",
    "x-claude-code-session-id",
    "x-session-affinity",
    "session-id",
    "session_id",
)

PREFER = "prefer"
IF_AVAILABLE = "if-available"  # of `Prefer` (RFC 7240): only if it need not be computed; llm-d's conditional decode

REQUEST_ID = "x-request-id"
RETRY_ATTEMPT = "x-retry-attempt"  # agentgateway asks again for each attempt and counts here
SELECTED_MODEL = "x-selected-model"

VSR_MODEL = "x-vsr-selected-model"
VSR_DECISION = "x-vsr-selected-decision"
VSR_CATEGORY = "x-vsr-selected-category"
CLASSIFICATION = "x-onehop-classification"
FAST_RESPONSE = "x-vsr-fast-response"
RESPONSE_PATH = "x-vsr-response-path"
RECEIPT = "x-onehop-receipt"
DECISION = "x-onehop-decision"  # from our first stream of a request to our second, signed

# For the picker, not for model servers: taken off the request. The destination and the model are overwritten instead.
CONTROL = frozenset(
    {
        SERVED,
        SUBSET,
        DROPPED_REASON,
        *REWRITE,
        SCORES,
        *FAIRNESS,
        *OBJECTIVE,
        DECISION,
        NEVER_DEGRADE,
        "x-llm-d-video-fps",
        "x-llm-d-video-duration-seconds",
        "x-llm-d-video-resolution",
        "x-prefiller-host-port",
        "x-encoder-hosts-ports",
        "x-data-parallel-host-port",
        "x-kv-cache-source-host-port",
        *SLO_TTFT,
        "x-llm-d-slo-tpot-ms",
        "x-slo-tpot-ms",
    }
)


def first(headers: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    """The value under the first of several names of one header."""
    for name in names:
        value = headers.get(name)
        if value:
            return value
    return None
