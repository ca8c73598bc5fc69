{{/* Our ext_proc filter for one stream a request: root, cluster, with (failOpen, messageTimeout, maxMessageTimeout, ...). */}}
{{- define "onehop.extProc" -}}
{{- $attributes := .with.requestAttributes | default list -}}
{{- range $flag := list "tenant-from" "objective-from" -}}
{{- $from := get $.root.Values.flags $flag | default "" -}}
{{- if hasPrefix "attribute:" $from -}}
{{- $attributes = append $attributes (trimPrefix "attribute:" $from) -}}
{{- end -}}
{{- end -}}
name: inference.one-hop
typed_config:
  "@type": type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor
  grpc_service:
    envoy_grpc:
      cluster_name: {{ .cluster }}
    retry_policy: # another replica, where one cannot be reached
      num_retries: 2
      retry_on: connect-failure,refused-stream,unavailable,reset
      retry_back_off:
        base_interval: 0.005s
        max_interval: 0.05s
      host_selection_retry_max_attempts: 5
      retry_host_predicate: # else the second try may go where the first one failed
        - name: envoy.retry_host_predicates.previous_hosts
          typed_config:
            "@type": type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate
  failure_mode_allow: {{ .with.failOpen }}
  message_timeout: {{ .with.messageTimeout }}
  max_message_timeout: {{ .with.maxMessageTimeout }}
  allow_mode_override: true
  processing_mode:
    request_header_mode: SEND
    request_body_mode: BUFFERED
    request_trailer_mode: SKIP
    response_header_mode: SEND
    response_body_mode: NONE # nothing for each token; OneHop may ask for one answer in so many
    response_trailer_mode: SEND # the stream stays open until the answer is complete, which is how OneHop knows
  metadata_options:
    receiving_namespaces:
      untyped: [envoy.lb]
    forwarding_namespaces:
      untyped: [envoy.lb, envoy.lb.subset_hint]
  {{- with uniq $attributes }}
  request_attributes:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  response_attributes: [upstream.address, response.code, response.code_details] # which endpoint it was, and whose error
{{- end -}}

{{/* Removes headers before routing: a list of names. */}}
{{- define "onehop.stripHeaders" -}}
early_header_mutation_extensions:
  - name: envoy.http.early_header_mutation.header_mutation
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation
      mutations:
        {{- range . }}
        - remove: {{ . }}
        {{- end }}
{{- end -}}

{{/* The sidecar of mode standalone: it starts before OneHop and ends after it (Kubernetes 1.29). */}}
{{- define "onehop.envoyContainer" -}}
{{- with .Values.standalone.envoy -}}
- name: envoy
  image: {{ .image }}
  imagePullPolicy: {{ .pullPolicy }}
  restartPolicy: Always
  command: [/usr/local/bin/envoy]
  args:
    - --disable-hot-restart
    # Envoy takes no --flag=value.
    - --config-path
    - /etc/envoy/envoy.yaml
    - --concurrency
    - {{ .concurrency | quote }}
    - --log-level
    - warning
    - --drain-time-s
    - {{ $.Values.drain.timeoutSeconds | quote }}
    - --drain-strategy # once draining, every answer asks the client to connect anew
    - immediate
  ports:
    - name: http
      containerPort: {{ $.Values.standalone.listenerPort }}
    - name: envoy-status
      containerPort: 19001
  startupProbe:
    httpGet:
      path: /ready
      port: envoy-status
    periodSeconds: 1
    failureThreshold: 60
  livenessProbe:
    httpGet:
      path: /ready
      port: envoy-status
    periodSeconds: 10
    timeoutSeconds: 5
    failureThreshold: 3
  readinessProbe:
    httpGet:
      path: /ready
      port: envoy-status
    periodSeconds: 2
    timeoutSeconds: 2
    failureThreshold: 2
  resources:
    {{- toYaml .resources | nindent 4 }}
  securityContext:
    {{- with .runAsUser }}
    runAsUser: {{ . }}
    {{- end }}
    allowPrivilegeEscalation: false
    readOnlyRootFilesystem: true
    capabilities:
      drop: [ALL]
  volumeMounts:
    - name: envoy
      mountPath: /etc/envoy
      readOnly: true
    - name: envoy-tmp
      mountPath: /tmp
{{- end -}}
{{- end -}}
