{{/* The pods of the proxy, whatever makes them: metadata and spec. */}}

{{- define "twodfs-proxy.pod" -}}
{{- $grace := add (int .Values.drainSeconds) (ceil .Values.config.shutdown_grace | int) 5 -}}
{{- $isDaemonSet := eq (include "twodfs-proxy.workload" .) "DaemonSet" -}}
metadata:
  labels:
    {{- $labels := include "twodfs-proxy.selectorLabels" (list . "proxy") | fromYaml }}
    {{- toYaml (merge $labels (default dict .Values.podLabels) (default dict .Values.commonLabels)) | nindent 4 }}
  annotations:
    {{- $own := dict "checksum/config" (include "twodfs-proxy.config" . | sha256sum) }}
    {{- toYaml (merge $own (default dict .Values.podAnnotations) (default dict .Values.commonAnnotations)) | nindent 4 }}
spec:
  serviceAccountName: {{ include "twodfs-proxy.serviceAccountName" . | toYaml }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ ternary $grace .Values.terminationGracePeriodSeconds (kindIs "invalid" .Values.terminationGracePeriodSeconds) }}
  {{- with .Values.podSecurityContext }}
  securityContext:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.image.pullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .Values.runtimeClassName }}
  runtimeClassName: {{ . }}
  {{- end }}
  {{- with .Values.dnsPolicy }}
  dnsPolicy: {{ . }}
  {{- end }}
  {{- with .Values.dnsConfig }}
  dnsConfig:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.hostAliases }}
  hostAliases:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with ternary list .Values.topologySpreadConstraints $isDaemonSet }}
  topologySpreadConstraints:
    {{- range . }}
    {{- $own := dict "labelSelector" (dict "matchLabels" (include "twodfs-proxy.selectorLabels" (list $ "proxy") | fromYaml)) }}
    - {{- toYaml (ternary . (merge (deepCopy .) $own) (hasKey . "labelSelector")) | nindent 6 }}
    {{- end }}
  {{- end }}
  {{- with .Values.extraInitContainers }}
  initContainers:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: proxy
      image: {{ include "twodfs-proxy.image" (dict "image" .Values.image "tag" .Chart.AppVersion) }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      command: [twodfs-proxy]
      args:
        - --config
        - /etc/twodfs-proxy/config.toml
        {{- with .Values.extraArgs }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with (concat (include "twodfs-proxy.secretEnv" . | fromYamlArray) (default list .Values.extraEnv)) }}
      env:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .Values.extraEnvFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        - name: registry
          containerPort: {{ include "twodfs-proxy.port" .Values.config.listen }}
          {{- if and $isDaemonSet .Values.edge.hostPort }}
          hostPort: {{ .Values.edge.hostPort }}
          {{- with .Values.edge.hostIP }}
          hostIP: {{ . }}
          {{- end }}
          {{- end }}
        - name: admin
          containerPort: {{ include "twodfs-proxy.port" .Values.config.admin }}
      {{- with .Values.startupProbe }}
      startupProbe:
        httpGet: {path: /healthz, port: admin}
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .Values.livenessProbe }}
      livenessProbe:
        httpGet: {path: /healthz, port: admin}
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .Values.readinessProbe }}
      readinessProbe:
        httpGet: {path: /readyz, port: admin}
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- if .Values.drainSeconds }}
      lifecycle:
        preStop:
          sleep:
            seconds: {{ .Values.drainSeconds }}
      {{- end }}
      {{- with .Values.resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .Values.securityContext }}
      securityContext:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      volumeMounts:
        - name: config
          mountPath: /etc/twodfs-proxy/config.toml
          subPath: config.toml
          readOnly: true
        - name: tmp
          mountPath: /tmp
        {{- if .Values.edge.enabled }}
        - name: edge
          mountPath: {{ .Values.edge.mountPath }}
        {{- end }}
        {{- with concat (include "twodfs-proxy.secretMounts" . | fromYamlArray) (default list .Values.extraVolumeMounts) }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    {{- with .Values.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    - name: config
      configMap:
        name: {{ include "twodfs-proxy.fullname" . }}
    - name: tmp
      emptyDir:
        sizeLimit: 64Mi
    {{- with include "twodfs-proxy.edgeVolume" . | fromYaml }}
    - {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with concat (include "twodfs-proxy.secretVolumes" . | fromYamlArray) (default list .Values.extraVolumes) }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}
