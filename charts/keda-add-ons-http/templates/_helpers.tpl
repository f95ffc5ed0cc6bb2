{{/* The labels of selectors. Selectors are immutable, so never add to them. Takes (dict "root" $ "component" "interceptor"). */}}
{{- define "keda-http.selectorLabels" -}}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/name: http-add-on
app.kubernetes.io/part-of: {{ .root.Chart.Name }}
{{- end }}

{{/* The labels of an object. Takes the same. */}}
{{- define "keda-http.labels" -}}
{{- $labels := include "keda-http.selectorLabels" . | fromYaml -}}
{{- $_ := set $labels "app.kubernetes.io/version" (.root.Values.images.tag | default .root.Chart.AppVersion) -}}
{{- $_ := set $labels "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") -}}
{{- mergeOverwrite (deepCopy .root.Values.additionalLabels) $labels | toYaml }}
{{- end }}

{{/* The labels of a component's pods. Takes the same. */}}
{{- define "keda-http.podLabels" -}}
{{- $own := mergeOverwrite (deepCopy .root.Values.additionalLabels) (index .root.Values .component).podLabels -}}
{{- mergeOverwrite $own (include "keda-http.selectorLabels" . | fromYaml) | toYaml }}
{{- end }}

{{/* The reference of a component's image. Takes the same. */}}
{{- define "keda-http.image" -}}
{{- $name := index .root.Values.images .component -}}
{{- if contains "@" $name }}{{ $name }}{{ else }}{{ $name }}:{{ .root.Values.images.tag | default .root.Chart.AppVersion }}{{ end }}
{{- end }}

{{/* Secrets for pulling images, given as names or as objects. */}}
{{- define "keda-http.imagePullSecrets" -}}
{{- range . }}
- name: {{ if kindIs "string" . }}{{ . }}{{ else }}{{ .name }}{{ end }}
{{- end }}
{{- end }}

{{/* The security context of a component: its own, or the common one without the parts for single components. Takes (list $context "interceptor"). */}}
{{- define "keda-http.securityContext" -}}
{{- $context := index . 0 -}}
{{- with index $context (index . 1) }}{{ toYaml . }}{{ else }}{{ omit $context "interceptor" "scaler" "operator" "kuberbacproxy" | toYaml }}{{ end }}
{{- end }}

{{/* Log flags. Takes the values of a component's logging. */}}
{{- define "keda-http.logFlags" -}}
- --zap-log-level={{ .level }}
- --zap-encoder={{ .format }}
- --zap-time-encoding={{ .timeEncoding }}
{{- end }}

{{/* A value as text; whole numbers without an exponent. */}}
{{- define "keda-http.text" -}}
{{- if and (kindIs "float64" .) (eq (float64 .) (floor .)) }}{{ int64 . }}{{ else }}{{ . }}{{ end }}
{{- end }}

{{/*
The variables of a container: those of the chart, each replaced by the user's of the same name, then the user's others.
Takes (dict "chart" list "extraEnvs" map-or-list "additionalEnvVars" list); the chart's entries are (list name value), empty values are left out.
*/}}
{{- define "keda-http.env" -}}
{{- $own := dict -}}
{{- range $set := list .extraEnvs .additionalEnvVars -}}
{{- if kindIs "map" $set -}}
{{- range $name, $value := $set -}}
{{- $_ := set $own $name (kindIs "map" $value | ternary (merge (dict "name" $name) (kindIs "map" $value | ternary $value dict)) (dict "name" $name "value" (include "keda-http.text" $value))) -}}
{{- end -}}
{{- else -}}
{{- range $variable := $set -}}
{{- $_ := set $own $variable.name (hasKey $variable "value" | ternary (dict "name" $variable.name "value" (include "keda-http.text" $variable.value)) $variable) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $variables := list -}}
{{- range .chart -}}
{{- $name := first . -}}
{{- $value := include "keda-http.text" (last .) -}}
{{- if hasKey $own $name -}}
{{- $variables = append $variables (get $own $name) -}}
{{- $_ := unset $own $name -}}
{{- else if ne $value "" -}}
{{- $variables = append $variables (dict "name" $name "value" $value) -}}
{{- end -}}
{{- end -}}
{{- range $_, $variable := $own -}}
{{- $variables = append $variables $variable -}}
{{- end -}}
{{ toYaml $variables }}
{{- end }}

{{/* Whole seconds of a duration such as 1m30s. */}}
{{- define "keda-http.seconds" -}}
{{- $start := toDate "2006-01-02" "2000-01-01" -}}
{{- sub (mustDateModify . $start | unixEpoch) (unixEpoch $start) }}
{{- end }}

{{/* How long stopping an interceptor takes, in seconds; an hour without a drain timeout. */}}
{{- define "keda-http.interceptor.stopSeconds" -}}
{{- $drain := include "keda-http.seconds" .Values.interceptor.drainTimeout | int -}}
{{- add (include "keda-http.seconds" .Values.interceptor.shutdownDelay) ($drain | default 3600) 10 }}
{{- end }}

{{- define "keda-http.interceptor.terminationGracePeriodSeconds" -}}
{{- .Values.interceptor.terminationGracePeriodSeconds | default (include "keda-http.interceptor.stopSeconds" .) | int }}
{{- end }}

{{/* The only namespace that is watched, or nothing. */}}
{{- define "keda-http.watchNamespace" -}}
{{- $upstreams := dig "watchNamespace" "" (.Values.operator | default dict) -}}
{{- if and .Values.watchNamespace $upstreams (ne .Values.watchNamespace $upstreams) -}}
{{- fail (printf "watchNamespace is %q and operator.watchNamespace is %q: they mean the same, set one of them" .Values.watchNamespace $upstreams) -}}
{{- end -}}
{{- .Values.watchNamespace | default $upstreams }}
{{- end }}

{{/* host:port at which KEDA finds the scaler. */}}
{{- define "keda-http.scaler.address" -}}
{{- .Values.scaler.address | default (printf "%s-%s-headless.%s:%d" .Chart.Name .Values.scaler.service .Release.Namespace (int .Values.scaler.grpcPort)) }}
{{- end }}

{{/* The name of the webhook's configuration. It is cluster-scoped: each installation for one namespace has its own. */}}
{{- define "keda-http.admission.webhook" -}}
{{- $name := printf "%s-admission" .Chart.Name -}}
{{- with include "keda-http.watchNamespace" . }}{{ printf "%s-%s" $name . }}{{ else }}{{ $name }}{{ end }}
{{- end }}

{{- define "keda-http.admission.service" -}}
{{ .Chart.Name }}-admission
{{- end }}

{{- define "keda-http.admission.secret" -}}
{{ .Chart.Name }}-admission-certs
{{- end }}

{{- define "keda-http.lease" -}}
{{ .Chart.Name }}-scaler
{{- end }}

{{/* Whether KEDA scales the interceptor. */}}
{{- define "keda-http.interceptor.scaled" -}}
{{- with .Values.interceptor.scaledObject -}}
{{- if and .enabled (or (not .waitForCrd) ($.Capabilities.APIVersions.Has "keda.sh/v1alpha1")) }}true{{ end }}
{{- end -}}
{{- end }}

{{/* Scheduling, priority and volumes of a component's pods. */}}
{{- define "keda-http.scheduling" -}}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
nodeSelector:
  {{- mergeOverwrite (dict "kubernetes.io/os" "linux") .nodeSelector | toYaml | nindent 2 }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .topologySpreadConstraints }}
topologySpreadConstraints:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .extraVolumes }}
volumes:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* A PodDisruptionBudget of a component. Takes (dict "root" $ "component" "scaler" "name" name). */}}
{{- define "keda-http.podDisruptionBudget" -}}
{{- $budget := (index .root.Values .component).pdb -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ .name }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "keda-http.labels" . | nindent 4 }}
spec:
  {{- if $budget.minAvailable }}
  minAvailable: {{ $budget.minAvailable }}
  {{- else }}
  maxUnavailable: {{ $budget.maxUnavailable }}
  {{- end }}
  selector:
    matchLabels:
      {{- include "keda-http.selectorLabels" . | nindent 6 }}
{{- end }}
