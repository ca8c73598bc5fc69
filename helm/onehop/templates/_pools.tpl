{{/*
Where endpoints come from: `pools` (Kubernetes, InferencePools), `pods` (Kubernetes, by label) or `file`.
*/}}
{{- define "onehop.source" -}}
{{- if or .Values.discovery.endpoints .Values.discovery.existingConfigMap -}}
file
{{- else if .Values.discovery.endpointSelector -}}
pods
{{- else -}}
pools
{{- end -}}
{{- end -}}

{{/* Where pools are that name no namespace. */}}
{{- define "onehop.poolNamespace" -}}
{{- eq .Values.mode "guideDropIn" | ternary .Values.guideDropIn.poolNamespace .Release.Namespace -}}
{{- end -}}

{{/*
Every pool with its defaults: {items: [{name, namespace, create, selector, targetPorts, failureMode, models, port,
portName, service}]}. `port` is 0 where the pool is served on 9002 with the others; `service` is the Service that its
gateway calls, port 9002, in the pool's namespace.
*/}}
{{- define "onehop.pools" -}}
{{- $fullname := include "onehop.fullname" . -}}
{{- $guide := eq .Values.mode "guideDropIn" -}}
{{- $items := list -}}
{{- range $index, $given := .Values.pools -}}
{{- $pool := dict
      "name" $given.name
      "namespace" ($given.namespace | default (include "onehop.poolNamespace" $))
      "create" (not $guide)
      "targetPorts" ($given.targetPorts | default (list (dict "number" 8000)))
      "failureMode" ($given.failureMode | default "FailOpen")
      "models" ($given.models | default (list $given.name))
      "port" (int ($given.port | default ($guide | ternary (add 9101 $index) 0)))
      "service" $fullname -}}
{{- if hasKey $given "create" -}}
{{- $_ := set $pool "create" $given.create -}}
{{- end -}}
{{- $_ := set $pool "selector" (($given.selector | default dict).matchLabels | default dict) -}}
{{- if $guide -}}
{{- $_ := set $pool "service" ($given.pickerService | default (printf "%s-epp" $given.name)) -}}
{{- else if $pool.port -}}
{{- $_ := set $pool "service" (include "onehop.label63" (printf "%s-%s" $fullname ($given.name | replace "." "-"))) -}}
{{- end -}}
{{/* By name, since the number may be another pool's in a pod of the next revision. */}}
{{- $_ := set $pool "portName" (printf "pool-%s" (printf "%s/%s" $pool.namespace $pool.name | sha256sum | trunc 8)) -}}
{{- $items = append $items $pool -}}
{{- end -}}
{{- dict "items" $items | toYaml -}}
{{- end -}}

{{/*
The Deployments: {items: [{component, name, namespace, service}]}. `service` is the workload's own Service, which also
has health and metrics.
*/}}
{{- define "onehop.workloads" -}}
{{- $fullname := include "onehop.fullname" . -}}
{{- if eq .Values.mode "guideDropIn" -}}
items:
  - component: front
    name: {{ $fullname }}-front
    namespace: {{ .Release.Namespace }}
    service: {{ .Values.guideDropIn.semanticService }}
  - component: pickers
    name: {{ $fullname }}-pickers
    namespace: {{ .Values.guideDropIn.poolNamespace }}
    service: {{ $fullname }}-pickers
{{- else -}}
items:
  - component: picker
    name: {{ $fullname }}
    namespace: {{ .Release.Namespace }}
    service: {{ $fullname }}
{{- end -}}
{{- end -}}

{{/* The namespaces of workloads, each once: {items: [...]}. */}}
{{- define "onehop.homes" -}}
{{- $items := list -}}
{{- range (include "onehop.workloads" . | fromYaml).items -}}
{{- $items = append $items .namespace -}}
{{- end -}}
{{- dict "items" (uniq $items) | toYaml -}}
{{- end -}}

{{/* The namespaces that are watched, each once: {items: [...]}; none where nobody talks to the API server. */}}
{{- define "onehop.watched" -}}
{{- $items := list -}}
{{- $source := include "onehop.source" . -}}
{{- if eq $source "pods" -}}
{{- $items = append $items .Release.Namespace -}}
{{- else if eq $source "pools" -}}
{{- if or .Values.discovery.poolSelector .Values.discovery.byPickerService -}}
{{- $items = append $items (include "onehop.poolNamespace" .) -}}
{{- end -}}
{{- range (include "onehop.pools" . | fromYaml).items -}}
{{- $items = append $items .namespace -}}
{{- end -}}
{{- end -}}
{{- dict "items" (uniq $items) | toYaml -}}
{{- end -}}

{{/* `true` where the pods talk to the API server; else they get no token. */}}
{{- define "onehop.usesApi" -}}
{{- if ne (include "onehop.source" .) "file" }}true{{ end -}}
{{- end -}}

{{/*
Every name by which a gateway may call us, for the certificate that a pod signs for itself.
*/}}
{{- define "onehop.tlsNames" -}}
{{- $names := list -}}
{{- $services := list -}}
{{- range (include "onehop.workloads" . | fromYaml).items -}}
{{- $services = append $services (dict "name" .service "namespace" .namespace) -}}
{{- end -}}
{{- $home := last (include "onehop.workloads" . | fromYaml).items -}}
{{- range (include "onehop.pools" . | fromYaml).items -}}
{{- $services = append $services (dict "name" .service "namespace" $home.namespace) -}}
{{- $services = append $services (dict "name" .service "namespace" .namespace) -}}
{{- end -}}
{{- range uniq $services -}}
{{- $names = concat $names (list .name (printf "%s.%s" .name .namespace) (printf "%s.%s.svc" .name .namespace)
      (include "onehop.host" (dict "name" .name "namespace" .namespace "root" $))) -}}
{{- end -}}
{{- uniq $names | join "," -}}
{{- end -}}
