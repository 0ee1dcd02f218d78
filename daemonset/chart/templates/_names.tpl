{{- define "shunt.name" -}}
{{ .Values.nameOverride | default .Chart.Name }}
{{- end -}}

{{- define "shunt.selector" -}}
app.kubernetes.io/name: {{ include "shunt.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "shunt.labels" -}}
{{ include "shunt.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: node-agent
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "shunt.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "shunt.name" .) }}
{{- else -}}
{{ .Values.serviceAccount.name | default "default" }}
{{- end -}}
{{- end -}}

{{- define "shunt.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- /* The one list; daemonset/README.md has the reason for each, and npm run test:image takes each away. */ -}}
{{- define "shunt.capabilities" -}}
- BPF
- DAC_READ_SEARCH
- NET_ADMIN
- NET_RAW
- PERFMON
- SYS_ADMIN
- SYS_PTRACE
{{- end -}}

{{- define "shunt.securityContext" -}}
privileged: false
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: false
runAsUser: 0
runAsGroup: 0
capabilities:
  drop:
    - ALL
  add:
    {{- include "shunt.capabilities" . | nindent 4 }}
{{- end -}}
