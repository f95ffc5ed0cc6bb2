//! The same load on several servers in turn, all running all the time, round after round: only ratios within a round
//! count, because the machine itself drifts.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, bail};
use serde::Serialize;

use crate::client::Connection;
use crate::load::{Load, Outcome};
use crate::report::Table;
use crate::statistics::{Spread, percentile, sorted_milliseconds};

/// How many undisturbed rounds are needed.
pub const ROUNDS: usize = 5;
/// How many rounds are tried at most.
const MOST_ROUNDS: usize = 15;
/// How long each server is measured in each round.
const TIME: Duration = Duration::from_secs(5);
/// Keep-alive connections of the load.
pub const CONNECTIONS: usize = 64;
/// The least use of its core by which a server counts as the bottleneck of the load.
const LEAST_BUSY: f64 = 0.9;
/// The most by which the first server may differ from its median in an undisturbed round.
const MOST_DRIFT: f64 = 0.25;

/// A server in the contest. The first of them is the reference for drift.
#[derive(Debug, Clone)]
pub struct Contestant {
    pub name: String,
    pub address: SocketAddr,
    pub process: u32,
    pub request: Vec<u8>,
}

#[derive(Debug, Clone, Copy, Serialize)]
pub struct Sample {
    /// CPU per request in microseconds, user and system, of the server's processes.
    pub cpu: f64,
    pub rate: f64,
    /// CPU time over wall time.
    pub busy: f64,
    /// Median time of a request in milliseconds.
    pub median: f64,
    /// 99th percentile of the time of a request in milliseconds.
    pub p99: f64,
}

#[derive(Debug, Serialize)]
pub struct Rounds {
    names: Vec<String>,
    kept: Vec<Vec<Sample>>,
    requests: Vec<usize>,
    /// How many rounds were taken again.
    pub rejected: usize,
}

/// Runs rounds until enough of them are good.
pub async fn run(contestants: &[Contestant]) -> Result<Rounds> {
    for contestant in contestants {
        check(contestant).await?;
    }
    let mut rounds = Rounds {
        names: contestants.iter().map(|one| one.name.clone()).collect(),
        kept: vec![],
        requests: vec![0; contestants.len()],
        rejected: 0,
    };
    let mut all = Vec::new();
    while rounds.kept.len() < ROUNDS {
        if all.len() == MOST_ROUNDS {
            bail!(
                "the machine is too busy: only {} of {MOST_ROUNDS} rounds are usable: {all:?}",
                rounds.kept.len()
            );
        }
        all.push(round(contestants, all.len(), &mut rounds.requests).await?);
        rounds.kept = good(&all);
        rounds.rejected = all.len() - rounds.kept.len();
    }
    Ok(rounds)
}

impl Rounds {
    /// All requests that a server has answered, warm-ups and rejected rounds included.
    pub fn requests(&self, of: &str) -> usize {
        self.requests[self.at(of)]
    }

    /// CPU per request of one server over another's, by round.
    pub fn ratio(&self, of: &str, over: &str) -> Spread {
        let (of, over) = (self.at(of), self.at(over));
        Spread::of(self.kept.iter().map(|round| round[of].cpu / round[over].cpu))
    }

    fn at(&self, name: &str) -> usize {
        self.names.iter().position(|known| *known == name).unwrap_or_default()
    }

    /// Each server's medians and CPU spread over the rounds.
    pub fn table(&self) -> Table {
        let mut table = Table::new([
            "server",
            "CPU us/request",
            "[min-max]",
            "requests/s",
            "p50 ms",
            "p99 ms",
            "core busy",
        ]);
        for (index, name) in self.names.iter().enumerate() {
            let of = |figure: fn(&Sample) -> f64| Spread::of(self.kept.iter().map(|round| figure(&round[index])));
            let cpu = of(|sample| sample.cpu);
            table.row(vec![
                name.clone(),
                format!("{:.2}", cpu.median),
                format!("[{:.2}-{:.2}]", cpu.min, cpu.max),
                format!("{:.0}", of(|sample| sample.rate).median),
                format!("{:.2}", of(|sample| sample.median).median),
                format!("{:.2}", of(|sample| sample.p99).median),
                format!("{:.2}", of(|sample| sample.busy).median),
            ]);
        }
        table
    }
}

async fn check(contestant: &Contestant) -> Result<()> {
    let status = Connection::open(contestant.address)
        .await?
        .exchange(&contestant.request)
        .await?;
    if status == 200 {
        Ok(())
    } else {
        bail!("{} answered with status {status} instead of 200", contestant.name)
    }
}

/// Every second round runs in reverse order, so that no server always follows the same one.
async fn round(contestants: &[Contestant], number: usize, requests: &mut [usize]) -> Result<Vec<Sample>> {
    let mut samples = Vec::new();
    let mut order: Vec<usize> = (0..contestants.len()).collect();
    if number % 2 == 1 {
        order.reverse();
    }
    for index in order {
        let Contestant {
            name,
            address,
            process,
            request,
        } = &contestants[index];
        let load = Load {
            address: *address,
            request: request.clone(),
            connections: CONNECTIONS,
        };
        let outcome = load.run(*process, TIME).await?;
        requests[index] += outcome.all;
        let sample = Sample::of(&outcome);
        eprintln!(
            "round {:>2}  {name:<24} {:>7.2} us/request  {:>7.0} requests/s  busy {:.2}",
            number + 1,
            sample.cpu,
            sample.rate,
            sample.busy
        );
        samples.push((index, sample));
    }
    samples.sort_by_key(|(index, _)| *index);
    Ok(samples.into_iter().map(|(_, sample)| sample).collect())
}

impl Sample {
    fn of(outcome: &Outcome) -> Self {
        let latencies = sorted_milliseconds(&outcome.latencies);
        let (cpu, time) = (outcome.cpu.as_secs_f64(), outcome.time.as_secs_f64());
        Self {
            cpu: cpu * 1e6 / outcome.requests.max(1) as f64,
            rate: outcome.requests as f64 / time,
            busy: cpu / time,
            median: percentile(&latencies, 0.5),
            p99: percentile(&latencies, 0.99),
        }
    }
}

/// The rounds in which every server was the bottleneck and the reference was close to its median.
fn good(all: &[Vec<Sample>]) -> Vec<Vec<Sample>> {
    let busy: Vec<&Vec<Sample>> = all
        .iter()
        .filter(|round| round.iter().all(|sample| sample.busy >= LEAST_BUSY))
        .collect();
    let median = Spread::of(busy.iter().map(|round| round[0].cpu)).median;
    let close = |round: &&&Vec<Sample>| (round[0].cpu - median).abs() <= MOST_DRIFT * median;
    busy.iter().filter(close).map(|round| (*round).clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(cpu: f64, busy: f64) -> Sample {
        Sample {
            cpu,
            busy,
            rate: 1.0,
            median: 1.0,
            p99: 1.0,
        }
    }

    #[test]
    fn rounds_with_an_idle_server_or_a_drifting_reference_do_not_count() {
        let steady = vec![sample(10.0, 0.98), sample(12.0, 0.97)];
        let idle = vec![sample(10.0, 0.98), sample(40.0, 0.7)];
        let drifting = vec![sample(14.0, 0.98), sample(12.0, 0.97)];
        let kept = good(&[steady.clone(), idle, steady.clone(), drifting, steady]);
        assert_eq!(
            kept.iter().map(|round| round[0].cpu).collect::<Vec<_>>(),
            [10.0, 10.0, 10.0]
        );
    }

    #[test]
    fn the_ratio_is_the_median_of_each_rounds_own() {
        let kept = vec![
            vec![sample(10.0, 1.0), sample(11.0, 1.0)],
            vec![sample(20.0, 1.0), sample(26.0, 1.0)],
            vec![sample(10.0, 1.0), sample(15.0, 1.0)],
        ];
        let rounds = Rounds {
            names: vec!["nginx".to_owned(), "ours".to_owned()],
            kept,
            requests: vec![],
            rejected: 0,
        };
        assert_eq!(
            rounds.ratio("ours", "nginx"),
            Spread {
                median: 1.3,
                min: 1.1,
                max: 1.5
            }
        );
    }
}
