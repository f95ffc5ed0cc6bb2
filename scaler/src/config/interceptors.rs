//! How the interceptors are found and asked.

use std::time::Duration;

use keda_http_runtime::env::EnvError;
use keda_http_runtime::settings::{Kind, Settings, TEXT, WHOLE_NUMBER};

use super::{POSITIVE, debounce};
use crate::host_port::HostPort;

/// How the interceptors are found and asked.
#[derive(Debug, Clone)]
pub struct InterceptorsConfig {
    /// How they are found.
    pub find: Find,
    /// How often an interceptor without our stream is asked; 500 ms by default, as upstream.
    pub poll_every: Duration,
    /// How long the last report of an interceptor that cannot be reached counts; 30 s by default: it outlasts a restart
    /// and one of KEDA's polls, and an interceptor that hangs keeps apps awake no longer.
    pub retention: Duration,
    /// How long all of them must be away before Services are pointed past them, and before the scaler answers without
    /// knowing what the targets do.
    pub debounce: Duration,
}

/// How the interceptors are found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Find {
    /// A list that never changes.
    List(Vec<HostPort>),
    /// By the EndpointSlices of a Service.
    Service(AdminService),
}

/// The Service in front of the interceptors' admin ports.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AdminService {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub service: String,
    /// The admin port of the pods.
    pub port: u16,
}

const LIST: &str = "KEDA_HTTP_SCALER_INTERCEPTORS";
const NAMESPACE: &str = "KEDA_HTTP_SCALER_TARGET_ADMIN_NAMESPACE";
const SERVICE: &str = "KEDA_HTTP_SCALER_TARGET_ADMIN_SERVICE";
const DEPLOYMENT: &str = "KEDA_HTTP_SCALER_TARGET_ADMIN_DEPLOYMENT";
const PORT: &str = "KEDA_HTTP_SCALER_TARGET_ADMIN_PORT";

impl InterceptorsConfig {
    pub(super) fn read(settings: &Settings) -> Self {
        let settings = &settings.section("Interceptors: a list, or the Service in front of their admin ports");
        let find = Find::read(settings);
        let help = "How often KEDA's streams look for activity";
        let interval = settings.variable("KEDA_HTTP_SCALER_STREAM_INTERVAL_MS", &WHOLE_NUMBER, help);
        interval.without_effect("activity is sent at once");
        let help = "How often interceptors that do not stream reports are asked";
        let poll_every = settings.variable("KEDA_HTTP_QUEUE_TICK_DURATION", &POSITIVE, help);
        let poll_every = poll_every.default(Duration::from_millis(500));
        let help = "How long the last report of an interceptor that cannot be reached counts";
        let retention = settings.variable("KEDA_HTTP_SCALER_RETENTION", &POSITIVE, help);
        Self {
            find,
            poll_every,
            retention: retention.default(Duration::from_secs(30)),
            debounce: debounce(settings),
        }
    }
}

impl Find {
    fn read(settings: &Settings) -> Self {
        let list = settings
            .variable(LIST, &INTERCEPTORS, "Admin ports of all interceptors")
            .optional("not set: found through the Service that the next variables name");
        let service = AdminService::read(settings, !settings.is_set(LIST));
        list.map_or(Self::Service(service), Self::List)
    }
}

impl AdminService {
    fn read(settings: &Settings, is_required: bool) -> Self {
        let absent = format!("required without {LIST}");
        let text = |name, help| settings.variable(name, &TEXT, help).optional(&absent);
        let namespace = text(NAMESPACE, "Namespace of the Service in front of the admin ports");
        let help = "Name of the Service in front of the admin ports; needs an API server";
        let service = text(SERVICE, help);
        let deployment = settings.variable(DEPLOYMENT, &TEXT, "Deployment of the interceptors");
        deployment.without_effect("the pods are found through their Service");
        let port = settings.variable(PORT, &ADMIN_PORT, "Admin port of the interceptors' pods");
        let port = port.optional(&absent);
        if is_required {
            refuse_missing(settings);
        }
        Self {
            namespace: namespace.unwrap_or_default(),
            service: service.unwrap_or_default(),
            port: port.unwrap_or_default(),
        }
    }
}

/// An error names both ways when none of the variables is set, and else each one that is missing.
fn refuse_missing(settings: &Settings) {
    let variables = [
        (NAMESPACE, "the namespace of the interceptors"),
        (SERVICE, "the Service in front of the admin ports"),
        (PORT, ADMIN_PORT.allowed),
    ];
    let list = INTERCEPTORS.allowed;
    let missing: Vec<_> = variables.iter().filter(|(name, _)| !settings.is_set(name)).collect();
    if missing.len() == variables.len() {
        let allowed = format!("{list}; or {NAMESPACE}, {SERVICE} and {PORT} must name the Service in front of them");
        return settings.refuse(EnvError::missing(LIST, &allowed));
    }
    for (name, what) in missing {
        let allowed = format!("{what}, as long as {LIST} is not {list}");
        settings.refuse(EnvError::missing(name, &allowed));
    }
}

const INTERCEPTORS: Kind<Vec<HostPort>> = Kind {
    allowed: "a comma list of host:port, the admin ports of the interceptors",
    parse: |text| {
        let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        let list: Option<Vec<_>> = entries.map(|entry| entry.parse().ok()).collect();
        list.filter(|list| !list.is_empty())
    },
    show: |list| list.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
};
const ADMIN_PORT: Kind<u16> = Kind {
    allowed: "a port, 1 to 65535",
    parse: |text| text.parse().ok().filter(|port| *port > 0),
    show: u16::to_string,
};
