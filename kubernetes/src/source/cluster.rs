//! Objects from the API server's watches.
//!
//! Routes are watched everywhere, or in the one namespace that is allowed; Services, EndpointSlices and the ConfigMaps
//! with response bodies only in namespaces that have routes: what no route refers to is neither sent nor kept.
//! (The controller of autowire also sees the namespaces in which EndpointSlices of autowire are left.)
//!
//! # Layout
//!
//! - `client`, `connections`: the client of the API server.
//! - `watch`: a task for each watch, which reads and parses; `selection` is its request, `answer` the response, `failure`
//!   why it failed, and `pacing` how long it waits.
//! - `gathering`: the one task that joins the reports of all watches; `demand` knows which namespaces have routes, `known`
//!   the objects of one watch, `troubles` what is wrong.

mod answer;
mod client;
mod connections;
mod demand;
mod failure;
mod gathering;
mod known;
mod pacing;
mod selection;
mod troubles;
mod watch;

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc, watch as published};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::{Freshness, Source};
use crate::endpoints::ServiceKey;
use crate::object::Kind;
use gathering::{Gathering, Outlet, REPORTS};
use pacing::Pacing;
use troubles::Troubles;
use watch::Access;

pub use client::{ClientError, client, client_with};

/// Pieces of the initial state that may wait to be applied; until then no more are read from the API server.
const PIECES: usize = 4;

/// What is watched.
#[derive(Debug, Clone, Default)]
pub struct ClusterSettings {
    /// The only namespace that is watched, for every kind; `None`: all namespaces.
    pub watch_namespace: Option<String>,
    /// The kinds to watch.
    pub kinds: BTreeSet<Kind>,
    /// Further ConfigMaps to watch, whether or not a route refers to them: a namespace, and names in it.
    pub own_config_maps: Option<(String, Vec<String>)>,
    /// The Service whose EndpointSlices to watch, whether or not a route refers to it.
    pub slices_of: Option<ServiceKey>,
    /// Whether namespaces with EndpointSlices of autowire are watched too, when they have no routes any more.
    pub autowired: bool,
}

/// Begins to watch. This cannot fail: what the API server refuses is reported as a problem, and tried again.
///
/// A kind that may not be read (403) or does not exist (404) counts as empty until that is fixed. Any other failure at
/// the start delays the initial state, because nothing is known yet.
pub fn open(client: kube::Client, settings: ClusterSettings) -> Source {
    open_paced(client, settings, Pacing::default())
}

fn open_paced(client: kube::Client, settings: ClusterSettings, pacing: Pacing) -> Source {
    let (pieces, pieces_receiver) = mpsc::channel(PIECES);
    let (changes, changes_receiver) = mpsc::unbounded_channel();
    let (reports, reports_receiver) = mpsc::channel(REPORTS);
    let (problems, problems_receiver) = published::channel(Vec::new());
    let (freshness, freshness_receiver) = published::channel(Freshness {
        current: true,
        since: Instant::now(),
    });
    let access = Access {
        client,
        pacing,
        requests: Arc::new(Semaphore::new(pacing.requests)),
        reports,
    };
    let outlet = Outlet {
        pieces: Some(pieces),
        changes,
    };
    let gathering = Gathering::new(
        settings,
        access,
        reports_receiver,
        Troubles::new(problems, freshness),
        outlet,
    );
    Source {
        pieces: Some(pieces_receiver),
        changes: changes_receiver,
        problems: problems_receiver,
        freshness: freshness_receiver,
        gathered: Vec::new(),
        watching: Some(Box::new(AbortOnDropHandle::new(tokio::spawn(gathering.run())))),
    }
}

#[cfg(test)]
mod tests;
