{{/* Values that are accepted because other charts have them, each with the reason why it has no effect. */}}
{{- define "keda-http.withoutEffect" -}}
- [profiling, "there is no Go profiler; use /metrics and traces"]
- [kedifyProxy, "there is no second proxy: the interceptor forwards all requests"]
- [grpcBridge, "interceptors always report to the scaler over gRPC, on the admin port"]
- [logging.interceptor.stackTracesEnabled, ""]
- [logging.scaler.stackTracesEnabled, ""]
- [interceptor.keepAlive, ""]
- [interceptor.idleConnTimeout, "idle connections are closed after 90 s"]
- [interceptor.tlsHandshakeTimeout, ""]
- [interceptor.expectContinueTimeout, ""]
- [interceptor.endpointsCachePollingIntervalMS, "endpoints are watched, not polled"]
- [interceptor.forceHTTP2, "HTTP/2 is spoken to endpoints whose Service port has the appProtocol kubernetes.io/h2c or grpc, or the name grpc, h2c or http2"]
- [interceptor.strictEndpointSliceReadiness, "only ready endpoints get requests"]
- [interceptor.customHeaders, ""]
- [interceptor.envoy, "there is no Envoy"]
- [interceptor.xds, "there is no Envoy"]
- [interceptor.fallbackCatchAllRoute, ""]
- [interceptor.maintenancePage, "an InterceptorRoute's staticRoutes do this"]
- [interceptor.coldStartWaitingPage, "an InterceptorRoute's coldStart.placeholder does this"]
- [scaler.tracing, "the scaler sends no spans"]
- [scaler.healthPort, "probes are gRPC health checks on scaler.grpcPort"]
{{- end }}

{{/* A list of what the user should know about these values. */}}
{{- define "keda-http.warnings" -}}
{{- $warnings := list -}}
{{- $operator := omit (.Values.operator | default dict) "watchNamespace" -}}
{{- if and $operator (not (and (eq (len $operator) 1) (hasKey $operator "replicas") (eq (int $operator.replicas) 0))) -}}
{{- $warnings = append $warnings "operator.*: there is no operator Deployment; its work is done by the scaler (controllers.enabled)" -}}
{{- end -}}
{{- range include "keda-http.withoutEffect" . | fromYamlArray -}}
{{- $value := $.Values -}}
{{- range splitList "." (first .) -}}
{{- $value = kindIs "map" $value | ternary (get ($value | default dict) .) "" -}}
{{- end -}}
{{- if $value -}}
{{- $warnings = append $warnings (printf "%s has no effect%s" (first .) (empty (last .) | ternary "" (printf ": %s" (last .)))) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.autowire.enabled (not .Values.controllers.enabled) -}}
{{- $warnings = append $warnings "autowire.enabled needs controllers.enabled: Services are not autowired" -}}
{{- end -}}
{{- if and .Values.admission.enabled (not .Values.controllers.enabled) -}}
{{- $warnings = append $warnings "without controllers.enabled, kedify-http triggers that existed before the webhook are not converted" -}}
{{- end -}}
{{- if not (or .Values.admission.enabled .Values.controllers.enabled) -}}
{{- $warnings = append $warnings "without admission.enabled and controllers.enabled nothing converts kedify-http triggers, which stock KEDA does not know" -}}
{{- end -}}
{{- if and .Values.admission.enabled (eq .Values.admission.failurePolicy "Fail") (lt (int .Values.scaler.replicas) 2) -}}
{{- $warnings = append $warnings "admission.failurePolicy is Fail and there is one scaler: while it restarts, ScaledObjects cannot be written" -}}
{{- end -}}
{{- $tracing := .Values.interceptor.tracing -}}
{{- $otlp := .Values.interceptor.metrics.otlp -}}
{{- if and $otlp.enabled (not $otlp.endpoint) $tracing.enabled $tracing.endpoint (eq $tracing.protocol "grpc") -}}
{{- $warnings = append $warnings "interceptor.metrics.otlp.endpoint is empty: metrics are pushed over HTTP to interceptor.tracing.endpoint, which is a gRPC endpoint" -}}
{{- end -}}
{{- $stop := include "keda-http.interceptor.stopSeconds" . | int -}}
{{- $grace := include "keda-http.interceptor.terminationGracePeriodSeconds" . | int -}}
{{- if lt $grace $stop -}}
{{- $warnings = append $warnings (printf "interceptor.terminationGracePeriodSeconds is %d, but shutdownDelay, drainTimeout and 10 s add up to %d: requests may be cut off when a pod stops" $grace $stop) -}}
{{- end -}}
{{- if not (include "keda-http.interceptor.scaled" .) -}}
{{- $warnings = append $warnings (printf "KEDA does not scale the interceptor: there are %v replicas%s" .Values.interceptor.replicas.min (.Values.interceptor.scaledObject.enabled | ternary "; once KEDA is installed, run helm upgrade" "")) -}}
{{- end -}}
{{ toYaml $warnings }}
{{- end }}
