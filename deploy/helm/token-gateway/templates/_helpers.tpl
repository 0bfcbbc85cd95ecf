{{- define "gateway.labels" -}}
app.kubernetes.io/name: token-gateway
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
