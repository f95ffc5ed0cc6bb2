//! Wakes as a table.

use std::fmt::Write as _;
use std::time::Duration;

use super::{Stage, Wake};

/// For each stage how long it takes, and when it ends, in milliseconds, as Markdown; then our own share and the whole.
pub fn table(wakes: &[Wake]) -> String {
    let mut text = String::from(
        "| stage | whose | median | p99 | ends at, median | p99 |\n| --- | --- | ---: | ---: | ---: | ---: |\n",
    );
    for stage in Stage::ALL {
        let took = wakes.iter().filter_map(|wake| wake.took(stage)).collect();
        let ended = wakes.iter().filter_map(|wake| wake.at(stage.end())).collect();
        row(&mut text, &[&stage.to_string(), stage.whose()], &[took, ended]);
    }
    let own = wakes.iter().filter_map(Wake::own_share).collect();
    let all = wakes
        .iter()
        .filter_map(|wake| wake.at(Stage::FirstByte.end()))
        .collect();
    row(&mut text, &["**our own share**", "ours"], &[own]);
    row(&mut text, &["**the whole**", ""], &[all]);
    text
}

/// The median, or another percentile, of times.
pub fn percentile(times: &[Duration], share: usize) -> Option<Duration> {
    let mut sorted = times.to_vec();
    sorted.sort();
    let rank = (sorted.len() * share).div_ceil(100).max(1) - 1;
    sorted.get(rank).copied()
}

fn row(text: &mut String, names: &[&str], columns: &[Vec<Duration>]) {
    let shares = columns
        .iter()
        .flat_map(|times| [percentile(times, 50), percentile(times, 99)]);
    let numbers = shares.map(|time| time.map_or_else(String::new, milliseconds));
    let cells: Vec<String> = names.iter().map(|name| (*name).to_owned()).chain(numbers).collect();
    // Writing to a text cannot fail.
    let _ = writeln!(text, "| {} |{}", cells.join(" | "), " |".repeat(6 - cells.len()));
}

/// With as many digits as mean something.
pub fn milliseconds(time: Duration) -> String {
    let number = time.as_secs_f64() * 1000.0;
    if number < 100.0 {
        format!("{number:.1}")
    } else {
        format!("{number:.0}")
    }
}

#[cfg(test)]
mod tests {
    use super::super::Point;
    use super::*;

    fn wake(ready: u64) -> Wake {
        let at = Duration::from_millis;
        Wake {
            points: [
                (Point::Signal, at(2)),
                (Point::Ready, at(ready)),
                (Point::Received, at(ready + 3)),
                (Point::Answered, at(ready + 4)),
            ]
            .into(),
            status: 200,
        }
    }

    #[test]
    fn the_middle_and_the_extremes_are_those_of_the_wakes() {
        let text = table(&[wake(300), wake(100), wake(200)]);
        for line in [
            "| signal to KEDA | ours | 2.0 | 2.0 | 2.0 | 2.0 |",
            "| dial and send | ours | 3.0 | 3.0 | 203 | 303 |",
            "| **our own share** | ours | 5.0 | 5.0 | | |",
            "| **the whole** |  | 204 | 304 | | |",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }

    #[test]
    fn what_was_not_seen_is_left_empty() {
        assert!(table(&[wake(100)]).contains("| pod scheduled | Kubernetes |  |  |  |  |"));
    }
}
