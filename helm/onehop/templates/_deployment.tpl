{{/* One Deployment: root, workload. */}}
{{- define "onehop.deployment" -}}
{{- $workload := .workload -}}
{{- $selector := include "onehop.selectorLabels" (dict "root" .root "component" $workload.component) -}}
{{- with .root -}}
{{- $semantic := include "onehop.semanticConfig" . -}}
{{- $elected := and (eq .Values.highAvailability "activePassive") (ne $workload.component "front") -}}
{{- $standalone := eq .Values.mode "standalone" -}}
{{- $preStop := $elected | ternary 0 (int .Values.drain.preStopSeconds) -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  {{- include "onehop.metadata" (dict "root" . "name" $workload.name "namespace" $workload.namespace "component" $workload.component) | nindent 2 }}
spec:
  {{- if not .Values.autoscaling.create }}
  replicas: {{ .Values.replicas }}
  {{- end }}
  strategy:
    type: RollingUpdate
    rollingUpdate:
      {{- if $elected }}
      # A new pod is not ready before the leader has gone, so nothing may wait for it: with anything less than 100 %
      # unavailable the rollout would keep the old leader for ever.
      maxSurge: 100%
      maxUnavailable: 100%
      {{- else }}
      maxSurge: 1
      maxUnavailable: 0 # the new pod answers before the old one goes
      {{- end }}
  selector:
    matchLabels:
      {{- $selector | nindent 6 }}
  template:
    metadata:
      labels:
        {{- merge ($selector | fromYaml) .Values.podLabels | toYaml | nindent 8 }}
      annotations: # what is read at the start only, so a new one needs new pods
        {{- $read := dict "checksum/semantic" (sha256sum $semantic) }}
        {{- if $standalone }}
        {{- $_ := set $read "checksum/envoy" (include "onehop.envoyConfig" . | sha256sum) }}
        {{- end }}
        {{- merge $read .Values.podAnnotations | toYaml | nindent 8 }}
    spec:
      serviceAccountName: {{ include "onehop.serviceAccountName" . }}
      {{- if include "onehop.usesApi" . }}
      automountServiceAccountToken: true # it watches pods and pools
      {{- else }}
      automountServiceAccountToken: false # it does not call the API server
      {{- end }}
      # A Service named onehop-grpc would set ONEHOP_GRPC_PORT=tcp://..., which is one of our settings.
      enableServiceLinks: false
      terminationGracePeriodSeconds: {{ add .Values.drain.timeoutSeconds $preStop 10 }}
      {{- with .Values.priorityClassName }}
      priorityClassName: {{ . }}
      {{- end }}
      {{- with .Values.imagePullSecrets }}
      imagePullSecrets:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext: # the image has a numeric user; none here, so that OpenShift may choose its own
        runAsNonRoot: true
        seccompProfile:
          type: RuntimeDefault
      {{- if $standalone }}
      initContainers:
        {{- include "onehop.envoyContainer" . | nindent 8 }}
      {{- end }}
      containers:
        - name: onehop
          image: {{ include "onehop.image" . }}
          imagePullPolicy: {{ .Values.image.pullPolicy }}
          args:
            {{- include "onehop.args" (dict "root" . "workload" $workload) | nindent 12 }}
          {{- if or .Values.adminTokenSecret .Values.extraEnv }}
          env:
            {{- with .Values.adminTokenSecret }}
            - name: ONEHOP_ADMIN_TOKEN
              valueFrom:
                secretKeyRef:
                  name: {{ . }}
                  key: token
            {{- end }}
            {{- with .Values.extraEnv }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          {{- end }}
          ports:
            {{- if eq $workload.component "front" }}
            - name: grpc-semantic
              containerPort: 50051
            {{- end }}
            - name: grpc-ext-proc
              containerPort: 9002
            - name: grpc-health
              containerPort: 9003
            - name: http-metrics
              containerPort: 9090
            {{- if ne $workload.component "front" }}
            {{- range (include "onehop.pools" . | fromYaml).items }}
            {{- if .port }}
            - name: {{ .portName }}
              containerPort: {{ .port }}
            {{- end }}
            {{- end }}
            {{- end }}
          startupProbe: # the health port opens when the semantic stage is loaded
            grpc:
              port: 9003
              service: liveness
            periodSeconds: 2
            failureThreshold: 60
          livenessProbe:
            grpc:
              port: 9003
              service: liveness
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 3
          readinessProbe:
            grpc:
              port: 9003
              service: readiness
            periodSeconds: 2
            timeoutSeconds: 2
            failureThreshold: 2
          {{- if $standalone }}
          lifecycle:
            preStop: # Envoy asks its clients to connect anew, elsewhere, while both go on answering
              exec:
                command:
                  - python
                  - -c
                  - >-
                    import time, urllib.request as web;
                    drain = web.Request("http://127.0.0.1:19000/drain_listeners?graceful&skip_exit", method="POST");
                    web.urlopen(drain, timeout=2);
                    time.sleep({{ $preStop }})
          {{- else if $preStop }}
          lifecycle:
            preStop: # go on answering until the gateways have heard that this pod is going
              exec:
                command: ["sleep", "{{ $preStop }}"]
          {{- end }}
          resources:
            {{- toYaml .Values.resources | nindent 12 }}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities:
              drop: [ALL]
          volumeMounts: # whole directories: a file mounted by subPath never changes
            - name: tmp
              mountPath: /tmp
            {{- if eq (include "onehop.source" .) "file" }}
            - name: discovery
              mountPath: /etc/onehop/discovery
              readOnly: true
            {{- end }}
            {{- if $semantic }}
            - name: semantic
              mountPath: /etc/onehop/semantic
              readOnly: true
            {{- end }}
            {{- if .Values.certificateSecret }}
            - name: tls
              mountPath: /etc/onehop/tls
              readOnly: true
            {{- end }}
            {{- if eq .Values.mode "guideDropIn" }}
            - name: decision-key
              mountPath: /etc/onehop/decision-key
              readOnly: true
            {{- end }}
      volumes:
        - name: tmp
          emptyDir:
            sizeLimit: 64Mi
        {{- if eq (include "onehop.source" .) "file" }}
        - name: discovery
          configMap:
            name: {{ include "onehop.discoveryConfigMap" . }}
        {{- end }}
        {{- if $semantic }}
        - name: semantic
          configMap:
            name: {{ include "onehop.fullname" . }}-semantic
        {{- end }}
        {{- with .Values.certificateSecret }}
        - name: tls
          secret:
            secretName: {{ . }}
        {{- end }}
        {{- if eq .Values.mode "guideDropIn" }}
        - name: decision-key
          secret:
            secretName: {{ include "onehop.decisionKeySecret" . }}
        {{- end }}
        {{- if $standalone }}
        - name: envoy
          configMap:
            name: {{ include "onehop.fullname" . }}-envoy
        - name: envoy-tmp
          emptyDir:
            sizeLimit: 64Mi
        {{- end }}
      {{- with .Values.nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .Values.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .Values.affinity }}
      affinity:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .Values.topologySpreadConstraints }}
      topologySpreadConstraints:
        {{- range . }}
        {{- $ours := dict "labelSelector" (dict "matchLabels" ($selector | fromYaml)) }}
        - {{ hasKey . "labelSelector" | ternary . (merge $ours .) | toYaml | nindent 10 | trim }}
        {{- end }}
      {{- end }}
{{- end -}}
{{- end -}}
