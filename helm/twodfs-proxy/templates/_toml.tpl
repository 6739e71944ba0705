{{/* A tree of values as TOML: plain keys first, then tables, each under its full name. Takes a dict: table, path. */}}
{{- define "twodfs-proxy.toml" -}}
{{- $path := .path -}}
{{- range $key, $value := .table -}}
{{- if not (or (kindIs "map" $value) (kindIs "invalid" $value)) }}
{{ include "twodfs-proxy.toml.key" $key }} = {{ include "twodfs-proxy.toml.value" $value }}
{{- end -}}
{{- end -}}
{{- range $key, $value := .table -}}
{{- if kindIs "map" $value }}
{{- $below := append $path (include "twodfs-proxy.toml.key" $key) }}

[{{ join "." $below }}]
{{- include "twodfs-proxy.toml" (dict "table" $value "path" $below) }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "twodfs-proxy.toml.key" -}}
{{- if regexMatch "^[A-Za-z0-9_-]+$" . -}}{{ . }}{{- else -}}{{ include "twodfs-proxy.toml.value" . }}{{- end -}}
{{- end -}}

{{/* A JSON string is a TOML basic string, but for DEL. Helm reads every number of a file as a float. */}}
{{- define "twodfs-proxy.toml.value" -}}
{{- if kindIs "string" . -}}
{{ toRawJson . | replace "\x7f" "\\u007f" }}
{{- else if kindIs "slice" . -}}
{{- $items := list -}}
{{- range . -}}{{- $items = append $items (include "twodfs-proxy.toml.value" .) -}}{{- end -}}
[{{ join ", " $items }}]
{{- else if kindIs "map" . -}}
{{- $items := list -}}
{{- range $key, $value := . -}}
{{- if not (kindIs "invalid" $value) -}}
{{- $items = append $items (printf "%s = %s" (include "twodfs-proxy.toml.key" $key) (include "twodfs-proxy.toml.value" $value)) -}}
{{- end -}}
{{- end -}}
{ {{- join ", " $items -}} }
{{- else if and (kindIs "float64" .) (eq (floor .) .) -}}
{{ printf "%.0f" . }}
{{- else -}}
{{ printf "%v" . }}
{{- end -}}
{{- end -}}
