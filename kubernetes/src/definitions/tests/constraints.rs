//! What the Go add-on's definitions say of each field: HTTPScaledObject as of 0.16, InterceptorRoute as of the main
//! branch after it. `apiVersion`, `kind` and `metadata` are left out: the API server knows them of every object.

use super::Field;

const ONE_PORT: &str = "has(self.port) != has(self.portName) => exactly one of 'port' or 'portName' must be set";
const PORT_XOR_NAME: &str = "has(self.portName) != has(self.port) => must define either the 'portName' or the 'port'";
const ONE_BODY: &str =
    "!(has(self.body) && has(self.bodyFromConfigMap)) => at most one of 'body' or 'bodyFromConfigMap' may be set";
const STRINGS: &str = r#"additionalProperties={"type":"string"}"#;
const REASON: &str = "pattern=^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$";
const TYPE: &str = concat!(
    r"pattern=^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?",
    "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$"
);

pub const INTERCEPTOR_ROUTE: &[Field] = &[
    ("", &["object", "required=spec"]),
    ("spec", &["object", "required=scalingMetric,target"]),
    ("spec.target", &["object", "required=service", ONE_PORT]),
    ("spec.target.service", &["string", "minLength=1"]),
    (
        "spec.target.port",
        &["integer", "format=int32", "minimum=1", "maximum=65535"],
    ),
    ("spec.target.portName", &["string", "minLength=1"]),
    ("spec.rules", &["array", "x-kubernetes-list-type=atomic"]),
    ("spec.rules[]", &["object"]),
    ("spec.rules[].hosts", &["array", "x-kubernetes-list-type=set"]),
    ("spec.rules[].hosts[]", &["string"]),
    ("spec.rules[].paths", &["array", "x-kubernetes-list-type=atomic"]),
    ("spec.rules[].paths[]", &["object", "required=value"]),
    ("spec.rules[].paths[].value", &["string", "minLength=1"]),
    (
        "spec.rules[].headers",
        &["array", "x-kubernetes-list-type=map", "x-kubernetes-list-map-keys=name"],
    ),
    ("spec.rules[].headers[]", &["object", "required=name"]),
    ("spec.rules[].headers[].name", &["string", "minLength=1"]),
    ("spec.rules[].headers[].value", &["string"]),
    (
        "spec.scalingMetric",
        &[
            "object",
            "has(self.concurrency) || has(self.requestRate) => \
             at least one of 'concurrency' or 'requestRate' must be set",
        ],
    ),
    ("spec.scalingMetric.concurrency", &["object", "required=targetValue"]),
    (
        "spec.scalingMetric.concurrency.targetValue",
        &["integer", "format=int32", "minimum=1"],
    ),
    ("spec.scalingMetric.requestRate", &["object", "required=targetValue"]),
    (
        "spec.scalingMetric.requestRate.targetValue",
        &["integer", "format=int32", "minimum=1"],
    ),
    ("spec.scalingMetric.requestRate.window", &["string", "default=1m"]),
    ("spec.scalingMetric.requestRate.granularity", &["string", "default=1s"]),
    ("spec.timeouts", &["object"]),
    ("spec.timeouts.readiness", &["string"]),
    ("spec.timeouts.request", &["string"]),
    ("spec.timeouts.responseHeader", &["string"]),
    (
        "spec.coldStart",
        &[
            "object",
            "has(self.fallback) || has(self.placeholder) || has(self.maxPendingRequests) => \
             at least one of 'fallback', 'placeholder' or 'maxPendingRequests' must be set",
            "self.overflow != 'Placeholder' || has(self.placeholder) => \
             'placeholder' must be set when 'overflow' is 'Placeholder'",
        ],
    ),
    ("spec.coldStart.fallback", &["object", "required=service"]),
    (
        "spec.coldStart.fallback.service",
        &["object", "required=name", ONE_PORT],
    ),
    ("spec.coldStart.fallback.service.name", &["string", "minLength=1"]),
    (
        "spec.coldStart.fallback.service.port",
        &["integer", "format=int32", "minimum=1", "maximum=65535"],
    ),
    ("spec.coldStart.fallback.service.portName", &["string", "minLength=1"]),
    ("spec.coldStart.placeholder", &["object", "required=response"]),
    ("spec.coldStart.placeholder.response", &["object", ONE_BODY]),
    (
        "spec.coldStart.placeholder.response.statusCode",
        &["integer", "format=int32", "minimum=100", "maximum=599"],
    ),
    (
        "spec.coldStart.placeholder.response.body",
        &["string", "maxLength=32768"],
    ),
    (
        "spec.coldStart.placeholder.response.bodyFromConfigMap",
        &["object", "required=name"],
    ),
    (
        "spec.coldStart.placeholder.response.bodyFromConfigMap.name",
        &["string", "minLength=1"],
    ),
    ("spec.coldStart.placeholder.response.bodyFromConfigMap.key", &["string"]),
    ("spec.coldStart.placeholder.response.headers", &["object", STRINGS]),
    (
        "spec.coldStart.maxPendingRequests",
        &["integer", "format=int32", "minimum=1"],
    ),
    (
        "spec.coldStart.overflow",
        &["string", "enum=Placeholder,Reject", "default=Reject"],
    ),
    ("spec.staticRoutes", &["array", "x-kubernetes-list-type=atomic"]),
    ("spec.staticRoutes[]", &["object", "required=response,rules"]),
    (
        "spec.staticRoutes[].rules",
        &["array", "x-kubernetes-list-type=atomic", "minItems=1"],
    ),
    ("spec.staticRoutes[].rules[]", &["object"]),
    (
        "spec.staticRoutes[].rules[].hosts",
        &["array", "x-kubernetes-list-type=set"],
    ),
    ("spec.staticRoutes[].rules[].hosts[]", &["string"]),
    (
        "spec.staticRoutes[].rules[].paths",
        &["array", "x-kubernetes-list-type=atomic"],
    ),
    ("spec.staticRoutes[].rules[].paths[]", &["object", "required=value"]),
    ("spec.staticRoutes[].rules[].paths[].value", &["string", "minLength=1"]),
    (
        "spec.staticRoutes[].rules[].headers",
        &["array", "x-kubernetes-list-type=map", "x-kubernetes-list-map-keys=name"],
    ),
    ("spec.staticRoutes[].rules[].headers[]", &["object", "required=name"]),
    ("spec.staticRoutes[].rules[].headers[].name", &["string", "minLength=1"]),
    ("spec.staticRoutes[].rules[].headers[].value", &["string"]),
    ("spec.staticRoutes[].response", &["object", ONE_BODY]),
    (
        "spec.staticRoutes[].response.statusCode",
        &["integer", "format=int32", "minimum=100", "maximum=599"],
    ),
    ("spec.staticRoutes[].response.body", &["string", "maxLength=32768"]),
    (
        "spec.staticRoutes[].response.bodyFromConfigMap",
        &["object", "required=name"],
    ),
    (
        "spec.staticRoutes[].response.bodyFromConfigMap.name",
        &["string", "minLength=1"],
    ),
    ("spec.staticRoutes[].response.bodyFromConfigMap.key", &["string"]),
    ("spec.staticRoutes[].response.headers", &["object", STRINGS]),
    (
        "spec.staticRoutes[].responseMode",
        &["string", "enum=Always,WhenUnavailable", "default=WhenUnavailable"],
    ),
    (
        "spec.sessionPersistence",
        &[
            "object",
            "required=type",
            "!has(self.cookie) || self.type == 'Cookie' => 'cookie' may only be set when 'type' is 'Cookie'",
        ],
    ),
    ("spec.sessionPersistence.type", &["string", "enum=Cookie"]),
    (
        "spec.sessionPersistence.absoluteTimeout",
        &["string", "duration(self) >= duration('1s') => must be at least 1s"],
    ),
    ("spec.sessionPersistence.cookie", &["object", "minProperties=1"]),
    (
        "spec.sessionPersistence.cookie.name",
        &[
            "string",
            "minLength=1",
            "maxLength=256",
            r"pattern=^[A-Za-z0-9!#$%&'*+\-.^_\x60|~]+$",
        ],
    ),
    ("status", &["object"]),
    (
        "status.conditions",
        &["array", "x-kubernetes-list-type=map", "x-kubernetes-list-map-keys=type"],
    ),
    (
        "status.conditions[]",
        &["object", "required=lastTransitionTime,message,reason,status,type"],
    ),
    (
        "status.conditions[].lastTransitionTime",
        &["string", "format=date-time"],
    ),
    ("status.conditions[].message", &["string", "maxLength=32768"]),
    (
        "status.conditions[].observedGeneration",
        &["integer", "format=int64", "minimum=0"],
    ),
    (
        "status.conditions[].reason",
        &["string", "minLength=1", "maxLength=1024", REASON],
    ),
    ("status.conditions[].status", &["string", "enum=False,True,Unknown"]),
    ("status.conditions[].type", &["string", "maxLength=316", TYPE]),
];

/// Other than the Go add-on's, ours requires `spec`.
pub const HTTP_SCALED_OBJECT: &[Field] = &[
    ("", &["object", "required=spec"]),
    ("spec", &["object", "required=scaleTargetRef"]),
    ("spec.hosts", &["array"]),
    ("spec.hosts[]", &["string"]),
    ("spec.pathPrefixes", &["array"]),
    ("spec.pathPrefixes[]", &["string"]),
    (
        "spec.headers",
        &["array", "x-kubernetes-list-type=map", "x-kubernetes-list-map-keys=name"],
    ),
    ("spec.headers[]", &["object", "required=name"]),
    ("spec.headers[].name", &["string", "minLength=1"]),
    ("spec.headers[].value", &["string"]),
    ("spec.scaleTargetRef", &["object", "required=service", PORT_XOR_NAME]),
    ("spec.scaleTargetRef.name", &["string"]),
    ("spec.scaleTargetRef.apiVersion", &["string"]),
    ("spec.scaleTargetRef.kind", &["string"]),
    ("spec.scaleTargetRef.service", &["string"]),
    ("spec.scaleTargetRef.port", &["integer", "format=int32"]),
    ("spec.scaleTargetRef.portName", &["string"]),
    (
        "spec.coldStartTimeoutFailoverRef",
        &["object", "required=service", PORT_XOR_NAME],
    ),
    ("spec.coldStartTimeoutFailoverRef.service", &["string"]),
    ("spec.coldStartTimeoutFailoverRef.port", &["integer", "format=int32"]),
    ("spec.coldStartTimeoutFailoverRef.portName", &["string"]),
    (
        "spec.coldStartTimeoutFailoverRef.timeoutSeconds",
        &["integer", "format=int32", "default=30"],
    ),
    ("spec.replicas", &["object"]),
    ("spec.replicas.min", &["integer", "format=int32"]),
    ("spec.replicas.max", &["integer", "format=int32"]),
    ("spec.targetPendingRequests", &["integer", "format=int32"]),
    ("spec.scaledownPeriod", &["integer", "format=int32"]),
    ("spec.initialCooldownPeriod", &["integer", "format=int32"]),
    ("spec.scalingMetric", &["object"]),
    ("spec.scalingMetric.concurrency", &["object"]),
    (
        "spec.scalingMetric.concurrency.targetValue",
        &["integer", "default=100"],
    ),
    ("spec.scalingMetric.requestRate", &["object"]),
    (
        "spec.scalingMetric.requestRate.targetValue",
        &["integer", "default=100"],
    ),
    ("spec.scalingMetric.requestRate.window", &["string", "default=1m"]),
    ("spec.scalingMetric.requestRate.granularity", &["string", "default=1s"]),
    ("spec.timeouts", &["object"]),
    ("spec.timeouts.conditionWait", &["string"]),
    ("spec.timeouts.responseHeader", &["string"]),
    ("status", &["object"]),
    ("status.targetWorkload", &["string"]),
    ("status.targetService", &["string"]),
    (
        "status.conditions",
        &["array", "x-kubernetes-list-type=map", "x-kubernetes-list-map-keys=type"],
    ),
    (
        "status.conditions[]",
        &["object", "required=lastTransitionTime,message,reason,status,type"],
    ),
    (
        "status.conditions[].lastTransitionTime",
        &["string", "format=date-time"],
    ),
    ("status.conditions[].message", &["string", "maxLength=32768"]),
    (
        "status.conditions[].observedGeneration",
        &["integer", "format=int64", "minimum=0"],
    ),
    (
        "status.conditions[].reason",
        &["string", "minLength=1", "maxLength=1024", REASON],
    ),
    ("status.conditions[].status", &["string", "enum=False,True,Unknown"]),
    ("status.conditions[].type", &["string", "maxLength=316", TYPE]),
];
