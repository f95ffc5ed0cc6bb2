//! The results of many requests.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::time::Instant;

use super::Answer;

/// The results of many requests.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Requests sent.
    pub sent: u64,
    /// Requests answered with 200.
    pub answered: u64,
    /// Requests that failed, by status and body or by error.
    pub failed: BTreeMap<String, u64>,
    /// The longest time of a request: of those answered with 200, and of those in progress until now.
    pub slowest: Duration,
    /// When the first and the last of those that failed did.
    failing: Option<(Instant, Instant)>,
}

impl Tally {
    /// Requests that ended with anything but 200.
    pub fn failures(&self) -> u64 {
        self.failed.values().sum()
    }

    /// Requests in progress.
    pub fn under_way(&self) -> u64 {
        self.sent - self.answered - self.failures()
    }

    /// Fails unless all were answered with 200 within `slowest`. Requests in progress must be younger than that.
    ///
    /// # Errors
    /// With the other results, and the slowest time.
    pub fn expect_all(&self, slowest: Duration) -> Result<()> {
        ensure!(
            self.failures() == 0 && self.answered > 0 && self.slowest <= slowest,
            "all requests answered 200 within {slowest:?} expected, not: {self}"
        );
        Ok(())
    }

    /// From the first failure to the last one.
    pub fn failing(&self) -> Duration {
        self.failing.map_or(Duration::ZERO, |(first, last)| last - first)
    }

    fn count(&mut self, answer: Result<Answer>) {
        let got = match answer {
            Ok(answer) if answer.status == 200 => {
                self.answered += 1;
                self.slowest = self.slowest.max(answer.took);
                return;
            }
            Ok(answer) => format!("{} {}", answer.status, answer.body.trim()),
            Err(error) => root_cause(&error),
        };
        *self.failed.entry(got).or_default() += 1;
        let now = Instant::now();
        self.failing = Some((self.failing.map_or(now, |(first, _)| first), now));
    }
}

/// Without the address of each request, so that failures of one kind are counted together.
fn root_cause(error: &anyhow::Error) -> String {
    error.chain().last().map(ToString::to_string).unwrap_or_default()
}

impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sent, failed, slowest) = (self.sent, self.failures(), self.slowest.as_secs_f64());
        write!(formatter, "{failed} of {sent} requests failed, slowest {slowest:.1} s")?;
        if self.under_way() > 0 {
            write!(formatter, ", {} in progress", self.under_way())?;
        }
        self.failed
            .iter()
            .try_for_each(|(what, count)| write!(formatter, "; {count} x {what}"))
    }
}

/// Counts requests as they are sent and as they end.
#[derive(Default)]
pub(super) struct Counts {
    tally: Tally,
    /// When each that is under way was sent, by its number.
    under_way: BTreeMap<u64, Instant>,
}

impl Counts {
    /// Counts a request as sent and returns its number.
    pub(super) fn sent(&mut self) -> u64 {
        self.tally.sent += 1;
        self.under_way.insert(self.tally.sent, Instant::now());
        self.tally.sent
    }

    /// Counts the request with this number as ended.
    pub(super) fn ended(&mut self, number: u64, answer: Result<Answer>) {
        self.under_way.remove(&number);
        self.tally.count(answer);
    }

    /// The tally so far.
    pub(super) fn so_far(&self) -> Tally {
        let mut tally = self.tally.clone();
        if let Some((_, oldest)) = self.under_way.first_key_value() {
            tally.slowest = tally.slowest.max(oldest.elapsed());
        }
        tally
    }
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};
    use reqwest::header::HeaderMap;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    fn answer(status: u16, body: &str, took: Duration) -> Result<Answer> {
        Ok(Answer {
            status,
            headers: HeaderMap::new(),
            body: body.to_owned(),
            took,
        })
    }

    fn good(seconds: u64) -> Result<Answer> {
        answer(200, "", Duration::from_secs(seconds))
    }

    fn counted(answers: impl IntoIterator<Item = Result<Answer>>) -> Tally {
        let mut counts = Counts::default();
        for answer in answers {
            let number = counts.sent();
            counts.ended(number, answer);
        }
        counts.so_far()
    }

    #[test]
    fn a_load_passes_when_every_request_was_answered_in_time() {
        counted([good(1), good(5)]).expect_all(LIMIT).unwrap();
        assert!(counted([]).expect_all(LIMIT).is_err(), "nothing proves nothing");
        let error = counted([good(1), good(6)]).expect_all(LIMIT).unwrap_err().to_string();
        assert!(
            error.ends_with("within 5s expected, not: 0 of 2 requests failed, slowest 6.0 s"),
            "{error}"
        );
    }

    #[test]
    fn failures_of_one_kind_are_counted_together() {
        let broken = |port: u16| Err(anyhow!("refused").context(format!("port {port}")));
        let tally = counted([broken(1), good(0), broken(2), answer(502, "Bad\n", Duration::ZERO)]);
        assert_eq!((tally.sent, tally.answered, tally.failures()), (4, 1, 3));
        let error = tally.expect_all(LIMIT).context("it").unwrap_err();
        let summary = "3 of 4 requests failed, slowest 0.0 s; 1 x 502 Bad; 2 x refused";
        assert!(format!("{error:#}").ends_with(summary), "{error:#}");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_under_way_counts_for_as_long_as_it_is() {
        let mut counts = Counts::default();
        let stalled = counts.sent();
        let number = counts.sent();
        counts.ended(number, good(0));
        counts.so_far().expect_all(LIMIT).unwrap();
        tokio::time::advance(LIMIT * 2).await;
        let tally = counts.so_far();
        assert_eq!(
            tally.to_string(),
            "0 of 2 requests failed, slowest 10.0 s, 1 in progress"
        );
        assert!(tally.expect_all(LIMIT).is_err());
        counts.ended(stalled, good(1));
        counts.so_far().expect_all(LIMIT).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_of_failures_is_from_the_first_to_the_last() {
        let mut counts = Counts::default();
        assert_eq!(counts.so_far().failing(), Duration::ZERO);
        for _ in 0..3 {
            let number = counts.sent();
            counts.ended(number, answer(504, "", Duration::ZERO));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(counts.so_far().failing(), Duration::from_secs(2));
    }
}
