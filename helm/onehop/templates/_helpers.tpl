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

{{/* The text, shortened to a DNS label where it is longer; what is cut off leaves a digest behind. */}}
{{- define "onehop.label63" -}}
{{- if le (len .) 63 -}}
{{- . -}}
{{- else -}}
{{- printf "%s-%s" (trunc 54 . | trimSuffix "-" | trimSuffix ".") (sha256sum . | trunc 8) -}}
{{- end -}}
{{- end -}}

{{/* What tells our pods from others; never changes, a Deployment's selector is immutable. */}}
{{- define "onehop.instanceLabels" -}}
app.kubernetes.io/name: {{ include "onehop.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* The same of one workload: root, component. */}}
{{- define "onehop.selectorLabels" -}}
{{ include "onehop.instanceLabels" .root }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "onehop.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "onehop.instanceLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{/* The head of an object: root, name, namespace; and if wanted component, labels. */}}
{{- define "onehop.metadata" -}}
name: {{ .name }}
namespace: {{ .namespace }}
labels:
  {{- $own := include "onehop.labels" .root | fromYaml -}}
  {{- with .component }}{{ $_ := set $own "app.kubernetes.io/component" . }}{{ end }}
  {{- merge $own (.labels | default dict) | toYaml | nindent 2 }}
{{- end -}}

{{- define "onehop.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "onehop.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{/* {app: vllm, tier: gpu} as a label selector of the command line. */}}
{{- define "onehop.selectorText" -}}
{{- $terms := list -}}
{{- range $key, $value := . -}}
{{- $terms = append $terms (printf "%s=%s" $key $value) -}}
{{- end -}}
{{- join "," $terms -}}
{{- end -}}

{{/* The semantic configuration as text, whether it was given as YAML or as the text of a file; empty when not given. */}}
{{- define "onehop.semanticConfig" -}}
{{- with .Values.semantic.config -}}
{{- if kindIs "string" . }}{{ . }}{{ else }}{{ toYaml . }}{{ end -}}
{{- end -}}
{{- end -}}

{{/* `true` or `false`: TLS on the picker's ports; what the mode's gateway dials unless the values say otherwise. */}}
{{- define "onehop.secureServing" -}}
{{- if kindIs "bool" .Values.secureServing -}}
{{- .Values.secureServing -}}
{{- else -}}
{{- not (has .Values.mode (list "guideDropIn" "standalone")) -}}
{{- end -}}
{{- end -}}

{{/* Gateways would speak HTTP/1.1 to a Service without it. */}}
{{- define "onehop.appProtocol" -}}
{{- eq (include "onehop.secureServing" .) "true" | ternary "http2" "kubernetes.io/h2c" -}}
{{- end -}}

{{/* host.namespace.svc.cluster.local: name, namespace, root. */}}
{{- define "onehop.host" -}}
{{- printf "%s.%s.svc.%s" .name .namespace .root.Values.clusterDomain -}}
{{- end -}}

{{- define "onehop.discoveryConfigMap" -}}
{{- .Values.discovery.existingConfigMap | default (printf "%s-discovery" (include "onehop.fullname" .)) -}}
{{- end -}}

{{- define "onehop.decisionKeySecret" -}}
{{- .Values.decisionKey.existingSecret | default (printf "%s-decision" (include "onehop.fullname" .)) -}}
{{- end -}}

{{- define "onehop.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else -}}
{{- printf "%s:%s" .repository (.tag | default $.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Port of the admin pages inside the pod. */}}
{{- define "onehop.adminAddress" -}}
{{- get .Values.flags "admin-address" | default "127.0.0.1:9091" -}}
{{- end -}}

{{- define "onehop.adminIsOpen" -}}
{{- if not (regexMatch "^(127\\.[0-9.]+|\\[::1\\]|localhost):" (include "onehop.adminAddress" .)) }}true{{ end -}}
{{- end -}}
