{{/* Whether requests may go to any endpoint while OneHop does not answer: Envoy must know the endpoints by itself. */}}
{{- define "onehop.envoyKnowsEndpoints" -}}
{{- if and .Values.standalone.failOpen (not .Values.discovery.existingConfigMap) }}true{{ end -}}
{{- end -}}

{{/*
Envoy beside OneHop. A request without a chosen endpoint takes the second route; OneHop's answer has Envoy route anew, to
the very address it names. So what a client sends must not carry that header: it is removed before anything else.
*/}}
{{- define "onehop.envoyConfig" -}}
node: {id: onehop, cluster: onehop} # files of endpoints are not read without
admin:
  address:
    socket_address: {address: 127.0.0.1, port_value: 19000}
overload_manager:
  resource_monitors:
    - name: envoy.resource_monitors.global_downstream_max_connections
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig
        max_active_downstream_connections: 40000
static_resources:
  listeners:
    - name: llm
      address:
        socket_address: {address: 0.0.0.0, port_value: {{ .Values.standalone.listenerPort }}}
      per_connection_buffer_limit_bytes: {{ int64 .Values.standalone.bufferBytesMax }} # a larger request is answered 413
      filter_chains:
        - filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: llm
                use_remote_address: true
                normalize_path: true
                stream_idle_timeout: 0s # a model may think for long
                {{- include "onehop.stripHeaders" (list "x-selected-model" "x-gateway-destination-endpoint") | nindent 16 }}
                http_filters:
                  - {{ include "onehop.extProc" (dict "root" . "cluster" "onehop" "with" .Values.standalone) | nindent 20 | trim }}
                      route_cache_action: CLEAR # also where the model is the one that was asked for
                  - name: envoy.filters.http.router
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
                route_config:
                  virtual_hosts:
                    - name: all
                      domains: ["*"]
                      routes:
                        - match:
                            prefix: /
                            headers: [{name: x-gateway-destination-endpoint, present_match: true}]
                          route: {cluster: chosen, timeout: 0s}
                        - match: {prefix: /}
                          {{- if include "onehop.envoyKnowsEndpoints" . }}
                          route:
                            cluster: any
                            timeout: 0s
                            retry_policy:
                              retry_on: connect-failure,refused-stream,reset-before-request
                              num_retries: 2
                              host_selection_retry_max_attempts: 5
                              retry_host_predicate:
                                - name: envoy.retry_host_predicates.previous_hosts
                                  typed_config:
                                    "@type": type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate
                          {{- else }}
                          direct_response:
                            status: 503
                            body: {inline_string: "no endpoint was chosen\n"}
                          {{- end }}
    - name: status # what kubelets and Prometheus may ask; the admin pages stay on loopback
      address:
        socket_address: {address: 0.0.0.0, port_value: 19001}
      filter_chains:
        - filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: status
                http_filters:
                  - name: envoy.filters.http.router
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
                route_config:
                  virtual_hosts:
                    - name: all
                      domains: ["*"]
                      routes:
                        - match: {path: /ready}
                          route: {cluster: admin}
                        - match: {path: /stats/prometheus}
                          route: {cluster: admin}
  clusters:
    - name: onehop
      type: STATIC
      connect_timeout: 0.25s
      circuit_breakers: {thresholds: [{max_connections: 40000, max_pending_requests: 40000, max_requests: 40000}]}
      # Asked every second, so that requests pass on at once while it does not answer.
      health_checks:
        - timeout: 1s
          interval: 1s
          no_traffic_interval: 1s
          unhealthy_interval: 0.25s
          unhealthy_threshold: 2
          healthy_threshold: 1
          grpc_health_check: {service_name: envoy.service.ext_proc.v3.ExternalProcessor}
      common_lb_config: {healthy_panic_threshold: {value: 0}}
      typed_extension_protocol_options:
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
          explicit_http_config:
            http2_protocol_options:
              connection_keepalive: {interval: 1s, timeout: 1s}
      load_assignment:
        cluster_name: onehop
        endpoints:
          - lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 9002}}}}]
    - name: chosen
      type: ORIGINAL_DST
      lb_policy: CLUSTER_PROVIDED
      connect_timeout: 1s
      circuit_breakers: {thresholds: [{max_connections: 40000, max_pending_requests: 40000, max_requests: 40000}]}
      original_dst_lb_config:
        use_http_header: true
        http_header_name: x-gateway-destination-endpoint
    {{- if include "onehop.envoyKnowsEndpoints" . }}
    - name: any
      connect_timeout: 1s
      circuit_breakers: {thresholds: [{max_connections: 40000, max_pending_requests: 40000, max_requests: 40000}]}
      lb_policy: LEAST_REQUEST
      {{- if .Values.discovery.endpoints }}
      type: EDS
      eds_cluster_config:
        eds_config:
          resource_api_version: V3
          path_config_source:
            path: /etc/envoy/endpoints.yaml
            watched_directory: {path: /etc/envoy}
      {{- else }}
      type: STRICT_DNS
      dns_lookup_family: V4_PREFERRED
      wait_for_warm_on_init: false # Envoy is ready without it
      load_assignment:
        cluster_name: any
        endpoints:
          - lb_endpoints:
              {{- $host := include "onehop.host" (dict "name" (printf "%s-endpoints" (include "onehop.fullname" .)) "namespace" .Release.Namespace "root" .) }}
              {{- range .Values.discovery.endpointTargetPorts }}
              - endpoint: {address: {socket_address: {address: {{ $host }}, port_value: {{ . }}}}}
              {{- end }}
      {{- end }}
    {{- end }}
    - name: admin
      type: STATIC
      load_assignment:
        cluster_name: admin
        endpoints:
          - lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 19000}}}}]
{{- end -}}

{{/* `discovery.endpoints` as Envoy reads them. */}}
{{- define "onehop.envoyEndpoints" -}}
resources:
  - "@type": type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment
    cluster_name: any
    endpoints:
      - lb_endpoints:
          {{- range .Values.discovery.endpoints }}
          - endpoint: {address: {socket_address: {address: {{ .address | quote }}, port_value: {{ .port }}}}}
          {{- end }}
{{- end -}}
