{{/* Labels of everything. */}}
{{- define "valence.labels" -}}
app.kubernetes.io/part-of: valence
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/*
Puts an object of the kustomize base into this release: its namespace and labels. The objects are the same files; what
values change is changed by the templates that include this.
*/}}
{{- define "valence.place" -}}
{{- $metadata := .object.metadata -}}
{{- if $metadata.namespace }}{{ $_ := set $metadata "namespace" .root.Release.Namespace }}{{ end -}}
{{- $_ := set $metadata "labels" (merge ($metadata.labels | default dict) (include "valence.labels" .root | fromYaml)) -}}
{{- range .object.subjects }}{{ $_ := set . "namespace" $.root.Release.Namespace }}{{ end -}}
{{- end }}

{{/* The documents of a file of the base. */}}
{{- define "valence.documents" -}}
{{- $documents := list -}}
{{- range regexSplit "(?m)^---$" (.root.Files.Get (printf "files/base/%s.yaml" .file)) -1 -}}
{{- with fromYaml . }}{{ $documents = append $documents . }}{{ end -}}
{{- end -}}
{{- dict "documents" $documents | toYaml -}}
{{- end }}

{{- define "valence.issuer" -}}
{{ .Values.certManager.issuer.name | default "valence-self-signed" }}
{{- end }}
