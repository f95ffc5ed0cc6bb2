//! Tells people what is so, by Events on their objects: each once, when it becomes so.

use std::collections::BTreeSet;

use kube::Client;
use kube::runtime::events::EventType;
use tracing::{info, warn};

use super::notice::Notice;
use crate::events::{About, publish};

/// What has been told.
pub struct Told {
    client: Client,
    notices: Option<BTreeSet<Notice>>,
    failing: bool,
}

impl Told {
    /// Nothing has been told yet.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            notices: None,
            failing: false,
        }
    }

    /// Tells what has not been told; what is not so any more would be told again. The first time only what somebody has to
    /// mend: the rest is as the leader before has left it.
    pub async fn tell(&mut self, notices: Vec<Notice>) {
        let notices: BTreeSet<Notice> = notices.into_iter().collect();
        let news = |notice: &&Notice| match &self.notices {
            Some(told) => !told.contains(*notice),
            None => notice.warning,
        };
        let news: Vec<&Notice> = notices.iter().filter(news).collect();
        for notice in news {
            let object = &notice.about.id;
            info!(%object, reason = notice.reason, "{}", notice.message);
            let about = About {
                id: object,
                uid: notice.about.uid.clone(),
            };
            let type_ = if notice.warning {
                EventType::Warning
            } else {
                EventType::Normal
            };
            let published = publish(&self.client, about, type_, notice.reason, &notice.message).await;
            if let Err(error) = &published
                && !self.failing
            {
                warn!(error, "Events cannot be written; what they would say is in the log");
            }
            self.failing = published.is_err();
        }
        self.notices = Some(notices);
    }
}
