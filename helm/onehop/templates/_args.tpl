{{/* The arguments of one workload: root, workload; a YAML list. */}}
{{- define "onehop.args" -}}
{{- $root := .root -}}
{{- $component := .workload.component -}}
{{- with .root -}}
- serve
{{ include "onehop.sourceArgs" (dict "root" . "component" $component) }}
{{- if include "onehop.semanticConfig" . }}
- --semantic-config-file=/etc/onehop/semantic/semantic.yaml
{{- end }}
{{- if eq $component "front" }}
- --semantic-port=50051
{{- end }}
{{- if has $component (list "front" "pickers") }}
- --decision-key-file=/etc/onehop/decision-key/key
{{- end }}
{{- if eq .Values.highAvailability "activePassive" }}
- --ha-enable-leader-election={{ ne $component "front" }}
{{- end }}
{{- $filter := ternary .Values.standalone .Values.istio.envoyFilter (eq .Values.mode "standalone") }}
{{- if and (has .Values.mode (list "standalone" "oneHop")) (or (ne $filter.messageTimeout "2s") (ne $filter.maxMessageTimeout "30s")) }}
- --message-timeout={{ $filter.messageTimeout }}
- --max-message-timeout={{ $filter.maxMessageTimeout }}
{{- end }}
{{- if gt (int .Values.workers) 1 }}
- --workers={{ .Values.workers }}
{{- end }}
- --drain-notice={{ .Values.drain.noticeSeconds }}s
- --drain-timeout={{ .Values.drain.timeoutSeconds }}s
- --secure-serving={{ include "onehop.secureServing" . }}
{{- if .Values.certificateSecret }}
- --cert-path=/etc/onehop/tls
- --enable-cert-reload=true
{{- else if eq (include "onehop.secureServing" .) "true" }}
- --tls-names={{ include "onehop.tlsNames" . }}
{{- end }}
{{- range $name, $value := .Values.flags }}
- {{ printf "--%s=%s" $name (kindIs "string" $value | ternary $value (toJson $value)) | quote }}
{{- end }}
{{- end -}}
{{- end -}}

{{/* Where endpoints come from. */}}
{{- define "onehop.sourceArgs" -}}
{{- $component := .component -}}
{{- with .root -}}
{{- $source := include "onehop.source" . -}}
{{- $pools := (include "onehop.pools" . | fromYaml).items -}}
{{- if eq $source "file" -}}
- --discovery-file=/etc/onehop/discovery/endpoints.yaml
- --pool-name={{ eq (len $pools) 1 | ternary (first (append $pools dict)).name (include "onehop.fullname" .) }}
{{- else -}}
{{- if eq $source "pods" -}}
- {{ printf "--endpoint-selector=%s" (include "onehop.selectorText" .Values.discovery.endpointSelector) | quote }}
- --endpoint-target-ports={{ join "," .Values.discovery.endpointTargetPorts }}
- --pool-namespace={{ .Release.Namespace }}
{{- else if eq .Values.mode "onePool" -}}
{{- with first $pools -}}
- --pool-name={{ .name }}
- --pool-namespace={{ .namespace }}
{{- end }}
{{- else -}}
- --pool-namespace={{ include "onehop.poolNamespace" . }}
{{- range $pools }}
- --pool={{ .namespace }}/{{ .name }}{{ if and .port (ne $component "front") }}={{ .port }}{{ end }}
{{- end }}
{{- with .Values.discovery.poolSelector }}
- {{ printf "--pool-selector=%s" (include "onehop.selectorText" .) | quote }}
{{- end }}
{{- if .Values.discovery.byPickerService }}
- --picker-service={{ include "onehop.fullname" . }}
{{- end }}
{{- end }}
{{- if eq $source "pools" }}
- --pool-group={{ .Values.discovery.poolGroup }}
{{- end }}
- --events={{ .Values.events }}
{{- end }}
{{- with .Values.discovery.modelLabel }}
- {{ printf "--model-label=%s" . | quote }}
{{- end }}
{{- range .Values.discovery.serves }}
- {{ printf "--serves=%s=%s" .model (include "onehop.selectorText" .matchLabels) | quote }}
{{- end }}
{{- end -}}
{{- end -}}
