{{/* Names, labels and images. */}}

{{- define "twodfs-proxy.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimAll "-" -}}
{{- end -}}

{{/* A label of RFC 1035, as Services need it: a letter first, no dots, though a release may be called 2dfs or my.release.
     At most 52 characters, so that the longest suffix fits. */}}
{{- define "twodfs-proxy.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- $label := default $full .Values.fullnameOverride | replace "." "-" -}}
{{- ternary $label (printf "proxy-%s" $label) (regexMatch "^[a-z]" $label) | trunc 52 | trimAll "-" -}}
{{- end -}}

{{- define "twodfs-proxy.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end -}}

{{- define "twodfs-proxy.serviceAccountName" -}}
{{- default (ternary (include "twodfs-proxy.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name -}}
{{- end -}}

{{/* What pods are selected by. Takes a list: the root, and the component. */}}
{{- define "twodfs-proxy.selectorLabels" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "twodfs-proxy.name" $root | toYaml }}
app.kubernetes.io/instance: {{ toYaml $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* The metadata of every resource. Takes a dict: root; name, component, namespace, labels and annotations where they
     are not the usual ones. */}}
{{- define "twodfs-proxy.metadata" -}}
{{- $root := .root -}}
{{- $component := default "proxy" .component -}}
{{- $labels := include "twodfs-proxy.selectorLabels" (list $root $component) | fromYaml -}}
{{- $_ := set $labels "helm.sh/chart" (printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") -}}
{{- $_ := set $labels "app.kubernetes.io/version" ($root.Chart.AppVersion | toString) -}}
{{- $_ := set $labels "app.kubernetes.io/managed-by" $root.Release.Service -}}
name: {{ default (include "twodfs-proxy.fullname" $root) .name | toYaml }}
namespace: {{ default (include "twodfs-proxy.namespace" $root) .namespace | toYaml }}
labels:
  {{- toYaml (merge $labels (default dict .labels) (default dict $root.Values.commonLabels)) | nindent 2 }}
{{- with merge (dict) (default dict .annotations) (default dict $root.Values.commonAnnotations) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* An image's reference. Takes a dict: image, and the tag where it has none. */}}
{{- define "twodfs-proxy.image" -}}
{{- $image := .image -}}
{{- $name := ternary (printf "%s/%s" $image.registry $image.repository) $image.repository (not (empty $image.registry)) -}}
{{- if $image.digest -}}
{{ printf "%s@%s" $name $image.digest }}
{{- else -}}
{{ printf "%s:%s" $name (default .tag $image.tag) }}
{{- end -}}
{{- end -}}

{{/* The port of an address as the program writes them: 0.0.0.0:5000, [::]:5000. */}}
{{- define "twodfs-proxy.port" -}}
{{- regexReplaceAll "^.*:" (toString .) "" -}}
{{- end -}}

{{/* Where clients reach us, as an origin; empty where the chart cannot know. Hosts with TLS come first: engines want it. */}}
{{- define "twodfs-proxy.publicUrl" -}}
{{- $secure := list -}}
{{- $plain := list -}}
{{- if .Values.ingress.enabled -}}
{{- range .Values.ingress.hosts -}}
{{- if include "twodfs-proxy.hasTls" (list $ .) -}}{{- $secure = append $secure . -}}{{- else -}}{{- $plain = append $plain . -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- if .Values.httpRoute.enabled -}}
{{- range .Values.httpRoute.hostnames -}}
{{- if eq $.Values.httpRoute.scheme "https" -}}{{- $secure = append $secure . -}}{{- else -}}{{- $plain = append $plain . -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- $urls := list -}}
{{- range $secure -}}{{- if not (hasPrefix "*" .) -}}{{- $urls = append $urls (printf "https://%s" .) -}}{{- end -}}{{- end -}}
{{- range $plain -}}{{- if not (hasPrefix "*" .) -}}{{- $urls = append $urls (printf "http://%s" .) -}}{{- end -}}{{- end -}}
{{- with .Values.config.public_url -}}{{- $urls = prepend $urls (regexReplaceAll "/+$" . "") -}}{{- end -}}
{{- with $urls -}}{{ first . }}{{- end -}}
{{- end -}}

{{/* Whether the Ingress speaks TLS for a host: `yes`, or nothing. Takes a list: the root, and the host. */}}
{{- define "twodfs-proxy.hasTls" -}}
{{- $host := index . 1 -}}
{{- $wildcard := regexReplaceAll "^[^.]+" $host "*" -}}
{{- $covers := false -}}
{{- range (index . 0).Values.ingress.tls -}}
{{- if or (not .hosts) (has $host .hosts) (has $wildcard .hosts) -}}{{- $covers = true -}}{{- end -}}
{{- end -}}
{{- if $covers -}}yes{{- end -}}
{{- end -}}
