{{/* Where OneHop (and Envoy beside it) may connect to: model servers, the API server, names. */}}
{{- define "onehop.egress" -}}
{{- $egress := .Values.networkPolicy.egress -}}
{{- $source := include "onehop.source" . -}}
{{- with $egress.modelServers -}}
- to: # model servers: what they serve, their metrics and, in standalone, the requests
    {{- toYaml . | nindent 4 }}
{{- else -}}
{{- if eq $source "pods" -}}
- to: # model servers: what they serve, their metrics and, in standalone, the requests
    - podSelector:
        matchLabels:
          {{- toYaml .Values.discovery.endpointSelector | nindent 10 }}
  ports:
    {{- range .Values.discovery.endpointTargetPorts }}
    - port: {{ . }}
    {{- end }}
{{- else if eq $source "file" -}}
{{- range .Values.discovery.endpoints }}
- to: [{ipBlock: {cidr: {{ .address }}/{{ contains ":" .address | ternary 128 32 }}}}]
  ports: [{port: {{ .port }}}]
{{- end -}}
{{- else -}}
{{- range (include "onehop.pools" . | fromYaml).items }}
- to: # model servers of pool {{ .name }}: what they serve, and their metrics
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: {{ .namespace }}
      podSelector:
        matchLabels:
          {{- toYaml .selector | nindent 10 }}
  ports:
    {{- range .targetPorts }}
    - port: {{ .number }}
    {{- end }}
{{- end -}}
{{- end -}}
{{- end }}
{{- if include "onehop.usesApi" . }}
- ports: # the API server
    {{- range $egress.apiServerPorts }}
    - port: {{ . }}
    {{- end }}
  {{- with $egress.apiServer }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- with $egress.collector }}
- to: # the collector of traces
    {{- toYaml . | nindent 4 }}
  ports:
    - {port: 4317}
    - {port: 4318}
{{- end }}
{{- if or $egress.collector (and (eq .Values.mode "standalone") (eq $source "pods") .Values.standalone.failOpen) }}
- ports: # names: of the collector, or of the endpoints, which Envoy looks up for when OneHop does not answer
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
{{- end }}
{{- end -}}
