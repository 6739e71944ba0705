{{/* The program's configuration, and the secrets that it reads. */}}

{{- define "twodfs-proxy.secretsDirectory" -}}/etc/twodfs-proxy/secrets{{- end -}}

{{/* Every Secret that is used, by name: `setting`, `key`, `asEnv`, `existingSecret`. As JSON. */}}
{{- define "twodfs-proxy.secrets" -}}
{{- $used := dict -}}
{{- range $name, $secret := merge (dict) .Values.secrets (default dict .Values.extraSecrets) -}}
{{- if $secret.existingSecret -}}
{{- $_ := set $used (kebabcase $name) $secret -}}
{{- end -}}
{{- end -}}
{{- toJson $used -}}
{{- end -}}

{{/* Name of the Secret with the certificate. */}}
{{- define "twodfs-proxy.tlsSecret" -}}
{{- default (printf "%s-tls" (include "twodfs-proxy.fullname" .)) .Values.tls.existingSecret -}}
{{- end -}}

{{/* Put a value into a tree, at a dotted path. Takes a dict: tree, path, value. */}}
{{- define "twodfs-proxy.place" -}}
{{- $parts := splitList "." .path -}}
{{- $node := .tree -}}
{{- range initial $parts -}}
{{- if not (kindIs "map" (get $node .)) -}}{{- $_ := set $node . dict -}}{{- end -}}
{{- $node = get $node . -}}
{{- end -}}
{{- $_ := set $node (last $parts) .value -}}
{{- end -}}

{{/* `config`, completed with what follows from other values. As TOML. */}}
{{- define "twodfs-proxy.config" -}}
{{- $tree := deepCopy .Values.config -}}
{{- if .Values.upstreams -}}{{- $tree = omit $tree "upstream" -}}{{- else if not $tree.upstream.url -}}{{- $_ := unset $tree.upstream "url" -}}{{- end -}}
{{- $public := include "twodfs-proxy.publicUrl" . -}}
{{- if $public -}}{{- $_ := set $tree "public_url" $public -}}{{- else -}}{{- $_ := unset $tree "public_url" -}}{{- end -}}
{{- $directory := include "twodfs-proxy.secretsDirectory" . -}}
{{- range $name, $secret := include "twodfs-proxy.secrets" . | fromJson -}}
{{- if not $secret.asEnv -}}
{{- include "twodfs-proxy.place" (dict "tree" $tree "path" $secret.setting "value" (printf "%s/%s/%s" $directory $name $secret.key)) -}}
{{- end -}}
{{- end -}}
{{- if .Values.tls.enabled -}}
{{- include "twodfs-proxy.place" (dict "tree" $tree "path" .Values.tls.certificateSetting "value" (printf "%s/tls/%s" $directory .Values.tls.certificateKey)) -}}
{{- include "twodfs-proxy.place" (dict "tree" $tree "path" .Values.tls.privateKeySetting "value" (printf "%s/tls/%s" $directory .Values.tls.privateKeyKey)) -}}
{{- end -}}
{{- if include "twodfs-proxy.hasRedisFiles" . -}}
{{- $files := dict "redis_ca_file" .Values.redis.tls.caKey "redis_certificate" .Values.redis.tls.certificateKey "redis_key" .Values.redis.tls.privateKeyKey -}}
{{- range $setting, $key := $files -}}
{{- if $key -}}
{{- include "twodfs-proxy.place" (dict "tree" $tree "path" (printf "cache.%s" $setting) "value" (printf "%s/redis-tls/%s" $directory $key)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if .Values.edge.enabled -}}
{{- include "twodfs-proxy.place" (dict "tree" $tree "path" "edge.directory" "value" .Values.edge.mountPath) -}}
{{- $size := include "twodfs-proxy.edgeMaxSize" . -}}
{{- if and $size (not (dig "edge" "max_size" "" $tree)) -}}
{{- include "twodfs-proxy.place" (dict "tree" $tree "path" "edge.max_size" "value" (float64 $size)) -}}
{{- end -}}
{{- end -}}
{{- $redis := include "twodfs-proxy.redisUrl" . -}}
{{- if and $redis (not (include "twodfs-proxy.redisSecrets" . | fromJson)) -}}
{{- include "twodfs-proxy.place" (dict "tree" $tree "path" "cache.redis_url" "value" $redis) -}}
{{- end -}}
{{- include "twodfs-proxy.toml" (dict "table" $tree "path" list) | trim -}}
{{- if .Values.upstreams }}{{ include "twodfs-proxy.upstreamTables" . }}{{ end -}}
{{- end -}}

{{/* The URL of Redis, unless a Secret has it; `$(REDIS_PASSWORD)` stands for the password. */}}
{{- define "twodfs-proxy.redisUrl" -}}
{{- $redis := .Values.redis -}}
{{- if eq $redis.mode "bundled" -}}
{{ printf "redis://%s%s-redis:6379/0" (ternary ":$(REDIS_PASSWORD)@" "" (not (empty $redis.passwordSecret.name))) (include "twodfs-proxy.fullname" .) }}
{{- else if and (eq $redis.mode "external") (not $redis.existingSecret) -}}
{{ $redis.url }}
{{- else if has $redis.mode (list "sentinel" "cluster") -}}
{{- $password := ternary ":$(REDIS_PASSWORD)" "" (not (empty $redis.passwordSecret.name)) -}}
{{- $login := printf "%s%s" (default "" $redis.username) $password -}}
{{- if $login -}}{{- $login = printf "%s@" $login -}}{{- end -}}
{{ printf "%s+%s://%s%s" (ternary "rediss" "redis" $redis.tls.enabled) $redis.mode $login (join "," $redis.nodes) }}
{{- if eq $redis.mode "sentinel" -}}
{{ printf "/%s/%d" $redis.sentinel.service (int $redis.sentinel.db) }}
{{- $options := list -}}
{{- with $redis.sentinel.username -}}{{- $options = append $options (printf "sentinel_username=%s" .) -}}{{- end -}}
{{- if $redis.sentinel.passwordSecret.name -}}{{- $options = append $options "sentinel_password=$(SENTINEL_PASSWORD)" -}}{{- end -}}
{{- if $options -}}{{ printf "?%s" (join "&" $options) }}{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Whether the proxies share a Redis: `yes`, or nothing. */}}
{{- define "twodfs-proxy.hasRedis" -}}
{{- $set := dict -}}
{{- range include "twodfs-proxy.secrets" . | fromJson -}}{{- $_ := set $set .setting true -}}{{- end -}}
{{- if or (ne .Values.redis.mode "none") (dig "cache" "redis_url" "" .Values.config) (hasKey $set "cache.redis_url") -}}yes{{- end -}}
{{- end -}}

{{/* The Secrets that the URL of Redis takes a password from, by the variable that stands in it. As JSON. */}}
{{- define "twodfs-proxy.redisSecrets" -}}
{{- $redis := .Values.redis -}}
{{- $used := dict -}}
{{- if and (ne $redis.mode "none") $redis.passwordSecret.name -}}
{{- $_ := set $used "REDIS_PASSWORD" $redis.passwordSecret -}}
{{- end -}}
{{- if and (eq $redis.mode "sentinel") $redis.sentinel.passwordSecret.name -}}
{{- $_ := set $used "SENTINEL_PASSWORD" $redis.sentinel.passwordSecret -}}
{{- end -}}
{{- toJson $used -}}
{{- end -}}

{{/* Ports of Redis where it has several servers, whose addresses change. As JSON. */}}
{{- define "twodfs-proxy.redisPorts" -}}
{{- $ports := list -}}
{{- $redis := .Values.redis -}}
{{- if has $redis.mode (list "sentinel" "cluster") -}}
{{- range $redis.nodes -}}
{{- $port := regexFind ":[0-9]+$" . | trimPrefix ":" | default (ternary "26379" "6379" (eq $redis.mode "sentinel")) -}}
{{- $ports = append $ports (int $port) -}}
{{- end -}}
{{- if eq $redis.mode "sentinel" -}}{{- $ports = append $ports (int $redis.sentinel.serverPort) -}}{{- end -}}
{{- end -}}
{{- uniq $ports | toJson -}}
{{- end -}}

{{/* Whether files of TLS towards Redis are mounted. */}}
{{- define "twodfs-proxy.hasRedisFiles" -}}
{{- if and .Values.redis.tls.existingSecret (has .Values.redis.mode (list "external" "sentinel" "cluster")) -}}yes{{- end -}}
{{- end -}}

{{/* The environment that carries secrets. */}}
{{- define "twodfs-proxy.secretEnv" -}}
{{- $redis := .Values.redis -}}
{{- if and (eq $redis.mode "external") $redis.existingSecret }}
- name: TWODFS_PROXY_CACHE_REDIS_URL
  valueFrom:
    secretKeyRef:
      name: {{ $redis.existingSecret }}
      key: {{ $redis.existingSecretKey }}
{{- else }}
{{- with include "twodfs-proxy.redisSecrets" . | fromJson }}
{{- range $variable, $secret := . }}
- name: {{ $variable }}
  valueFrom:
    secretKeyRef:
      name: {{ $secret.name }}
      key: {{ $secret.key }}
{{- end }}
- name: TWODFS_PROXY_CACHE_REDIS_URL
  value: {{ include "twodfs-proxy.redisUrl" $ | quote }}
{{- end }}
{{- end }}
{{- range include "twodfs-proxy.secrets" . | fromJson }}
{{- if .asEnv }}
- name: TWODFS_PROXY_{{ .setting | replace "." "_" | upper }}
  valueFrom:
    secretKeyRef:
      name: {{ .existingSecret }}
      key: {{ .key }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The files that carry secrets: volumes. Whole directories, so that a changed Secret arrives in a running pod. */}}
{{- define "twodfs-proxy.secretVolumes" -}}
{{- range $name, $secret := include "twodfs-proxy.secrets" . | fromJson }}
{{- if not $secret.asEnv }}
- name: secret-{{ $name }}
  secret:
    secretName: {{ $secret.existingSecret }}
    defaultMode: 0440
    items:
      - key: {{ $secret.key }}
        path: {{ $secret.key }}
{{- end }}
{{- end }}
{{- include "twodfs-proxy.upstreamVolumes" . }}
{{- if .Values.tls.enabled }}
- name: secret-tls
  secret:
    secretName: {{ include "twodfs-proxy.tlsSecret" . }}
    defaultMode: 0440
{{- end }}
{{- if include "twodfs-proxy.hasRedisFiles" . }}
- name: secret-redis-tls
  secret:
    secretName: {{ .Values.redis.tls.existingSecret }}
    defaultMode: 0440
{{- end }}
{{- end -}}

{{/* The files that carry secrets: mounts. */}}
{{- define "twodfs-proxy.secretMounts" -}}
{{- $directory := include "twodfs-proxy.secretsDirectory" . -}}
{{- range $name, $secret := include "twodfs-proxy.secrets" . | fromJson }}
{{- if not $secret.asEnv }}
- name: secret-{{ $name }}
  mountPath: {{ $directory }}/{{ $name }}
  readOnly: true
{{- end }}
{{- end }}
{{- include "twodfs-proxy.upstreamMounts" . }}
{{- if .Values.tls.enabled }}
- name: secret-tls
  mountPath: {{ $directory }}/tls
  readOnly: true
{{- end }}
{{- if include "twodfs-proxy.hasRedisFiles" . }}
- name: secret-redis-tls
  mountPath: {{ $directory }}/redis-tls
  readOnly: true
{{- end }}
{{- end -}}

{{/* Whether a text is a URL with a password in it, in its login or its query: `yes`, or nothing. */}}
{{- define "twodfs-proxy.hasPassword" -}}
{{- if or (regexMatch "://.*:.*@" (toString .)) (regexMatch "://.*[?&](sentinel_)?password=." (toString .)) -}}yes{{- end -}}
{{- end -}}

{{/* Refuse secrets in a tree that becomes the ConfigMap. Takes a dict: tree, path, label; place where all belong in one. */}}
{{- define "twodfs-proxy.refuseSecrets" -}}
{{- $path := .path -}}
{{- $label := .label -}}
{{- $place := .place -}}
{{- $places := dict "cache.redis_url" "redis.existingSecret, with redis.mode external" "upstream.credentials.password" "secrets.upstreamPassword" "upstream.url" "config.upstream.credentials.username and secrets.upstreamPassword" -}}
{{- range $key, $value := .tree -}}
{{- $below := append $path $key -}}
{{- $setting := join "." $below -}}
{{- if kindIs "map" $value -}}
{{- include "twodfs-proxy.refuseSecrets" (dict "tree" $value "path" $below "label" $label "place" $place) -}}
{{- else -}}
{{- $isSecret := and $value (has $setting (list "cache.secret" "upstream.credentials.password" "upstream.credentials.token" "credentials.password" "credentials.token")) -}}
{{- range ternary $value (list $value) (kindIs "slice" $value) -}}
{{- if include "twodfs-proxy.hasPassword" . -}}{{- $isSecret = true -}}{{- end -}}
{{- end -}}
{{- if $isSecret -}}
{{- fail (printf "%s.%s has a secret in it, which would be in the ConfigMap: use %s" $label $setting (default (get $places $setting | default (printf "extraSecrets, with setting %s and asEnv true" $setting)) $place)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Refuse a list in which two maps have the same value of a key. Takes a dict: list, key, what. */}}
{{- define "twodfs-proxy.refuseTwice" -}}
{{- $seen := dict -}}
{{- range .list -}}
{{- $value := get . $.key | toString -}}
{{- if hasKey $seen $value -}}{{- fail (printf "%s: %s is there twice, or the chart's own" $.what $value) -}}{{- end -}}
{{- $_ := set $seen $value true -}}
{{- end -}}
{{- end -}}

{{/* Refuse secrets whose names are no names of volumes, or the same, and settings and mounts that are there twice. */}}
{{- define "twodfs-proxy.checkSecrets" -}}
{{- $taken := dict "tls" "tls" "redis-tls" "redis.tls" -}}
{{- range $section := list "secrets" "extraSecrets" -}}
{{- range $name := keys (get $.Values $section | default dict) | sortAlpha -}}
{{- $volume := kebabcase $name -}}
{{- with get $taken $volume -}}
{{- fail (printf "%s.%s has the same volume as %s: give it another name" $section $name .) -}}
{{- end -}}
{{- if or (gt (len $volume) 56) (not (regexMatch "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$" $volume)) -}}
{{- fail (printf "%s.%s cannot be the name of a volume: letters, digits and dashes, 56 at most (a capital counts twice)" $section $name) -}}
{{- end -}}
{{- $_ := set $taken $volume (printf "%s.%s" $section $name) -}}
{{- end -}}
{{- end -}}
{{- include "twodfs-proxy.refuseTwice" (dict "what" "the settings of secrets and extraSecrets" "key" "setting" "list" (include "twodfs-proxy.secrets" . | fromJson | values)) -}}
{{- include "twodfs-proxy.refuseTwice" (dict "what" "extraEnv" "key" "name" "list" (concat (include "twodfs-proxy.secretEnv" . | fromYamlArray) (default list .Values.extraEnv))) -}}
{{- include "twodfs-proxy.refuseTwice" (dict "what" "extraVolumes" "key" "name" "list" (concat (list (dict "name" "config") (dict "name" "tmp")) (ternary (list (dict "name" "edge")) list .Values.edge.enabled) (include "twodfs-proxy.secretVolumes" . | fromYamlArray) (default list .Values.extraVolumes))) -}}
{{- include "twodfs-proxy.refuseTwice" (dict "what" "extraVolumeMounts" "key" "mountPath" "list" (concat (list (dict "mountPath" "/etc/twodfs-proxy/config.toml") (dict "mountPath" "/tmp")) (ternary (list (dict "mountPath" .Values.edge.mountPath)) list .Values.edge.enabled) (include "twodfs-proxy.secretMounts" . | fromYamlArray) (default list .Values.extraVolumeMounts))) -}}
{{- end -}}

{{/* Values that contradict each other, before they become a pod that does not start. */}}
{{- define "twodfs-proxy.check" -}}
{{- include "twodfs-proxy.refuseSecrets" (dict "tree" .Values.config "path" list "label" "config") -}}
{{- if include "twodfs-proxy.hasPassword" (default "" .Values.redis.url | replace ":$(REDIS_PASSWORD)@" "@" | replace "password=$(REDIS_PASSWORD)" "") -}}
{{- fail "redis.url has a password in it, which would be in the ConfigMap: use redis.existingSecret, or $(REDIS_PASSWORD) and redis.passwordSecret" -}}
{{- end -}}
{{- include "twodfs-proxy.checkUpstreams" . -}}
{{- range $name := list "listen" "admin" -}}
{{- if regexMatch "^(127[.0-9]*|(?i:localhost)|\\[::1\\]):" (get $.Values.config $name) -}}
{{- fail (printf "config.%s is an address that nothing outside the pod reaches: use 0.0.0.0, or [::] in an IPv6 cluster" $name) -}}
{{- end -}}
{{- end -}}
{{- if eq (include "twodfs-proxy.port" .Values.config.listen) (include "twodfs-proxy.port" .Values.config.admin) -}}
{{- fail "config.admin has the port of config.listen: health and metrics need one of their own" -}}
{{- end -}}
{{- include "twodfs-proxy.checkSecrets" . -}}
{{- include "twodfs-proxy.checkEdge" . -}}
{{- $several := and (ne (include "twodfs-proxy.workload" .) "DaemonSet") (or .Values.autoscaling.enabled (gt (int .Values.replicaCount) 1)) -}}
{{- if and (gt (int (default 1 .Values.config.workers)) 1) (not (include "twodfs-proxy.hasRedis" .)) (not .Values.edge.enabled) (not (dig "edge" "directory" "" .Values.config)) -}}
{{- fail "config.workers needs redis.mode external, sentinel, cluster or bundled, or edge.enabled, so that each can answer for what another cut" -}}
{{- end -}}
{{- if and $several (not (include "twodfs-proxy.hasRedis" .)) (ne .Values.service.sessionAffinity "ClientIP") -}}
{{- fail "several replicas need redis.mode external, sentinel, cluster or bundled, so that each can answer for what another cut; or else service.sessionAffinity ClientIP" -}}
{{- end -}}
{{- if and (eq .Values.redis.mode "external") (not .Values.redis.url) (not .Values.redis.existingSecret) -}}
{{- fail "redis.mode external needs redis.url or redis.existingSecret" -}}
{{- end -}}
{{- if and (eq .Values.redis.mode "external") .Values.redis.existingSecret .Values.redis.passwordSecret.name -}}
{{- fail "redis.passwordSecret has no use beside redis.existingSecret, which has the whole URL" -}}
{{- end -}}
{{- if and (eq .Values.redis.mode "external") (not .Values.redis.existingSecret) (ne (contains "$(REDIS_PASSWORD)" (default "" .Values.redis.url)) (not (empty .Values.redis.passwordSecret.name))) -}}
{{- fail "redis.passwordSecret and $(REDIS_PASSWORD) in redis.url go together, as redis://:$(REDIS_PASSWORD)@redis:6379/0" -}}
{{- end -}}
{{- if and (has .Values.redis.mode (list "sentinel" "cluster")) (not .Values.redis.nodes) -}}
{{- fail (printf "redis.mode %s needs redis.nodes" .Values.redis.mode) -}}
{{- end -}}
{{- if and (eq .Values.redis.mode "sentinel") (not .Values.redis.sentinel.service) -}}
{{- fail "redis.mode sentinel needs redis.sentinel.service, the name of the master" -}}
{{- end -}}
{{- if ne (empty .Values.redis.tls.certificateKey) (empty .Values.redis.tls.privateKeyKey) -}}
{{- fail "redis.tls needs certificateKey and privateKeyKey together" -}}
{{- end -}}
{{- $waits := add (int .Values.drainSeconds) (ceil .Values.config.shutdown_grace | int) -}}
{{- if and (not (kindIs "invalid" .Values.terminationGracePeriodSeconds)) (le (int .Values.terminationGracePeriodSeconds) (int $waits)) -}}
{{- fail (printf "terminationGracePeriodSeconds has to be more than drainSeconds and config.shutdown_grace together (%d), or running downloads are cut off" (int $waits)) -}}
{{- end -}}
{{- if and .Values.tls.enabled (not .Values.tls.existingSecret) (not .Values.certificate.enabled) -}}
{{- fail "tls.enabled needs tls.existingSecret or certificate.enabled" -}}
{{- end -}}
{{- if and .Values.certificate.enabled (or (not .Values.tls.enabled) (not (dig "issuerRef" "name" "" .Values.certificate))) -}}
{{- fail "certificate.enabled needs tls.enabled and certificate.issuerRef.name" -}}
{{- end -}}
{{- $scaling := .Values.autoscaling -}}
{{- if and $scaling.enabled (not (or $scaling.targetCPUUtilizationPercentage $scaling.targetMemoryUtilizationPercentage $scaling.metrics)) -}}
{{- fail "autoscaling needs targetCPUUtilizationPercentage, targetMemoryUtilizationPercentage or metrics" -}}
{{- end -}}
{{- if and $scaling.enabled (gt (int $scaling.minReplicas) (int $scaling.maxReplicas)) -}}
{{- fail "autoscaling.minReplicas is more than autoscaling.maxReplicas" -}}
{{- end -}}
{{- $budget := .Values.podDisruptionBudget -}}
{{- if and $budget.enabled (kindIs "invalid" $budget.minAvailable) (kindIs "invalid" $budget.maxUnavailable) -}}
{{- fail "podDisruptionBudget needs minAvailable or maxUnavailable" -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) -}}
{{- fail "ingress.enabled needs ingress.hosts" -}}
{{- end -}}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) -}}
{{- fail "httpRoute.enabled needs httpRoute.parentRefs" -}}
{{- end -}}
{{- end -}}
