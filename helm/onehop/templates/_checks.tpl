{{/* What the schema cannot say; each message begins with the key at fault. */}}
{{- define "onehop.checks" -}}
{{- include "onehop.checkSource" . -}}
{{- include "onehop.checkEndpoints" . -}}
{{- include "onehop.checkMode" . -}}
{{- include "onehop.checkPools" . -}}
{{- include "onehop.checkRoutes" . -}}
{{- include "onehop.checkServing" . -}}
{{- include "onehop.checkReplicas" . -}}
{{- $egress := .Values.networkPolicy.egress -}}
{{- $unknown := or .Values.discovery.poolSelector .Values.discovery.byPickerService .Values.discovery.existingConfigMap -}}
{{- if and .Values.networkPolicy.create $egress.create $unknown (not $egress.modelServers) -}}
{{- fail "networkPolicy.egress.modelServers is required: the chart does not know the model servers that are found or listed elsewhere" -}}
{{- end -}}
{{- if and .Values.monitoring.serviceMonitor.create .Values.monitoring.podMonitor.create -}}
{{- fail "monitoring.serviceMonitor and monitoring.podMonitor would read every pod twice; create one of them" -}}
{{- end -}}
{{- end -}}

{{- define "onehop.checkSource" -}}
{{- $discovery := .Values.discovery -}}
{{- if and $discovery.endpoints $discovery.existingConfigMap -}}
{{- fail "discovery.existingConfigMap and discovery.endpoints are both given; give one of them" -}}
{{- end -}}
{{- if $discovery.endpointSelector -}}
{{- if or $discovery.endpoints $discovery.existingConfigMap -}}
{{- fail "discovery.endpointSelector cannot go with a list of endpoints; give one of them" -}}
{{- end -}}
{{- if .Values.pools -}}
{{- fail "discovery.endpointSelector finds pods without any InferencePool, so it cannot go with pools; give one of them" -}}
{{- end -}}
{{- end -}}
{{- if ne (include "onehop.source" .) "pools" -}}
{{- range $key := list "poolSelector" "byPickerService" -}}
{{- if get $discovery $key -}}
{{- fail (printf "discovery.%s finds InferencePools in Kubernetes, so it cannot go with endpoints given otherwise" $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "onehop.checkEndpoints" -}}
{{- $taken := dict -}}
{{- range $index, $endpoint := .Values.discovery.endpoints -}}
{{- $name := printf "name %s/%s" ($endpoint.namespace | default "default") $endpoint.name -}}
{{- $address := printf "address %s port %v" (lower $endpoint.address) $endpoint.port -}}
{{- range $what := list $name $address -}}
{{- if hasKey $taken $what -}}
{{- fail (printf "discovery.endpoints[%d]: %s is already taken by discovery.endpoints[%v]" $index $what (get $taken $what)) -}}
{{- end -}}
{{- $_ := set $taken $what $index -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "onehop.checkMode" -}}
{{- $mode := .Values.mode -}}
{{- $source := include "onehop.source" . -}}
{{- $search := or .Values.discovery.poolSelector .Values.discovery.byPickerService -}}
{{- $count := len .Values.pools -}}
{{- if eq $mode "onePool" -}}
{{- if and (eq $source "pools") (or $search (ne $count 1)) -}}
{{- fail (printf "pools is required to have one entry in mode onePool, like [{name: llms, selector: {matchLabels: {app: vllm}}}], and has %d; several are mode oneHop or manyPools" $count) -}}
{{- end -}}
{{- if gt $count 1 -}}
{{- fail (printf "pools has %d entries; mode onePool takes one" $count) -}}
{{- end -}}
{{- else if eq $mode "standalone" -}}
{{- if $count -}}
{{- fail "pools has no effect in mode standalone: give discovery.endpointSelector or discovery.endpoints" -}}
{{- end -}}
{{- if eq $source "pools" -}}
{{- fail "discovery.endpointSelector or discovery.endpoints is required in mode standalone" -}}
{{- end -}}
{{- include "onehop.checkAddresses" (dict "root" . "why" "Envoy looks no names up in mode standalone") -}}
{{- if .Values.secureServing -}}
{{- fail "secureServing=true has no use in mode standalone: Envoy calls OneHop over the pod's loopback" -}}
{{- end -}}
{{- if get .Values.flags "fallback-endpoints" -}}
{{- fail "flags.fallback-endpoints cannot be used in mode standalone: this Envoy takes one endpoint and answers 503 to a list" -}}
{{- end -}}
{{- else -}}
{{- if eq $source "pods" -}}
{{- fail (printf "discovery.endpointSelector has no pools to route between in mode %s; it is for modes standalone and onePool" $mode) -}}
{{- end -}}
{{- if not (or $count $search) -}}
{{- fail (printf "pools is required to have at least one entry in mode %s" $mode) -}}
{{- end -}}
{{- end -}}
{{- if eq $mode "guideDropIn" -}}
{{- if or (ne $source "pools") $search (not $count) -}}
{{- fail "pools alone says what to serve in mode guideDropIn: every pool has a port of its own, so it must be known by name" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.decisionKey.existingSecret (ne $mode "guideDropIn") -}}
{{- fail "decisionKey.existingSecret has no effect without mode=guideDropIn" -}}
{{- end -}}
{{- if has $mode (list "guideDropIn" "standalone") -}}
{{- if ne .Values.gateway.provider "none" -}}
{{- fail (printf "gateway.provider has no effect in mode %s" $mode) -}}
{{- end -}}
{{- if .Values.httpRoute.create -}}
{{- fail (printf "httpRoute.create makes no routes in mode %s" $mode) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "onehop.checkPools" -}}
{{- $guide := eq .Values.mode "guideDropIn" -}}
{{- range $index, $given := .Values.pools -}}
{{- $where := printf "pools[%d]" $index -}}
{{- if and $given.port (not (has $.Values.mode (list "manyPools" "guideDropIn"))) -}}
{{- fail (printf "%s.port has no effect in mode %s" $where $.Values.mode) -}}
{{- end -}}
{{- if and $given.pickerService (not $guide) -}}
{{- fail (printf "%s.pickerService has no effect without mode=guideDropIn" $where) -}}
{{- end -}}
{{- if and $guide $given.create -}}
{{- fail (printf "%s.create must not be true in mode guideDropIn: the guide's pools stay as they are" $where) -}}
{{- end -}}
{{- if and $guide $given.namespace (ne $given.namespace $.Values.guideDropIn.poolNamespace) -}}
{{- fail (printf "%s.namespace is not guideDropIn.poolNamespace (%s), where the pickers are" $where $.Values.guideDropIn.poolNamespace) -}}
{{- end -}}
{{- end -}}
{{- $taken := dict "9003" "gRPC health" "9090" "the metrics" "9002" "ext_proc" "50051" "the semantic stage" -}}
{{- $_ := set $taken (include "onehop.adminAddress" . | splitList ":" | last) "flags.admin-address" -}}
{{- $names := dict -}}
{{- $models := dict -}}
{{- range $index, $pool := (include "onehop.pools" . | fromYaml).items -}}
{{- $where := printf "pools[%d]" $index -}}
{{- $key := printf "%s/%s" $pool.namespace $pool.name -}}
{{- if hasKey $names $key -}}
{{- fail (printf "%s: %s is already pools[%v]" $where $key (get $names $key)) -}}
{{- end -}}
{{- $_ := set $names $key $index -}}
{{- if has $.Values.mode (list "oneHop" "manyPools") -}}
{{- range $model := $pool.models -}}
{{- if hasKey $models $model -}}
{{- fail (printf "%s.models: %s already leads to pools[%v]" $where $model (get $models $model)) -}}
{{- end -}}
{{- $_ := set $models $model $index -}}
{{- end -}}
{{- end -}}
{{- with $pool.port -}}
{{- $port := toString (int .) -}}
{{- if hasKey $taken $port -}}
{{- fail (printf "%s.port: %s is already taken by %v" $where $port (get $taken $port)) -}}
{{- end -}}
{{- $_ := set $taken $port $where -}}
{{- end -}}
{{- if and $pool.create (not $pool.selector) -}}
{{- fail (printf "%s.selector.matchLabels is required: the labels of the model servers' pods, like {app: vllm} (or set %s.create=false and bring your own pool)" $where $where) -}}
{{- end -}}
{{- if and $pool.create (ne $.Values.discovery.poolGroup "inference.networking.k8s.io") -}}
{{- fail (printf "%s.create makes pools of inference.networking.k8s.io only; with discovery.poolGroup=%s bring your own" $where $.Values.discovery.poolGroup) -}}
{{- end -}}
{{- if $pool.create -}}
{{- include "onehop.checkListed" (dict "root" $ "pool" $pool "where" $where "alone" (eq (len $.Values.pools) 1)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The gateway takes only what is a pod of the pool at a port of the pool, and else picks by itself, silently. */}}
{{- define "onehop.checkListed" -}}
{{- $ports := list -}}
{{- range .pool.targetPorts -}}
{{- $ports = append $ports (int .number) -}}
{{- end -}}
{{- include "onehop.checkAddresses" (dict "root" .root "why" "behind an InferencePool only the IP address of a pod works") -}}
{{- range $index, $endpoint := .root.Values.discovery.endpoints -}}
{{- if and $.alone (not (has (int $endpoint.port) $ports)) -}}
{{- fail (printf "discovery.endpoints[%d].port: %v is not in %s.targetPorts, so the gateway would not send there" $index $endpoint.port $.where) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "onehop.checkAddresses" -}}
{{- range $index, $endpoint := .root.Values.discovery.endpoints -}}
{{- if not (regexMatch "^([0-9]{1,3}(\\.[0-9]{1,3}){3}|[0-9A-Fa-f]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)$" $endpoint.address) -}}
{{- fail (printf "discovery.endpoints[%d].address: %q is not an IP address, and %s" $index $endpoint.address $.why) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "onehop.checkRoutes" -}}
{{- $istio := and (eq .Values.gateway.provider "istio") (eq .Values.mode "oneHop") .Values.istio.envoyFilter.create -}}
{{- if and (or .Values.httpRoute.create $istio) (not .Values.gateway.parentRefs) -}}
{{- fail "gateway.parentRefs is required: the Gateway that routes and the EnvoyFilter belong to, like [{name: inference-gateway}]" -}}
{{- end -}}
{{- if and .Values.httpRoute.create (not .Values.pools) -}}
{{- fail "httpRoute.create needs pools to route to" -}}
{{- end -}}
{{- with .Values.httpRoute.defaultPool -}}
{{- $names := list -}}
{{- range $.Values.pools -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- if not (has . $names) -}}
{{- fail (printf "httpRoute.defaultPool: %s is none of pools" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* OneHop would refuse to start; say so before a pod does. */}}
{{- define "onehop.checkServing" -}}
{{- if ne (include "onehop.secureServing" .) "true" -}}
{{- if .Values.certificateSecret -}}
{{- fail "certificateSecret has no effect without secureServing=true" -}}
{{- end -}}
{{- range $name := list "tls-min-version" "tls-cipher-suites" -}}
{{- if hasKey $.Values.flags $name -}}
{{- fail (printf "flags.%s has no effect without secureServing=true" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and (include "onehop.adminIsOpen" .) (not .Values.adminTokenSecret) -}}
{{- fail (printf "adminTokenSecret is required: flags.admin-address %s is not loopback, so it needs a token" (include "onehop.adminAddress" .)) -}}
{{- end -}}
{{- end -}}

{{- define "onehop.checkReplicas" -}}
{{- if eq .Values.highAvailability "activePassive" -}}
{{- if not (include "onehop.usesApi" .) -}}
{{- fail "highAvailability=activePassive needs the API server for its Lease, and a list of endpoints does without; use activeActive" -}}
{{- end -}}
{{- if .Values.autoscaling.create -}}
{{- fail "autoscaling.create has no use with highAvailability=activePassive: only the leader works, so more pods change nothing" -}}
{{- end -}}
{{- end -}}
{{- if and (gt (int .Values.workers) 1) (eq (get .Values.flags "transport" | default "native" | toString) "grpc") -}}
{{- fail "workers above 1 cannot go with flags.transport=grpc, which takes no connections from another process; leave one of them out" -}}
{{- end -}}
{{- if and .Values.autoscaling.create (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) -}}
{{- fail "autoscaling.minReplicas is larger than autoscaling.maxReplicas" -}}
{{- end -}}
{{- if and .Values.autoscaling.create (not (((.Values.resources).requests | default dict).cpu)) -}}
{{- fail "autoscaling.create needs resources.requests.cpu, of which the target is a percentage" -}}
{{- end -}}
{{- if le (int .Values.drain.timeoutSeconds) (int .Values.drain.noticeSeconds) -}}
{{- fail "drain.timeoutSeconds must be larger than drain.noticeSeconds: open streams would be cut off before new ones are refused" -}}
{{- end -}}
{{- end -}}
