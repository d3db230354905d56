{{/* The chart's name. */}}
{{- define "filejobs.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* The beginning of every name: short enough for what is put behind it. */}}
{{- define "filejobs.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 48 | trimSuffix "-" }}
{{- else }}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 48 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 48 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "filejobs.chart" -}}
{{- printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* Labels of every object. */}}
{{- define "filejobs.labels" -}}
helm.sh/chart: {{ include "filejobs.chart" . }}
{{ include "filejobs.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: filejobs
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* What is selected by, and so never changes. */}}
{{- define "filejobs.selectorLabels" -}}
app.kubernetes.io/name: {{ include "filejobs.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* The name of a part's service account. Takes a list: the context, the part. */}}
{{- define "filejobs.serviceAccountName" -}}
{{- $root := index . 0 }}
{{- $account := (index $root.Values (index . 1)).serviceAccount }}
{{- if $account.create }}
{{- default (printf "%s-%s" (include "filejobs.fullname" $root) (index . 1)) $account.name }}
{{- else }}
{{- default "default" $account.name }}
{{- end }}
{{- end }}

{{/* The beginning of names that a whole cluster shares: other namespaces may have a release of the same name. */}}
{{- define "filejobs.clusterwideName" -}}
{{- printf "%s-%s" .Release.Namespace (include "filejobs.fullname" .) }}
{{- end }}

{{/*
Refuses to watch all namespaces beside another release: both would work on the same FileJobs, each with a database of its
own. Only where Helm speaks to the cluster: what is rendered without it is not looked at.
*/}}
{{- define "filejobs.watchesAlone" -}}
{{- $own := printf "%s/%s" .Release.Namespace .Release.Name }}
{{- range $kind := list "ClusterRole" "Role" }}
{{- range (lookup "rbac.authorization.k8s.io/v1" $kind "" "").items }}
{{- $labels := .metadata.labels | default dict }}
{{- $by := .metadata.annotations | default dict }}
{{- $release := printf "%s/%s" (get $by "meta.helm.sh/release-namespace") (get $by "meta.helm.sh/release-name") }}
{{- $is := and (eq (get $labels "app.kubernetes.io/part-of") "filejobs") (eq (get $labels "app.kubernetes.io/component") "controller") }}
{{- if and $is (ne $release $own) }}
{{- fail (printf "the release %s looks after FileJobs as well: with several releases in a cluster each needs a controller.watchNamespace of its own" $release) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "filejobs.image" -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}

{{/* Secrets: those that are named, else the chart's own. */}}
{{- define "filejobs.databaseSecret" -}}
{{- if .Values.database.existingSecret }}
{{- .Values.database.existingSecret }}
{{- else }}
{{- printf "%s-%s" (include "filejobs.fullname" .) (ternary "postgresql" "database" .Values.bundled.postgresql.enabled) }}
{{- end }}
{{- end }}

{{- define "filejobs.redisSecret" -}}
{{- default (printf "%s-redis" (include "filejobs.fullname" .)) .Values.redis.existingSecret }}
{{- end }}

{{- define "filejobs.authSecret" -}}
{{- default (printf "%s-api-key" (include "filejobs.fullname" .)) .Values.auth.existingSecret }}
{{- end }}

{{- define "filejobs.claim" -}}
{{- default (printf "%s-files" (include "filejobs.fullname" .)) .Values.storage.volume.existingClaim }}
{{- end }}

{{/* Whether files lie in a volume that only one node can have, as text: empty for no. */}}
{{- define "filejobs.oneNode" -}}
{{- $modes := .Values.storage.volume.accessModes }}
{{- if and (eq .Values.storage.type "volume") (has "ReadWriteOnce" $modes) (not (has "ReadWriteMany" $modes)) }}true{{ end }}
{{- end }}

{{/*
The Lease by which one controller of several is chosen: one for each release, since each has a database of its own. While
pods of a chart that named it otherwise are replaced, two controllers may hold a Lease each; the lead in the database, by
which every change is fenced, lets only one of them work.
*/}}
{{- define "filejobs.lease" -}}
{{- printf "%s-controller" (include "filejobs.fullname" .) }}
{{- end }}

{{/* Whether the migration is a hook, as text: empty for no. A bundled database is no more there than the rest when hooks
run. */}}
{{- define "filejobs.migrateHook" -}}
{{- if and .Values.migrate.enabled (not .Values.bundled.postgresql.enabled) }}true{{ end }}
{{- end }}

{{/* The nodes that pods of a part may run on, each setting on a line of its own; nothing when none is set. */}}
{{- define "filejobs.nodes" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* What cannot work is refused here, in one go, with what to do. */}}
{{- define "filejobs.validate" -}}
{{- $problems := list }}
{{- if not (or .Values.database.url .Values.database.existingSecret .Values.bundled.postgresql.enabled) }}
{{- $problems = append $problems "no database: set database.existingSecret (or database.url), or bundled.postgresql.enabled to try it out" }}
{{- end }}
{{- if not (or .Values.redis.url .Values.redis.existingSecret .Values.bundled.redis.enabled) }}
{{- $problems = append $problems "no Redis: set redis.existingSecret (or redis.url), or bundled.redis.enabled to try it out" }}
{{- end }}
{{- if and .Values.bundled.postgresql.enabled (or .Values.database.url .Values.database.existingSecret) }}
{{- $problems = append $problems "two databases: unset bundled.postgresql.enabled, or database.url and database.existingSecret" }}
{{- end }}
{{- if and .Values.bundled.redis.enabled (or .Values.redis.url .Values.redis.existingSecret) }}
{{- $problems = append $problems "two Redis servers: unset bundled.redis.enabled, or redis.url and redis.existingSecret" }}
{{- end }}
{{- if and (eq .Values.storage.type "s3") (not .Values.storage.s3.bucket) }}
{{- $problems = append $problems "no bucket: set storage.s3.bucket" }}
{{- end }}
{{- if and (ne .Values.worker.autoscaling.type "keda") (eq (int .Values.worker.autoscaling.minReplicas) 0) }}
{{- $problems = append $problems "worker.autoscaling.minReplicas is 0, which only worker.autoscaling.type keda can do" }}
{{- end }}
{{- if and (eq .Values.worker.autoscaling.type "keda") .Values.bundled.postgresql.enabled }}
{{- $problems = append $problems "worker.autoscaling.type keda with the bundled Postgres, which KEDA cannot reach: set database.existingSecret instead of bundled.postgresql.enabled, or worker.autoscaling.type to hpa or none" }}
{{- end }}
{{- if $problems }}
{{- fail (printf "\n  - %s" (join "\n  - " $problems)) }}
{{- end }}
{{- end }}

{{/* The storage's port, for a NetworkPolicy: what is set, else that of its address. */}}
{{- define "filejobs.storagePort" -}}
{{- $server := regexFind "^https?://[^/?#]+" (lower (trim .Values.storage.s3.endpoint)) }}
{{- $port := regexFind ":[0-9]+$" $server }}
{{- if .Values.networkPolicy.storagePort }}
{{- int .Values.networkPolicy.storagePort }}
{{- else if $port }}
{{- trimPrefix ":" $port }}
{{- else }}
{{- ternary 80 443 (hasPrefix "http://" $server) }}
{{- end }}
{{- end }}

{{/* Where a server is, for a NetworkPolicy: where it is said to be, else the bundled one, else anywhere. Takes a list: the
context, the peers, the part, whether it is bundled. */}}
{{- define "filejobs.peers" -}}
{{- if index . 1 -}}
to:
  {{- toYaml (index . 1) | nindent 2 }}
{{- else if index . 3 -}}
to:
  - podSelector:
      matchLabels:
        {{- include "filejobs.selectorLabels" (index . 0) | nindent 8 }}
        app.kubernetes.io/component: {{ index . 2 }}
{{- end }}
{{- end }}
