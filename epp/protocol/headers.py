"""Header and metadata names of the Endpoint Picker Protocol (GIE proposal 004), of vSR, and our own."""

DESTINATION = "x-gateway-destination-endpoint"
SERVED = "x-gateway-destination-endpoint-served"
SUBSET = "x-gateway-destination-endpoint-subset"
ENVOY_LB = "envoy.lb"
SUBSET_NAMESPACE = "envoy.lb.subset_hint"
DROPPED_REASON = "x-llm-d-request-dropped-reason"

REQUEST_ID = "x-request-id"
SELECTED_MODEL = "x-selected-model"

VSR_MODEL = "x-vsr-selected-model"
VSR_DECISION = "x-vsr-selected-decision"
VSR_CATEGORY = "x-vsr-selected-category"
CLASSIFICATION = "x-onehop-classification"
RECEIPT = "x-onehop-receipt"
