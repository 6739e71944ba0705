{{/* The registries behind the proxy: one in `config.upstream`, or each of `upstreams`. */}}

{{/* Items of a list as the program takes it: a list, or a text with commas or a list in JSON. As JSON. */}}
{{- define "twodfs-proxy.items" -}}
{{- $given := default list . -}}
{{- $items := list -}}
{{- if kindIs "slice" $given -}}{{- $items = $given -}}
{{- else if hasPrefix "[" (trim $given) -}}{{- $items = fromJsonArray $given -}}
{{- else -}}{{- $items = splitList "," $given -}}
{{- end -}}
{{- $texts := list -}}
{{- range $items -}}{{- with trim (toString .) -}}{{- $texts = append $texts . -}}{{- end -}}{{- end -}}
{{- toJson $texts -}}
{{- end -}}

{{/* Every registry. As JSON: a list of `given` (its values), `label` (for messages), `isDefault`, `origins`, and for one
     with files of a Secret `volume` and `directory`. */}}
{{- define "twodfs-proxy.upstreams" -}}
{{- $several := default list .Values.upstreams -}}
{{- $default := 0 -}}
{{- range $at, $one := $several -}}{{- if $one.default -}}{{- $default = $at -}}{{- end -}}{{- end -}}
{{- $made := list -}}
{{- range $at, $given := default (list (default dict .Values.config.upstream)) $several -}}
{{- $one := dict "given" $given "isDefault" (eq $at $default) "origins" (include "twodfs-proxy.items" $given.url | fromJsonArray) -}}
{{- $_ := set $one "label" (ternary (printf "upstreams[%s]" $given.name) "config.upstream" (not (empty $several))) -}}
{{- if and $several $given.existingSecret $given.secretKeys -}}
{{- $_ := set $one "volume" (printf "upstream-%s" (regexReplaceAll "[._]" $given.name "-") | trunc 63 | trimAll "-") -}}
{{- $_ := set $one "directory" (printf "/etc/twodfs-proxy/upstreams/%s" $given.name) -}}
{{- end -}}
{{- $made = append $made $one -}}
{{- end -}}
{{- toJson $made -}}
{{- end -}}

{{/* The origins of all registries. As JSON. */}}
{{- define "twodfs-proxy.origins" -}}
{{- $origins := list -}}
{{- range include "twodfs-proxy.upstreams" . | fromJsonArray -}}{{- $origins = concat $origins .origins -}}{{- end -}}
{{- toJson $origins -}}
{{- end -}}

{{/* The names that the proxy has for its registries: clients choose one by the host that they connect to. As JSON. */}}
{{- define "twodfs-proxy.upstreamHosts" -}}
{{- $hosts := list -}}
{{- range include "twodfs-proxy.upstreams" . | fromJsonArray -}}
{{- $hosts = concat $hosts (include "twodfs-proxy.items" .given.hosts | fromJsonArray) -}}
{{- end -}}
{{- toJson $hosts -}}
{{- end -}}

{{/* Those that neither the Ingress nor the HTTPRoute leads here, where one of them is the way in. As JSON. */}}
{{- define "twodfs-proxy.lostHosts" -}}
{{- $ways := list -}}
{{- if .Values.ingress.enabled -}}{{- $ways = concat $ways .Values.ingress.hosts -}}{{- end -}}
{{- if .Values.httpRoute.enabled -}}{{- $ways = concat $ways (default list .Values.httpRoute.hostnames) -}}{{- end -}}
{{- $lost := list -}}
{{- range include "twodfs-proxy.upstreamHosts" . | fromJsonArray -}}
{{- if and $ways (not (has . $ways)) (not (has (regexReplaceAll "^[^.]+" . "*") $ways)) -}}{{- $lost = append $lost . -}}{{- end -}}
{{- end -}}
{{- toJson $lost -}}
{{- end -}}

{{/* `upstreams` as TOML: a table for each. */}}
{{- define "twodfs-proxy.upstreamTables" -}}
{{- range include "twodfs-proxy.upstreams" . | fromJsonArray }}
{{- $table := omit .given "existingSecret" "secretKeys" "egress" (ternary "" "default" (default false .given.default)) }}
{{- $directory := .directory }}
{{- range $setting, $key := default dict .given.secretKeys }}
{{- include "twodfs-proxy.place" (dict "tree" $table "path" $setting "value" (printf "%s/%s" $directory $key)) }}
{{- end }}

[[upstream]]
{{- include "twodfs-proxy.toml" (dict "table" $table "path" (list "upstream")) }}
{{- end }}
{{- end -}}

{{/* The Secrets of `upstreams`: volumes. */}}
{{- define "twodfs-proxy.upstreamVolumes" -}}
{{- range include "twodfs-proxy.upstreams" . | fromJsonArray }}
{{- if .volume }}
- name: {{ .volume }}
  secret:
    secretName: {{ .given.existingSecret }}
    defaultMode: 0440
    items:
      {{- range values .given.secretKeys | uniq | sortAlpha }}
      - key: {{ . }}
        path: {{ . }}
      {{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The Secrets of `upstreams`: mounts. */}}
{{- define "twodfs-proxy.upstreamMounts" -}}
{{- range include "twodfs-proxy.upstreams" . | fromJsonArray }}
{{- if .volume }}
- name: {{ .volume }}
  mountPath: {{ .directory }}
  readOnly: true
{{- end }}
{{- end }}
{{- end -}}

{{/* Egress rules towards `upstreams`: their own, or what their URLs tell. Behind a Service the pods' port may be another
     than its own, so any port there will do; a name is no address, so its port is all there is to say. As JSON. */}}
{{- define "twodfs-proxy.upstreamEgress" -}}
{{- $rules := list -}}
{{- if .Values.upstreams -}}
{{- range include "twodfs-proxy.upstreams" . | fromJsonArray -}}
{{- if .given.egress -}}
{{- $rules = concat $rules .given.egress -}}
{{- else -}}
{{- range .origins -}}
{{- $url := urlParse . -}}
{{- $host := $url.hostname -}}
{{- $port := regexFind ":[0-9]+$" $url.host | trimPrefix ":" | default (ternary "443" "80" (eq $url.scheme "https")) | int -}}
{{- $ports := list (dict "port" $port "protocol" "TCP") -}}
{{- $service := regexFind "[^.]+\\.svc(\\.cluster\\.local)?$" $host -}}
{{- if contains ":" $host -}}
{{- $rules = append $rules (dict "ports" $ports "to" (list (dict "ipBlock" (dict "cidr" (printf "%s/128" $host))))) -}}
{{- else if regexMatch "^[0-9.]+$" $host -}}
{{- $rules = append $rules (dict "ports" $ports "to" (list (dict "ipBlock" (dict "cidr" (printf "%s/32" $host))))) -}}
{{- else if $service -}}
{{- $namespace := dict "matchLabels" (dict "kubernetes.io/metadata.name" (splitList "." $service | first)) -}}
{{- $rules = append $rules (dict "to" (list (dict "namespaceSelector" $namespace))) -}}
{{- else if contains "." $host -}}
{{- $rules = append $rules (dict "ports" $ports) -}}
{{- else -}}
{{- $rules = append $rules (dict "to" (list (dict "podSelector" dict))) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- uniq $rules | toJson -}}
{{- end -}}

{{/* Registries that contradict each other, or have what belongs elsewhere. */}}
{{- define "twodfs-proxy.checkUpstreams" -}}
{{- range include "twodfs-proxy.upstreams" . | fromJsonArray -}}
{{- if $.Values.upstreams -}}
{{- include "twodfs-proxy.refuseSecrets" (dict "tree" (omit .given "secretKeys" "egress") "path" list "label" .label "place" "existingSecret, and secretKeys with credentials.file (credentials.kind file or docker-config)") -}}
{{- end -}}
{{- if not .origins -}}
{{- fail (printf "%s.url is missing: the registry to stand in front of, as http://registry.registry.svc:5000" .label) -}}
{{- end -}}
{{- $label := .label -}}
{{- range .origins -}}
{{- if not (regexMatch "^https?://[A-Za-z0-9.:\\[\\]-]+/*$" .) -}}
{{- fail (printf "%s.url has %s in it, which is no origin: as http://registry.registry.svc:5000" $label .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if .Values.upstreams -}}
{{- range $setting, $value := default dict .Values.config.upstream -}}
{{- if $value -}}
{{- fail (printf "config.upstream.%s has no use beside upstreams, which has every registry: move it there" $setting) -}}
{{- end -}}
{{- end -}}
{{- range $name, $secret := include "twodfs-proxy.secrets" . | fromJson -}}
{{- if hasPrefix "upstream." $secret.setting -}}
{{- fail (printf "the Secret %s is for %s, which upstreams takes the place of: use existingSecret and secretKeys of the registry" $secret.existingSecret $secret.setting) -}}
{{- end -}}
{{- end -}}
{{- $defaults := list -}}
{{- $seen := dict -}}
{{- range include "twodfs-proxy.upstreams" . | fromJsonArray -}}
{{- $label := .label -}}
{{- $given := .given -}}
{{- if $given.default -}}{{- $defaults = append $defaults $given.name -}}{{- end -}}
{{- $names := dict "name" (list $given.name) "prefix" (include "twodfs-proxy.items" $given.prefix | fromJsonArray) -}}
{{- range $setting := list "hosts" "namespaces" -}}
{{- $_ := set $names $setting (include "twodfs-proxy.items" (get $given $setting) | fromJsonArray | uniq) -}}
{{- end -}}
{{- if .volume -}}{{- $_ := set $names "volume" (list .volume) -}}{{- end -}}
{{- range $setting, $values := $names -}}
{{- range $values -}}
{{- $key := printf "%s %s" $setting (lower .) -}}
{{- with get $seen $key -}}
{{- fail (printf "%s and %s have the same %s: a request could be for either" $label . $key) -}}
{{- end -}}
{{- $_ := set $seen $key $label -}}
{{- end -}}
{{- end -}}
{{- if ne (empty $given.existingSecret) (empty $given.secretKeys) -}}
{{- fail (printf "%s needs existingSecret and secretKeys together, as secretKeys: {credentials.file: .dockerconfigjson}" $label) -}}
{{- end -}}
{{- range $setting := keys (default dict $given.secretKeys) -}}
{{- $value := $given -}}
{{- range splitList "." $setting -}}
{{- if kindIs "map" $value -}}{{- $value = get $value . -}}{{- else -}}{{- $value = "" -}}{{- end -}}
{{- end -}}
{{- if $value -}}{{- fail (printf "%s.%s and its secretKeys have the same setting" $label $setting) -}}{{- end -}}
{{- end -}}
{{- if .isDefault -}}
{{- range $section := list "auth" "blobs" -}}
{{- $fromSecret := list -}}
{{- range $setting := keys (default dict $given.secretKeys) -}}
{{- if hasPrefix (printf "%s." $section) $setting -}}{{- $fromSecret = append $fromSecret $setting -}}{{- end -}}
{{- end -}}
{{- if or (get $given $section) $fromSecret -}}
{{- fail (printf "%s is the default registry, whose %s is config.%s%s" $label $section $section (ternary ", with its Secrets in secrets" "" (eq $section "auth"))) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if gt (len $defaults) 1 -}}
{{- fail (printf "upstreams: %s have default true, which is for one alone" (join ", " $defaults)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
