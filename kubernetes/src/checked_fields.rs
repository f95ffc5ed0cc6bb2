//! Fields of route objects to `core` types. Errors are collected with the path of the field, so that users see all
//! mistakes in an object at once.

use std::fmt::{Arguments, Display};
use std::time::Duration;

use http::HeaderName;
use keda_http_core::duration;
use keda_http_core::route::header::{HeaderRule, HeaderValueMatch};
use keda_http_core::route::host::HostPattern;
use keda_http_core::route::{PortRef, ServiceRef};
use keda_http_core::trigger::RateTarget;

use crate::fields::FieldError;
use crate::resources::{PortSelector, RequestHeader};

/// The warning about a rule without any condition.
pub(crate) const CATCH_ALL: &str = "has no hosts, no paths and no headers, so it takes all requests of every host; write hosts: [\"*\"] if that is meant";

/// The errors and warnings found so far.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    errors: Vec<FieldError>,
    warnings: Vec<String>,
}

impl Fields {
    pub(crate) fn refuse(&mut self, field: Arguments<'_>, reason: impl Display) {
        self.errors.push(FieldError::new(field, reason));
    }

    pub(crate) fn refuse_all(&mut self, errors: &[FieldError]) {
        self.errors.extend_from_slice(errors);
    }

    pub(crate) fn warn(&mut self, field: Arguments<'_>, warning: impl Display) {
        self.warnings.push(format!("{field}: {warning}"));
    }

    pub(crate) fn take_warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }

    /// The value; `None` after recording the error.
    pub(crate) fn accept<T>(&mut self, field: Arguments<'_>, result: Result<T, impl Display>) -> Option<T> {
        result.map_err(|reason| self.refuse(field, reason)).ok()
    }

    /// The value when nothing was refused.
    pub(crate) fn finish<T>(self, value: Option<T>) -> Result<T, Vec<FieldError>> {
        match value {
            Some(value) if self.errors.is_empty() => Ok(value),
            Some(_) | None => Err(self.errors),
        }
    }

    pub(crate) fn duration(&mut self, field: Arguments<'_>, text: Option<&str>) -> Option<Duration> {
        self.accept(field, duration::parse(text?))
    }

    pub(crate) fn hosts(&mut self, field: Arguments<'_>, hosts: &[String]) -> Vec<HostPattern> {
        let each = hosts.iter().enumerate();
        each.filter_map(|(i, host)| self.accept(format_args!("{field}[{i}]"), host.parse::<HostPattern>()))
            .collect()
    }

    pub(crate) fn headers(&mut self, field: Arguments<'_>, headers: &[RequestHeader]) -> Vec<HeaderRule> {
        let each = headers.iter().enumerate();
        each.filter_map(|(i, header)| self.accept(format_args!("{field}[{i}].name"), header_rule(header)))
            .collect()
    }

    /// A Service, whose name is in `name_field` of `at`, and its port.
    pub(crate) fn service(
        &mut self,
        at: &str,
        namespace: &str,
        (name_field, name): (&str, &str),
        port: &PortSelector,
    ) -> Option<ServiceRef> {
        if name.is_empty() {
            self.refuse(
                format_args!("{at}.{name_field}"),
                "is empty; it must name a Service of the same namespace",
            );
        }
        Some(ServiceRef {
            namespace: namespace.into(),
            service: name.into(),
            port: self.port(at, port)?,
        })
    }

    fn port(&mut self, at: &str, port: &PortSelector) -> Option<PortRef> {
        match (port.port, port.port_name.as_deref().filter(|name| !name.is_empty())) {
            (Some(number), None) => match u16::try_from(number) {
                Ok(number) if number > 0 => return Some(PortRef::Number(number)),
                _ => self.refuse(
                    format_args!("{at}.port"),
                    format_args!("{number} is not a valid port; allowed: 1 to 65535"),
                ),
            },
            (None, Some(name)) => return Some(PortRef::Name(name.into())),
            (Some(_), Some(_)) => self.refuse(
                format_args!("{at}"),
                "port and portName exclude each other; give one of them",
            ),
            (None, None) => self.refuse(format_args!("{at}"), "port or portName is missing; give one of them"),
        }
        None
    }

    /// A target per replica, at least 1.
    pub(crate) fn target_value(&mut self, field: Arguments<'_>, value: i64) -> Option<f64> {
        if value < 1 {
            self.refuse(field, format_args!("{value} is not a valid target; allowed: 1 or more"));
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "targets far below 2^52")]
        Some(value as f64)
    }

    /// A rate, whose fields are those of `at`.
    pub(crate) fn rate(&mut self, at: &str, value: i64, window: &str, granularity: &str) -> Option<RateTarget> {
        let value = self.target_value(format_args!("{at}.targetValue"), value);
        let window = self.duration(format_args!("{at}.window"), Some(window));
        let granularity = self.duration(format_args!("{at}.granularity"), Some(granularity));
        let rate = RateTarget {
            value: value?,
            window: window?,
            granularity: granularity?,
        };
        let field = if rate.granularity.is_zero() {
            "granularity"
        } else {
            "window"
        };
        self.accept(format_args!("{at}.{field}"), rate.check().map(|()| rate))
    }
}

fn header_rule(header: &RequestHeader) -> Result<HeaderRule, String> {
    let name = HeaderName::from_bytes(header.name.as_bytes())
        .map_err(|_| format!("{:?} is not a valid header name", header.name))?;
    let value = header
        .value
        .clone()
        .map_or(HeaderValueMatch::Present, HeaderValueMatch::Exact);
    Ok(HeaderRule { name, value })
}
