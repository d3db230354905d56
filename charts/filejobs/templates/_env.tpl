{{/* Environment that every process has. Takes a list: the context, the Secret with the database's address. */}}
{{- define "filejobs.databaseEnv" -}}
{{- $secret := index . 1 }}
{{- with index . 0 -}}
- name: DATABASE_URL
  valueFrom:
    secretKeyRef:
      name: {{ $secret }}
      key: {{ if .Values.database.existingSecret }}{{ .Values.database.existingSecretKey }}{{ else }}url{{ end }}
- name: FILEJOBS_LOG
  value: {{ .Values.logs.level | quote }}
- name: FILEJOBS_LOG_FORMAT
  value: {{ .Values.logs.format | quote }}
{{- end }}
{{- end }}

{{/* Environment of every process but the migration. Takes a list: the context, the part. */}}
{{- define "filejobs.env" -}}
{{- $part := index . 1 }}
{{- with index . 0 }}
{{- include "filejobs.databaseEnv" (list . (include "filejobs.databaseSecret" .)) }}
- name: REDIS_URL
  valueFrom:
    secretKeyRef:
      name: {{ include "filejobs.redisSecret" . }}
      key: {{ if .Values.redis.existingSecret }}{{ .Values.redis.existingSecretKey }}{{ else }}url{{ end }}
{{- if eq .Values.storage.type "s3" }}
{{- include "filejobs.s3Env" . | nindent 0 }}
{{- else }}
- name: UPLOAD_DIR
  value: /var/lib/filejobs/files
{{- end }}
- name: FILEJOBS_OPS_LISTEN
  value: 0.0.0.0:9090
- name: FILEJOBS_GRACE
  value: {{ printf "%ds" (int (index .Values $part).graceSeconds) | quote }}
{{- with (index .Values $part).extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}
{{- end }}

{{- define "filejobs.s3Env" -}}
{{- with .Values.storage.s3 -}}
- name: FILEJOBS_S3_BUCKET
  value: {{ .bucket | quote }}
- name: FILEJOBS_S3_ENDPOINT
  value: {{ .endpoint | quote }}
- name: FILEJOBS_S3_REGION
  value: {{ .region | quote }}
- name: FILEJOBS_S3_PREFIX
  value: {{ .prefix | quote }}
- name: FILEJOBS_S3_PATH_STYLE
  value: {{ .pathStyle | quote }}
- name: FILEJOBS_S3_SPOOL_DIR
  value: /var/lib/filejobs/scratch
{{- if .existingSecret }}
- name: AWS_ACCESS_KEY_ID
  valueFrom:
    secretKeyRef: { name: {{ .existingSecret }}, key: {{ .existingSecretKeyId }} }
- name: AWS_SECRET_ACCESS_KEY
  valueFrom:
    secretKeyRef: { name: {{ .existingSecret }}, key: {{ .existingSecretKeySecret }} }
{{- end }}
{{- end }}
{{- end }}

{{/* Limits of what is taken: API and workers hold to the same ones. */}}
{{- define "filejobs.limitsEnv" -}}
{{- with .Values.settings -}}
- name: MAX_UPLOAD_MB
  value: {{ int .maxUploadMb | quote }}
- name: CHUNK_SIZE
  value: {{ int .chunkSize | quote }}
- name: FILEJOBS_SPLIT_MB
  value: {{ int .splitMb | quote }}
- name: FILEJOBS_MAX_QUEUED_JOBS
  value: {{ int .maxQueuedJobs | quote }}
- name: FILEJOBS_MAX_FINDINGS
  value: {{ int .maxFindings | quote }}
{{- end }}
{{- end }}

{{/* How much may run at a time. */}}
{{- define "filejobs.quotasEnv" -}}
{{- with .Values.settings -}}
- name: FILEJOBS_MAX_RUNNING_JOBS
  value: {{ .maxRunningJobs | toString | quote }}
- name: FILEJOBS_MAX_RUNNING_JOBS_TOTAL
  value: {{ .maxRunningJobsTotal | toString | quote }}
- name: FILEJOBS_MAX_RUNNING_TASKS
  value: {{ .maxRunningTasks | toString | quote }}
- name: FILEJOBS_MAX_RUNNING_TASKS_TOTAL
  value: {{ .maxRunningTasksTotal | toString | quote }}
{{- end }}
{{- end }}

{{/* Retries: workers and scheduler hold to the same ones. */}}
{{- define "filejobs.retryEnv" -}}
{{- with .Values.settings -}}
- name: MAX_RETRIES
  value: {{ int .maxRetries | quote }}
- name: BASE_BACKOFF
  value: {{ .baseBackoff | quote }}
- name: MAX_BACKOFF
  value: {{ .maxBackoff | quote }}
{{- end }}
{{- end }}

{{/* Storages that FileJobs may name: the access keys come by variables of their own, which the setting names. */}}
{{- define "filejobs.sourceStoresEnv" -}}
{{- $stores := dict }}
{{- range $at, $store := .Values.controller.sourceStores }}
{{- $one := omit $store "name" "existingSecret" }}
{{- if $store.existingSecret }}
{{- $_ := set $one "accessKeyId" (dict "env" (printf "SOURCE_STORE_%d_ACCESS_KEY_ID" $at)) }}
{{- $_ := set $one "secretAccessKey" (dict "env" (printf "SOURCE_STORE_%d_SECRET_ACCESS_KEY" $at)) }}
{{- end }}
{{- $_ := set $stores $store.name $one }}
{{- end }}
- name: FILEJOBS_SOURCE_STORES
  value: {{ if $stores }}{{ toJson $stores | quote }}{{ else }}""{{ end }}
{{- range $at, $store := .Values.controller.sourceStores }}
{{- if $store.existingSecret }}
- name: SOURCE_STORE_{{ $at }}_ACCESS_KEY_ID
  valueFrom:
    secretKeyRef: { name: {{ $store.existingSecret }}, key: access-key-id }
- name: SOURCE_STORE_{{ $at }}_SECRET_ACCESS_KEY
  valueFrom:
    secretKeyRef: { name: {{ $store.existingSecret }}, key: secret-access-key }
{{- end }}
{{- end }}
{{- end }}
