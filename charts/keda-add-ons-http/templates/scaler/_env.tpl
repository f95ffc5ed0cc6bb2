{{- define "keda-http.scaler.metricsPort" -}}
{{ .Values.scaler.metrics.prometheus.port | default .Values.scaler.metrics.port }}
{{- end }}

{{/* The scaler's variables, for its Deployment and for the Job that restores Services. */}}
{{- define "keda-http.scaler.env" -}}
{{- $scaler := .Values.scaler -}}
{{- $variables := list
  (list "KEDA_HTTP_SCALER_PORT" $scaler.grpcPort)
  (list "KEDA_HTTP_NAMESPACE" .Release.Namespace)
  (list "KEDA_HTTP_WATCH_NAMESPACE" (include "keda-http.watchNamespace" .))
  (list "KEDA_HTTP_CLUSTER_DOMAIN" .Values.interceptor.clusterDomain)
  (list "KEDA_HTTP_SCALER_TARGET_ADMIN_NAMESPACE" .Release.Namespace)
  (list "KEDA_HTTP_SCALER_TARGET_ADMIN_SERVICE" (printf "%s-%s" .Chart.Name .Values.interceptor.admin.service))
  (list "KEDA_HTTP_SCALER_TARGET_ADMIN_PORT" .Values.interceptor.admin.port)
  (list "KEDA_HTTP_SCALER_ADDRESS" (include "keda-http.scaler.address" .))
  (list "KEDA_HTTP_CONTROLLERS_ENABLED" .Values.controllers.enabled)
  (list "KEDA_HTTP_ADMISSION_ENABLED" .Values.admission.enabled)
  (list "KEDA_HTTP_AUTOWIRE_ENABLED" .Values.autowire.enabled)
  (list "OTEL_PROM_EXPORTER_ENABLED" $scaler.metrics.prometheus.enabled)
  (list "OTEL_PROM_EXPORTER_PORT" (include "keda-http.scaler.metricsPort" .))
  (list "TOKIO_WORKER_THREADS" 2) -}}
{{- if $scaler.metrics.otlp.enabled -}}
{{- $variables = concat $variables (list
  (list "OTEL_EXPORTER_OTLP_METRICS_ENABLED" true)
  (list "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT" $scaler.metrics.otlp.endpoint)) -}}
{{- end -}}
{{- if .Values.controllers.enabled -}}
{{- $variables = concat $variables (list
  (list "KEDA_HTTP_LEASE_NAME" (include "keda-http.lease" .))
  (list "KEDA_HTTP_LEASE_DURATION" .Values.controllers.leaseDuration)) -}}
{{- end -}}
{{- if .Values.admission.enabled -}}
{{- $variables = concat $variables (list
  (list "KEDA_HTTP_ADMISSION_PORT" .Values.admission.port)
  (list "KEDA_HTTP_ADMISSION_SERVICE" (include "keda-http.admission.service" .))
  (list "KEDA_HTTP_ADMISSION_SECRET" (include "keda-http.admission.secret" .))
  (list "KEDA_HTTP_ADMISSION_WEBHOOK" (include "keda-http.admission.webhook" .))) -}}
{{- end -}}
{{- if .Values.autowire.enabled -}}
{{- $variables = concat $variables (list
  (list "KEDA_HTTP_AUTOWIRE_PORTS" .Values.autowire.ports)
  (list "HTTP_HEALTHCHECK_DEBOUNCER_SECONDS" .Values.autowire.healthcheckDebounceSeconds)
  (list "KEDIFY_AUTOWIRE_SERVICE_SYNC_PERIOD" .Values.autowire.serviceSyncPeriod)) -}}
{{- end -}}
{{- include "keda-http.env" (dict "chart" $variables "extraEnvs" $scaler.extraEnvs "additionalEnvVars" $scaler.additionalEnvVars) }}
{{- end }}
