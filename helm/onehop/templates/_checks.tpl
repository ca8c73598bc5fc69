{{/* What the schema cannot say; each message begins with the key at fault. */}}
{{- define "onehop.checks" -}}
{{- include "onehop.checkDiscovery" . -}}
{{- include "onehop.checkServing" . -}}
{{- if .Values.inferencePool.create -}}
{{- include "onehop.checkPool" . -}}
{{- end -}}
{{- end -}}

{{- define "onehop.checkDiscovery" -}}
{{- $endpoints := .Values.discovery.endpoints -}}
{{- $existing := .Values.discovery.existingConfigMap -}}
{{- if and $endpoints $existing -}}
{{- fail "discovery.existingConfigMap and discovery.endpoints are both given; give one of them" -}}
{{- end -}}
{{- if not (or $endpoints $existing) -}}
{{- fail "discovery.endpoints is required: this version does not watch Kubernetes, so list the model servers as {name, address, port}, or name a ConfigMap that does in discovery.existingConfigMap" -}}
{{- end -}}
{{- $taken := dict -}}
{{- range $index, $endpoint := $endpoints -}}
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

{{/* The gateway takes only what is a pod of the pool at a port of the pool, and else picks by itself, silently. */}}
{{- define "onehop.checkPool" -}}
{{- if not .Values.inferencePool.selector.matchLabels -}}
{{- fail "inferencePool.selector.matchLabels is required: the labels of the model servers' pods, like {app: vllm} (or set inferencePool.create=false and bring your own pool)" -}}
{{- end -}}
{{- $ports := list -}}
{{- range .Values.inferencePool.targetPorts -}}
{{- $ports = append $ports (int .number) -}}
{{- end -}}
{{- range $index, $endpoint := .Values.discovery.endpoints -}}
{{- if not (regexMatch "^([0-9]{1,3}(\\.[0-9]{1,3}){3}|[0-9A-Fa-f]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)$" $endpoint.address) -}}
{{- fail (printf "discovery.endpoints[%d].address: %q is not an IP address, and behind an InferencePool only the IP address of a pod works" $index $endpoint.address) -}}
{{- end -}}
{{- if not (has (int $endpoint.port) $ports) -}}
{{- fail (printf "discovery.endpoints[%d].port: %v is not in inferencePool.targetPorts, so the gateway would not send there" $index $endpoint.port) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* OneHop would refuse to start; say so before a pod does. */}}
{{- define "onehop.checkServing" -}}
{{- if not .Values.secureServing -}}
{{- if .Values.certificateSecret -}}
{{- fail "certificateSecret has no effect without secureServing=true" -}}
{{- end -}}
{{- range $name := list "tls-min-version" "tls-cipher-suites" -}}
{{- if hasKey $.Values.flags $name -}}
{{- fail (printf "flags.%s has no effect without secureServing=true" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $admin := get .Values.flags "admin-address" | default "127.0.0.1:9091" -}}
{{- if not (or .Values.adminTokenSecret (regexMatch "^(127\\.[0-9.]+|\\[::1\\]|localhost):" $admin)) -}}
{{- fail (printf "adminTokenSecret is required: flags.admin-address %s is not loopback, so it needs a token" $admin) -}}
{{- end -}}
{{- end -}}
