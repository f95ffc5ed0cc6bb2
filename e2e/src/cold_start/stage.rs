//! The way from the request to its answer, in stages.

use std::fmt;

use super::Point;

/// A part of a wake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The interceptor counts the request, and the scaler sends `true` to KEDA.
    Signal,
    /// KEDA writes the Deployment's scale.
    Keda,
    /// A pod is made and given to a node.
    Schedule,
    /// The kubelet starts it, and sees that it runs.
    Container,
    /// Its probe succeeds, and an EndpointSlice has it.
    Ready,
    /// The interceptor dials and sends the request.
    Dial,
    /// The app answers.
    FirstByte,
}

impl Stage {
    /// All of them, in order.
    pub const ALL: [Self; 7] = [
        Self::Signal,
        Self::Keda,
        Self::Schedule,
        Self::Container,
        Self::Ready,
        Self::Dial,
        Self::FirstByte,
    ];

    /// Where it begins; `None` is the moment at which the request is sent.
    pub fn start(self) -> Option<Point> {
        match self {
            Self::Signal => None,
            Self::Keda => Some(Point::Signal),
            Self::Schedule => Some(Point::Scaled),
            Self::Container => Some(Point::Scheduled),
            Self::Ready => Some(Point::Running),
            Self::Dial => Some(Point::Ready),
            Self::FirstByte => Some(Point::Received),
        }
    }

    /// Where it ends.
    pub fn end(self) -> Point {
        match self {
            Self::Signal => Point::Signal,
            Self::Keda => Point::Scaled,
            Self::Schedule => Point::Scheduled,
            Self::Container => Point::Running,
            Self::Ready => Point::Ready,
            Self::Dial => Point::Received,
            Self::FirstByte => Point::Answered,
        }
    }

    /// Whether it is the interceptor's and the scaler's own.
    pub fn is_ours(self) -> bool {
        matches!(self, Self::Signal | Self::Dial)
    }

    /// Who works in it.
    pub fn whose(self) -> &'static str {
        match self {
            Self::Signal | Self::Dial => "ours",
            Self::Keda => "KEDA",
            Self::Schedule | Self::Container | Self::Ready => "Kubernetes",
            Self::FirstByte => "the app",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Signal => "signal to KEDA",
            Self::Keda => "replicas written",
            Self::Schedule => "pod scheduled",
            Self::Container => "container runs",
            Self::Ready => "EndpointSlice ready",
            Self::Dial => "dial and send",
            Self::FirstByte => "first byte",
        })
    }
}
