//! One watch: what it reads, and how it goes on when the API server does not answer.

use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt;
use kube::api::{Api, ListParams};
use kube::runtime::watcher::{self, Event, watcher};
use tokio::sync::mpsc;

use super::resource::{Unparsed, api_resource};
use crate::object::{Kind, Object, ObjectError, ObjectId};

/// How many objects are in one answer of a list: more are more memory at once.
const PAGE: u32 = 250;
/// Seconds after which a watch is begun anew. A connection that is dead without a word is found 5 s later.
const WATCH_SECONDS: u32 = 55;
/// The first pause after a failure, doubled with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest one: a held request may wait for what comes after the outage.
const LONGEST_PAUSE: Duration = Duration::from_secs(3);
/// After a refusal, which somebody has to mend.
const REFUSED_PAUSE: Duration = Duration::from_secs(30);

/// Which objects.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Selection {
    /// Their kind.
    pub kind: Kind,
    /// Their namespace; `None` is all of them.
    pub namespace: Option<String>,
    /// The one object of this name.
    pub name: Option<String>,
    /// Those with this label.
    pub label: Option<&'static str>,
}

/// What a watch tells.
#[derive(Debug)]
pub enum News {
    /// A list begins: what is not in it is gone.
    Begins,
    /// An object is there, new or changed; with an error it is there but cannot be used.
    Is(ObjectId, Result<Box<Object>, ObjectError>),
    /// An object is gone.
    Gone(ObjectId),
    /// The list is complete.
    Listed,
    /// The API server does not answer, or not as it should.
    Failing(String),
    /// It does again.
    Well,
    /// It says no: the kind does not exist, or may not be read.
    Refused(String),
}

/// Where news go, with the number of the watch.
pub type Teller = mpsc::Sender<(u64, News)>;

/// Watches until it is aborted.
pub async fn run(client: kube::Client, number: u64, selection: Selection, teller: Teller) {
    let api = api(client, &selection);
    let config = config(&selection);
    let knock = Knock {
        one: ListParams {
            label_selector: config.label_selector.clone(),
            field_selector: config.field_selector.clone(),
            limit: Some(1),
            ..ListParams::default()
        },
        api: api.clone(),
    };
    let mut events = pin!(watcher(api, config));
    while let Some(event) = events.next().await {
        let told = match event {
            Ok(event) => teller.send((number, news(selection.kind, event))).await.is_ok(),
            Err(error) => knock.recover(number, error, &teller).await,
        };
        if !told {
            return;
        }
    }
}

fn api(client: kube::Client, selection: &Selection) -> Api<Unparsed> {
    let resource = api_resource(selection.kind);
    match &selection.namespace {
        Some(namespace) => Api::namespaced_with(client, namespace, &resource),
        None => Api::all_with(client, &resource),
    }
}

fn config(selection: &Selection) -> watcher::Config {
    let mut config = watcher::Config::default().timeout(WATCH_SECONDS).page_size(PAGE);
    if let Some(name) = &selection.name {
        config = config.fields(&format!("metadata.name={name}"));
    }
    if let Some(label) = selection.label {
        config = config.labels(label);
    }
    config
}

fn news(kind: Kind, event: Event<Unparsed>) -> News {
    match event {
        Event::Init => News::Begins,
        Event::InitApply(object) | Event::Apply(object) => {
            let id = object.id(kind);
            News::Is(id, object.parse(kind).map(Box::new))
        }
        Event::InitDone => News::Listed,
        Event::Delete(object) => News::Gone(object.id(kind)),
    }
}

/// Asks whether the API server answers: the watcher itself says nothing when it goes on.
struct Knock {
    api: Api<Unparsed>,
    one: ListParams,
}

impl Knock {
    /// Tells of the failure and waits until it has passed; `false` when nobody listens any more.
    async fn recover(&self, number: u64, error: watcher::Error, teller: &Teller) -> bool {
        // The usual end of a watch that has fallen behind, not a failure: the list begins anew.
        if code(&error) == Some(410) {
            return true;
        }
        let mut failure = (code(&error), error.to_string());
        let mut pause = FIRST_PAUSE;
        loop {
            let refused = matches!(failure.0, Some(403 | 404));
            let (news, wait) = if refused {
                (News::Refused(failure.1), REFUSED_PAUSE)
            } else {
                (News::Failing(failure.1), pause)
            };
            if teller.send((number, news)).await.is_err() {
                return false;
            }
            tokio::time::sleep(jittered(wait)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            match self.api.list_metadata(&self.one).await {
                Ok(_) => return teller.send((number, News::Well)).await.is_ok(),
                Err(error) => failure = (status(&error), error.to_string()),
            }
        }
    }
}

fn code(error: &watcher::Error) -> Option<u16> {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => status(error),
        watcher::Error::WatchError(status) => Some(status.code),
        watcher::Error::NoResourceVersion => None,
    }
}

fn status(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

/// Between half of it and all of it, so that many watches do not come back together.
fn jittered(pause: Duration) -> Duration {
    use std::hash::{BuildHasher, RandomState};
    let share = RandomState::new().hash_one(0_u8) % 512;
    pause / 2 + pause.mul_f64(share as f64 / 1024.0)
}
