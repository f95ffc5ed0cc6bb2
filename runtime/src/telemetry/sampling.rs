//! Which spans are sampled.

use opentelemetry::trace::{Link, SpanKind, TraceId};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{Sampler, SamplingResult, ShouldSample};

use super::propagation::{Caller, DecisionWithoutSpan};
use crate::settings::{Kind, Settings};

const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
const ARGUMENT: &str = "OTEL_TRACES_SAMPLER_ARG";

/// How spans are sampled (`OTEL_TRACES_SAMPLER`, `OTEL_TRACES_SAMPLER_ARG`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Whether a parent's decision is followed.
    pub parent_based: bool,
    /// The share of root spans that is sampled, 0 to 1.
    pub root_ratio: f64,
}

impl Sampling {
    /// The default is `parentbased_always_on`; the ratio of the ratio samplers is 1 by default.
    pub(crate) fn read(settings: &Settings) -> Self {
        let name = settings.variable(SAMPLER, &KIND, "Which spans are exported");
        let name = name.default("parentbased_always_on");
        let argument = settings
            .only_if(name.ends_with("traceidratio"))
            .variable(ARGUMENT, &RATIO, "The share of traces that the ratio samplers choose")
            .default(1.0);
        let root = name.strip_prefix("parentbased_");
        Self {
            parent_based: root.is_some(),
            root_ratio: match root.unwrap_or(name) {
                "always_on" => 1.0,
                "always_off" => 0.0,
                _ => argument,
            },
        }
    }

    /// Whether a server span for this caller may be sampled: `false` saves making one. `true` is not final, because the
    /// ratio decides by the id of the trace.
    pub fn may_sample(self, caller: &Caller) -> bool {
        match caller.sampled {
            Some(sampled) if self.parent_based => sampled,
            _ => self.root_ratio > 0.0,
        }
    }

    pub(crate) fn sampler(self) -> FollowsCaller {
        let root = match self.root_ratio {
            1.0.. => Sampler::AlwaysOn,
            ..=0.0 => Sampler::AlwaysOff,
            ratio => Sampler::TraceIdRatioBased(ratio),
        };
        FollowsCaller {
            parent_based: self.parent_based,
            otherwise: match self.parent_based {
                true => Sampler::ParentBased(Box::new(root)),
                false => root,
            },
        }
    }
}

/// The SDK's sampler knows a caller's decision only from a span; this one also follows a decision without a span.
#[derive(Debug, Clone)]
pub(crate) struct FollowsCaller {
    parent_based: bool,
    otherwise: Sampler,
}

impl ShouldSample for FollowsCaller {
    fn should_sample(
        &self,
        context: Option<&Context>,
        trace: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let decision = context.and_then(|context| context.get::<DecisionWithoutSpan>());
        let sampler = match decision {
            Some(decision) if self.parent_based && decision.sampled => &Sampler::AlwaysOn,
            Some(_) if self.parent_based => &Sampler::AlwaysOff,
            _ => &self.otherwise,
        };
        sampler.should_sample(context, trace, name, kind, attributes, links)
    }
}

const NAMES: [&str; 6] = [
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
];
const KIND: Kind<&str> = Kind {
    allowed: "always_on, always_off, traceidratio, parentbased_always_on, parentbased_always_off or \
              parentbased_traceidratio",
    parse: |text| NAMES.into_iter().find(|name| name.eq_ignore_ascii_case(text)),
    show: |name| (*name).to_owned(),
};
const RATIO: Kind<f64> = Kind {
    allowed: "a ratio, 0 to 1",
    parse: |text| text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio)),
    show: f64::to_string,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::{EnvError, Environment};
    use crate::settings;

    fn read(variables: &[(&str, &str)]) -> Result<Sampling, EnvError> {
        Ok(settings::read(&Environment::of(variables.iter().copied()), Sampling::read)?.0)
    }

    #[test]
    fn samplers_by_name() {
        let table = [
            ("", true, 1.0),
            ("always_on", false, 1.0),
            ("always_off", false, 0.0),
            ("traceidratio", false, 0.25),
            ("parentbased_always_on", true, 1.0),
            ("PARENTBASED_ALWAYS_OFF", true, 0.0),
            ("parentbased_traceidratio", true, 0.25),
        ];
        for (name, parent_based, root_ratio) in table {
            let expected = Sampling {
                parent_based,
                root_ratio,
            };
            assert_eq!(read(&[(SAMPLER, name), (ARGUMENT, "0.25")]), Ok(expected), "{name}");
        }
    }

    #[test]
    fn the_default_ratio_is_one() {
        assert_eq!(read(&[(SAMPLER, "traceidratio")]).unwrap().root_ratio, 1.0);
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_name() {
        let error = read(&[(SAMPLER, "jaeger_remote")]).unwrap_err().to_string();
        assert!(error.contains("OTEL_TRACES_SAMPLER=\"jaeger_remote\"") && error.contains("parentbased_always_on"));
        for bad in ["1.5", "-0.1", "half", "NaN"] {
            let error = read(&[(SAMPLER, "traceidratio"), (ARGUMENT, bad)])
                .unwrap_err()
                .to_string();
            assert!(
                error.contains("OTEL_TRACES_SAMPLER_ARG") && error.contains("0 to 1"),
                "{error}"
            );
        }
    }

    #[test]
    fn the_sampler_is_the_one_asked_for() {
        let sampler = |parent_based, root_ratio| {
            let sampling = Sampling {
                parent_based,
                root_ratio,
            };
            format!("{:?}", sampling.sampler().otherwise)
        };
        assert_eq!(sampler(true, 1.0), "ParentBased(AlwaysOn)");
        assert_eq!(sampler(false, 0.0), "AlwaysOff");
        assert_eq!(sampler(false, 0.5), "TraceIdRatioBased(0.5)");
    }

    #[test]
    fn fault_b13_a_decision_without_a_span_is_followed_by_parent_based_samplers_only() {
        use opentelemetry::trace::{Span as _, Tracer as _, TracerProvider as _};
        let sampled = |parent_based, root_ratio, decision| {
            let sampling = Sampling {
                parent_based,
                root_ratio,
            };
            let caller = Caller {
                span: None,
                sampled: decision,
            };
            let provider = opentelemetry_sdk::trace::SdkTracerProvider::builder()
                .with_sampler(sampling.sampler())
                .build();
            let span = provider.tracer("test").start_with_context("span", &caller.context());
            let sampled = span.span_context().is_sampled();
            assert_eq!(sampling.may_sample(&caller), sampled);
            sampled
        };
        for (parent_based, root_ratio) in [(true, 1.0), (true, 0.0), (false, 1.0), (false, 0.0)] {
            let root = root_ratio > 0.0;
            assert_eq!(sampled(parent_based, root_ratio, None), root);
            for decision in [true, false] {
                let expected = if parent_based { decision } else { root };
                assert_eq!(sampled(parent_based, root_ratio, Some(decision)), expected);
            }
        }
    }
}
