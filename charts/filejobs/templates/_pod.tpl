{{/* Annotations and labels of a pod. Takes a list: the context, the part. */}}
{{- define "filejobs.podMetadata" -}}
{{- $root := index . 0 }}
{{- $part := index $root.Values (index . 1) }}
annotations:
  # Pods are made anew when an address in the values changes; Secrets of others are not seen.
  checksum/addresses: {{ list $root.Values.database.url $root.Values.redis.url | toJson | sha256sum }}
  {{- with merge (dict) $part.podAnnotations $root.Values.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
labels:
  {{- include "filejobs.labels" $root | nindent 2 }}
  app.kubernetes.io/component: {{ index . 1 }}
  {{- with merge (dict) $part.podLabels $root.Values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* What the pods of all parts have in their spec. Takes a list: the context, the part. */}}
{{- define "filejobs.podSpec" -}}
{{- $root := index . 0 }}
{{- $name := index . 1 }}
{{- $part := index $root.Values $name }}
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
serviceAccountName: {{ include "filejobs.serviceAccountName" . }}
# Variables of other Services of the namespace could be taken for settings.
enableServiceLinks: false
securityContext:
  {{- toYaml $root.Values.podSecurityContext | nindent 2 }}
{{- with $part.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- include "filejobs.nodes" $part }}
affinity:
  {{- if $part.affinity }}
  {{- toYaml $part.affinity | nindent 2 }}
  {{- else if include "filejobs.oneNode" $root }}
  # The volume follows no pod to a second node, and Kubernetes keeps none from one. The first pod goes where it likes.
  podAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      - topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels:
            {{- include "filejobs.selectorLabels" $root | nindent 12 }}
          matchExpressions:
            # Those that have the volume; by these labels pods of the version before count, too.
            - { key: app.kubernetes.io/component, operator: In, values: [api, worker, controller] }
  {{- else }}
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels:
              {{- include "filejobs.selectorLabels" $root | nindent 14 }}
              app.kubernetes.io/component: {{ $name }}
  {{- end }}
{{- with $part.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* What the containers of all parts have. Takes a list: the context, the part. */}}
{{- define "filejobs.container" -}}
{{- $root := index . 0 }}
{{- $part := index $root.Values (index . 1) }}
image: {{ include "filejobs.image" $root }}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
securityContext:
  {{- toYaml $root.Values.securityContext | nindent 2 }}
livenessProbe:
  httpGet: { path: /livez, port: ops }
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: { path: /readyz, port: ops }
  periodSeconds: 5
  timeoutSeconds: 5
resources:
  {{- toYaml $part.resources | nindent 2 }}
volumeMounts:
  - { name: scratch, mountPath: /var/lib/filejobs/scratch }
  - { name: scratch, mountPath: /tmp, subPath: tmp }
  {{- if eq $root.Values.storage.type "volume" }}
  - { name: files, mountPath: /var/lib/filejobs/files }
  {{- end }}
{{- end }}

{{/* Volumes of all parts. Takes a list: the context, the most that scratch may grow to. */}}
{{- define "filejobs.volumes" -}}
{{- $root := index . 0 }}
- name: scratch
  emptyDir: { sizeLimit: {{ index . 1 }} }
{{- if eq $root.Values.storage.type "volume" }}
- name: files
  persistentVolumeClaim: { claimName: {{ include "filejobs.claim" $root }} }
{{- end }}
{{- end }}
