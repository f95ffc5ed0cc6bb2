//! Objects from the API server's watches.
//!
//! Routes are watched everywhere, or in the one namespace that is allowed; Services, EndpointSlices and the ConfigMaps
//! with response bodies only in namespaces that have routes: what nobody routes to is neither sent nor remembered. (Who
//! looks after the EndpointSlices of autowire also sees the namespaces in which some are left.) Each
//! watch is a task that reads and parses; one task puts together what they tell.

mod client;
mod demand;
mod gathering;
mod known;
mod resource;
mod watch;

use std::collections::BTreeSet;

use tokio::sync::{mpsc, watch as published};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::{Freshness, Source};
use crate::object::Kind;
use gathering::Gathering;

pub use client::{ClientError, client};

/// Pieces of the initial state that may wait to be taken in: more are not read from the API server meanwhile.
const PIECES: usize = 64;

/// What is watched.
#[derive(Debug, Clone, Default)]
pub struct ClusterSettings {
    /// The only namespace that is looked at, for every kind; `None` is all of them.
    pub watch_namespace: Option<String>,
    /// The kinds that are wanted.
    pub kinds: BTreeSet<Kind>,
    /// ConfigMaps that are wanted besides, whoever refers to them: a namespace, and names in it.
    pub own_config_maps: Option<(String, Vec<String>)>,
    /// Whether namespaces with EndpointSlices of autowire are watched too, when they have no routes any more.
    pub autowired: bool,
}

/// Begins to watch. Nothing here fails: what the API server refuses is told as a problem, and tried again.
pub fn open(client: kube::Client, settings: ClusterSettings) -> Source {
    let (pieces, pieces_receiver) = mpsc::channel(PIECES);
    let (changes, changes_receiver) = mpsc::unbounded_channel();
    let problems = published::Sender::new(Vec::new());
    let freshness = published::Sender::new(Freshness {
        current: true,
        since: Instant::now(),
    });
    let source = Source {
        pieces: Some(pieces_receiver),
        changes: changes_receiver,
        problems: problems.subscribe(),
        freshness: freshness.subscribe(),
        gathered: Vec::new(),
        watching: None,
    };
    let gathering = Gathering::new(client, settings, pieces, changes, problems, freshness);
    Source {
        watching: Some(Box::new(AbortOnDropHandle::new(tokio::spawn(gathering.run())))),
        ..source
    }
}
