{{/*
The labels of every object. The names of the objects are fixed: there is one operator in a cluster, because the CRDs and
the admission policies are for the whole cluster, and the documentation can name each object.
*/}}
{{- define "firebreak.labels" -}}
app.kubernetes.io/name: firebreak
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The labels by which the Deployment, the Service and the policies find the pods. A Deployment cannot change them. */}}
{{- define "firebreak.selectorLabels" -}}
app.kubernetes.io/name: firebreak
{{- end }}

{{/* The image, by digest if there is one. */}}
{{- define "firebreak.image" -}}
{{- $image := .Values.image -}}
{{- $named := printf "%s:%s" $image.repository (default .Chart.AppVersion $image.tag) -}}
{{- if $image.digest }}{{ printf "%s@%s" $named $image.digest }}{{ else }}{{ $named }}{{ end -}}
{{- end }}

{{/* The ServiceAccounts that policies may name, as a YAML list. */}}
{{- define "firebreak.responders" -}}
{{- concat (list "firebreak-responder") .Values.responders | uniq | toYaml -}}
{{- end }}

{{/* Attributes of a resource, as OpenTelemetry reads them from its environment variable. */}}
{{- define "firebreak.resourceAttributes" -}}
{{- $pairs := list -}}
{{- range $name, $value := . -}}
{{- $pairs = append $pairs (printf "%s=%s" $name (urlquery $value | replace "+" "%20")) -}}
{{- end -}}
{{- join "," $pairs -}}
{{- end }}

{{/* The port of a URL. */}}
{{- define "firebreak.urlPort" -}}
{{- $url := urlParse . -}}
{{- $port := regexFind ":[0-9]+$" $url.host | trimPrefix ":" -}}
{{- if $port }}{{ $port }}{{ else if eq $url.scheme "https" }}443{{ else }}80{{ end -}}
{{- end }}
