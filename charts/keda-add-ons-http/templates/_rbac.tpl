{{/*
A role and its binding to a component's service account: in one namespace, or in all when there is none.
Takes (dict "root" $ "component" "scaler" "account" name "name" name "namespace" namespace "rules" text).
*/}}
{{- define "keda-http.role" -}}
{{- $kind := empty .namespace | ternary "ClusterRole" "Role" -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ $kind }}
metadata:
  name: {{ .name }}
  {{- with .namespace }}
  namespace: {{ . }}
  {{- end }}
  labels:
    {{- include "keda-http.labels" . | nindent 4 }}
rules:
  {{- trim .rules | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ $kind }}Binding
metadata:
  name: {{ .name }}
  {{- with .namespace }}
  namespace: {{ . }}
  {{- end }}
  labels:
    {{- include "keda-http.labels" . | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ $kind }}
  name: {{ .name }}
subjects:
  - kind: ServiceAccount
    name: {{ .account }}
    namespace: {{ .root.Release.Namespace }}
{{- end }}

{{/* Routes, the objects that they name, and the pods behind them. */}}
{{- define "keda-http.interceptor.rules" -}}
- apiGroups: [http.keda.sh]
  resources: [httpscaledobjects, interceptorroutes]
  verbs: [get, list, watch]
- apiGroups: [keda.sh]
  resources: [scaledobjects]
  verbs: [get, list, watch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [get, list, watch]
- apiGroups: [""]
  resources: [configmaps, services]
  verbs: [get, list, watch]
{{- end }}

{{/* Decisions of the scaler's leader: listeners of autowired Services, owners of contested hosts. */}}
{{- define "keda-http.interceptor.ownRules" -}}
- apiGroups: [""]
  resources: [configmaps]
  resourceNames: [keda-http-hosts, keda-http-listeners]
  verbs: [get, list, watch]
{{- end }}

{{/* The objects that triggers name; with controllers, also all that routes consist of, and writing their conditions and Events. */}}
{{- define "keda-http.scaler.rules" -}}
- apiGroups: [http.keda.sh]
  resources: [httpscaledobjects, interceptorroutes]
  verbs: [get, list, watch]
{{- if .Values.controllers.enabled }}
- apiGroups: [http.keda.sh]
  resources: [httpscaledobjects]
  verbs: [patch]
- apiGroups: [http.keda.sh]
  resources: [httpscaledobjects/finalizers]
  verbs: [update]
- apiGroups: [http.keda.sh]
  resources: [httpscaledobjects/status, interceptorroutes/status]
  verbs: [patch]
- apiGroups: [keda.sh]
  resources: [scaledobjects]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [get, list, watch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- if .Values.autowire.enabled }}
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [create, patch, delete]
{{- if .Capabilities.APIVersions.Has "security.openshift.io/v1" }}
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices/restricted]
  verbs: [create]
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* The scaler's own namespace: the interceptors, and the objects that its replicas share. */}}
{{- define "keda-http.scaler.ownRules" -}}
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [get, list, watch]
{{- if .Values.controllers.enabled }}
- apiGroups: [""]
  resources: [services]
  resourceNames: [{{ .Chart.Name }}-{{ .Values.interceptor.admin.service }}]
  verbs: [get]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ include "keda-http.lease" . }}]
  verbs: [get, update]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [create]
- apiGroups: [""]
  resources: [configmaps]
  resourceNames: [keda-http-hosts, keda-http-listeners]
  verbs: [get, list, watch, patch]
{{- end }}
{{- if .Values.admission.enabled }}
- apiGroups: [""]
  resources: [secrets]
  resourceNames: [{{ include "keda-http.admission.secret" . }}]
  verbs: [get, update]
{{- end }}
{{- end }}

{{/* The webhook's CA bundle. */}}
{{- define "keda-http.scaler.webhookRules" -}}
- apiGroups: [admissionregistration.k8s.io]
  resources: [mutatingwebhookconfigurations]
  resourceNames: [{{ include "keda-http.admission.webhook" . }}]
  verbs: [get, patch]
{{- end }}
