{{/* Binds a Role to our account of every namespace in subjects: root, name, namespace, subjects. */}}
{{- define "onehop.roleBinding" -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  {{- include "onehop.metadata" (dict "root" .root "name" .name "namespace" .namespace) | nindent 2 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ .name }}
subjects:
  {{- $account := include "onehop.serviceAccountName" .root }}
  {{- range .subjects }}
  - kind: ServiceAccount
    name: {{ $account }}
    namespace: {{ . }}
  {{- end }}
{{- end -}}

{{/* Where the Lease is: what --pool-namespace says. */}}
{{- define "onehop.leaseNamespace" -}}
{{- if and (eq .Values.mode "onePool") .Values.pools -}}
{{- (first (include "onehop.pools" . | fromYaml).items).namespace -}}
{{- else -}}
{{- include "onehop.poolNamespace" . -}}
{{- end -}}
{{- end -}}

{{/* The name that `onehop serve` gives it, from its arguments. */}}
{{- define "onehop.leaseName" -}}
{{- $selector := .Values.discovery.poolSelector | default .Values.discovery.endpointSelector -}}
{{- $after := printf "selector-%s" (include "onehop.selectorText" $selector | sha256sum | trunc 10) -}}
{{- if and .Values.discovery.byPickerService (ne .Values.mode "onePool") -}}
{{- $after = include "onehop.fullname" . -}}
{{- else if .Values.pools -}}
{{- $after = (first .Values.pools).name -}}
{{- end -}}
{{- printf "epp-%s-%s.llm-d.ai" (include "onehop.leaseNamespace" .) $after -}}
{{- end -}}
