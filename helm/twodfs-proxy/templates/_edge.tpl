{{/* The edge cache: which kind of workload, its volume, and how much of it is for content. */}}

{{- define "twodfs-proxy.workload" -}}
{{- ternary .Values.edge.kind "Deployment" .Values.edge.enabled -}}
{{- end -}}

{{/* The claim for a pod's volume: its spec. */}}
{{- define "twodfs-proxy.edgeClaim" -}}
{{- $persistence := .Values.edge.persistence -}}
accessModes:
  {{- toYaml $persistence.accessModes | nindent 2 }}
{{- with $persistence.storageClass }}
storageClassName: {{ ternary "" . (eq . "-") | quote }}
{{- end }}
{{- with $persistence.volumeAttributesClassName }}
volumeAttributesClassName: {{ . }}
{{- end }}
resources:
  requests:
    storage: {{ $persistence.size }}
{{- end -}}

{{/* The pod's volume; nothing where the StatefulSet's claims are it, or there is no edge cache. */}}
{{- define "twodfs-proxy.edgeVolume" -}}
{{- $edge := .Values.edge -}}
{{- if not $edge.enabled -}}
{{- else if $edge.persistence.existingClaim -}}
name: edge
persistentVolumeClaim:
  claimName: {{ $edge.persistence.existingClaim }}
{{- else if eq $edge.kind "DaemonSet" -}}
name: edge
{{- if $edge.hostPath }}
hostPath:
  path: {{ $edge.hostPath }}
  type: Directory
{{- else }}
ephemeral:
  volumeClaimTemplate:
    {{- with $edge.persistence.annotations }}
    metadata:
      annotations:
        {{- toYaml . | nindent 8 }}
    {{- end }}
    spec:
      {{- include "twodfs-proxy.edgeClaim" . | nindent 6 }}
{{- end }}
{{- end -}}
{{- end -}}

{{/* Nine tenths of the claim's size in bytes, as the file system takes its part; nothing where the size is not the chart's. */}}
{{- define "twodfs-proxy.edgeMaxSize" -}}
{{- $edge := .Values.edge -}}
{{- if and $edge.enabled (not $edge.persistence.existingClaim) (not (and $edge.hostPath (eq $edge.kind "DaemonSet"))) -}}
{{- $units := dict "" 1 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "Pi" 1125899906842624 -}}
{{- $number := regexFind "^[0-9.]+" (toString $edge.persistence.size) -}}
{{- $unit := get $units (trimPrefix $number (toString $edge.persistence.size)) -}}
{{- printf "%.0f" (floor (mulf (float64 $number) $unit 0.9)) -}}
{{- end -}}
{{- end -}}

{{/* Values of an edge node that contradict each other. */}}
{{- define "twodfs-proxy.checkEdge" -}}
{{- $edge := .Values.edge -}}
{{- if $edge.enabled -}}
{{- if dig "edge" "directory" "" .Values.config -}}
{{- fail "edge.enabled sets config.edge.directory: use edge.mountPath" -}}
{{- end -}}
{{- if .Values.autoscaling.enabled -}}
{{- fail "autoscaling is not for edge nodes, which would begin with an empty disk: turn it off, and set replicaCount" -}}
{{- end -}}
{{- $isDaemonSet := eq $edge.kind "DaemonSet" -}}
{{- if and (not $isDaemonSet) (or $edge.hostPath $edge.hostPort) -}}
{{- fail "edge.hostPath and edge.hostPort need edge.kind DaemonSet" -}}
{{- end -}}
{{- if and $edge.persistence.existingClaim (or $isDaemonSet (gt (int .Values.replicaCount) 1)) -}}
{{- fail "edge.persistence.existingClaim is for a StatefulSet with one replica: nodes do not share a directory" -}}
{{- end -}}
{{- if and $isDaemonSet (or .Values.ingress.enabled .Values.httpRoute.enabled (ne .Values.service.type "ClusterIP")) (not (include "twodfs-proxy.hasRedis" .)) (ne .Values.service.sessionAffinity "ClientIP") -}}
{{- fail "a DaemonSet behind ingress, httpRoute or a Service that is no ClusterIP needs redis.mode, so that each can answer for what another cut; or else service.sessionAffinity ClientIP" -}}
{{- end -}}
{{- end -}}
{{- end -}}
