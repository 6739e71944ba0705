{{/* What nodes are told, so that images keep their names: the proxy as a mirror of its registries. For the notes. */}}

{{/* Where a node's engine reaches the proxy, as an origin. A variable stands for what the chart cannot know. */}}
{{- define "twodfs-proxy.nodesAddress" -}}
{{- $scheme := ternary "https" "http" .Values.tls.enabled -}}
{{- $public := include "twodfs-proxy.publicUrl" . -}}
{{- if and (eq (include "twodfs-proxy.workload" .) "DaemonSet") .Values.edge.hostPort -}}
{{- $ip := ternary "127.0.0.1" .Values.edge.hostIP (has .Values.edge.hostIP (list nil "" "0.0.0.0" "::")) -}}
{{ $scheme }}://{{ include "twodfs-proxy.bracketed" $ip }}:{{ .Values.edge.hostPort }}
{{- else if $public -}}
{{ $public }}
{{- else if eq .Values.service.type "LoadBalancer" -}}
{{ $scheme }}://$HOST:{{ .Values.service.port }}
{{- else if eq .Values.service.type "NodePort" -}}
{{ $scheme }}://$HOST:{{ default "$PORT" .Values.service.nodePort }}
{{- else -}}
{{ $scheme }}://{{ include "twodfs-proxy.bracketed" (default "$CLUSTER_IP" .Values.service.clusterIP) }}:{{ .Values.service.port }}
{{- end -}}
{{- end -}}

{{- define "twodfs-proxy.bracketed" -}}
{{- ternary (printf "[%s]" .) . (contains ":" .) -}}
{{- end -}}

{{/* Every registry as nodes know it. As JSON: a list of `names` (each with its `server`, whom to ask when we are away),
     `location` (for engines that do not say which registry they mean; empty where there is none), `hasOwnPing` (whether
     their GET /v2/ there is answered by that registry: a prefix is not in it), `label`, and `docker`, the mirror for
     Docker's own registry. */}}
{{- define "twodfs-proxy.mirrors" -}}
{{- $address := include "twodfs-proxy.nodesAddress" . -}}
{{- $authority := regexReplaceAll "^https?://" $address "" -}}
{{- $made := list -}}
{{- range include "twodfs-proxy.upstreams" . | fromJsonArray -}}
{{- $namespaces := include "twodfs-proxy.items" .given.namespaces | fromJsonArray -}}
{{- $servers := dict -}}
{{- $own := list -}}
{{- range .origins -}}
{{- $url := urlParse (lower .) -}}
{{- if has $url.hostname (list "registry-1.docker.io" "index.docker.io" "docker.io") -}}
{{- $own = append $own "docker.io" -}}
{{- else -}}
{{- $_ := set $servers $url.host (regexReplaceAll "/+$" . "") -}}
{{- $isInside := or (not (regexMatch "[.:]" $url.hostname)) (regexMatch "\\.svc(\\..*)?$" $url.hostname) -}}
{{- if or (not $isInside) (not $namespaces) -}}{{- $own = append $own $url.host -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- $names := list -}}
{{- range concat $own $namespaces | uniq -}}
{{- $server := get $servers . | default (printf "https://%s" (ternary "registry-1.docker.io" . (eq . "docker.io"))) -}}
{{- $names = append $names (dict "name" . "server" $server) -}}
{{- end -}}
{{- $host := "" -}}
{{- range include "twodfs-proxy.items" .given.hosts | fromJsonArray -}}
{{- if not (or $host (hasPrefix "*" .)) -}}{{- $host = printf "%s%s" . (regexFind ":[^:\\]]+$" $authority) -}}{{- end -}}
{{- end -}}
{{- $location := ternary $authority $host .isDefault -}}
{{- if and .given.prefix (or .isDefault (not $host)) -}}{{- $location = printf "%s/%s" $authority .given.prefix -}}{{- end -}}
{{- $docker := "" -}}
{{- if has "docker.io" (concat $own $namespaces) -}}
{{- if .isDefault -}}{{- $docker = $address -}}
{{- else if $host -}}{{- $docker = printf "%s://%s" (urlParse $address).scheme $host -}}
{{- end -}}
{{- end -}}
{{- $made = append $made (dict "label" .label "names" $names "location" $location "hasOwnPing" (or .isDefault (not (empty $host))) "docker" $docker) -}}
{{- end -}}
{{- toJson $made -}}
{{- end -}}

{{/* The files of a node. */}}
{{- define "twodfs-proxy.mirrorNotes" -}}
{{- $address := include "twodfs-proxy.nodesAddress" . -}}
{{- $mirrors := include "twodfs-proxy.mirrors" . | fromJsonArray -}}
Images keep their names where each node has the proxy as a mirror. Ways to bring these files to nodes: docs/deployment.md.
{{- if contains "$" $address }}
Put in what these say{{ if contains "$HOST" $address }}, with $HOST{{ if contains "$PORT" $address }} and $PORT{{ end }} as above{{ if eq .Values.service.type "NodePort" }}, or each node's own address{{ end }}{{ end }}:
{{- if contains "$CLUSTER_IP" $address }}

  CLUSTER_IP=$(kubectl --namespace {{ include "twodfs-proxy.namespace" . }} get service {{ include "twodfs-proxy.fullname" . }} --output jsonpath='{.spec.clusterIP}')
{{- end }}
{{- end }}

containerd (config_path = "/etc/containerd/certs.d"):
{{- range $mirrors }}
{{- range .names }}

  # /etc/containerd/certs.d/{{ .name }}/hosts.toml
  server = "{{ .server }}"
  [host."{{ $address }}"]
    capabilities = ["pull", "resolve"]
{{- end }}
{{- end }}

podman and CRI-O:

  # /etc/containers/registries.conf.d/twodfs-proxy.conf
{{- range $mirrors }}
{{- $location := .location }}
{{- $label := .label }}
{{- if and $location (not .hasOwnPing) }}
  # Without a login alone: with one, they log in where the default registry says. Give {{ $label }} hosts for that.
{{- end }}
{{- range .names }}
{{- if $location }}
  [[registry]]
  prefix = "{{ .name }}"
  location = "{{ .name }}"
  [[registry.mirror]]
  location = "{{ $location }}"
  {{- if hasPrefix "http:" $address }}
  insecure = true
  {{- end }}
{{- else }}
  # {{ .name }}: they do not say that they mean it; give {{ $label }} hosts, or a prefix
{{- end }}
{{- end }}
{{- end }}
{{- range $mirrors }}
{{- if .docker }}

Docker, for docker.io alone:

  # /etc/docker/daemon.json
  {"registry-mirrors": ["{{ .docker }}"]{{ if and (hasPrefix "http:" .docker) (not (regexMatch "^http://(127\\.|\\[::1\\])" .docker)) }}, "insecure-registries": ["{{ trimPrefix "http://" .docker }}"]{{ end }}}
{{- end }}
{{- end }}
{{- if hasPrefix "https:" $address }}

Where nodes do not trust the certificate's issuer by themselves, hosts.toml has `ca = "/path/to/ca.crt"` below capabilities.
{{- end }}
{{- end -}}
