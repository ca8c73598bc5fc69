{{/* Full name; 52 characters, so that suffixes fit into the 63 of a DNS label. */}}
{{- define "onehop.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else -}}
{{- $name := include "onehop.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "onehop.name" -}}
{{- .Values.nameOverride | default .Chart.Name -}}
{{- end -}}

{{/* What tells our pods from others; never changes, a Deployment's selector is immutable. */}}
{{- define "onehop.selectorLabels" -}}
app.kubernetes.io/name: {{ include "onehop.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "onehop.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "onehop.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "onehop.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "onehop.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{- define "onehop.poolName" -}}
{{- .Values.inferencePool.name | default (include "onehop.fullname" .) -}}
{{- end -}}

{{/* What clients may call the Service, for the certificate that a pod signs for itself. */}}
{{- define "onehop.tlsNames" -}}
{{- $name := include "onehop.fullname" . -}}
{{- $namespaced := printf "%s.%s" $name .Release.Namespace -}}
{{- list $name $namespaced (printf "%s.svc" $namespaced) (printf "%s.svc.cluster.local" $namespaced) | join "," -}}
{{- end -}}

{{- define "onehop.discoveryConfigMap" -}}
{{- .Values.discovery.existingConfigMap | default (printf "%s-discovery" (include "onehop.fullname" .)) -}}
{{- end -}}

{{/* The semantic configuration as text, whether it was given as YAML or as the text of a file; empty when not given. */}}
{{- define "onehop.semanticConfig" -}}
{{- with .Values.semantic.config -}}
{{- if kindIs "string" . }}{{ . }}{{ else }}{{ toYaml . }}{{ end -}}
{{- end -}}
{{- end -}}
