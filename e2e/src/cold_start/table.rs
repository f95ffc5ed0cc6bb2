//! Wakes as a table.

use std::fmt::Write as _;
use std::time::Duration;

use super::{Stage, Wake};

/// For each stage how long it takes, and when it ends, in milliseconds, as Markdown; then our own share and the whole. A
/// row in which not all wakes are says how many it has.
pub fn table(wakes: &[Wake]) -> String {
    let mut text = String::from(
        "| stage | whose | median | p99 | ends at, median | p99 |\n| --- | --- | ---: | ---: | ---: | ---: |\n",
    );
    for stage in Stage::ALL {
        let took: Vec<_> = wakes.iter().filter_map(|wake| wake.took(stage)).collect();
        let ended = wakes.iter().filter_map(|wake| wake.at(stage.end())).collect();
        let name = named(&stage.to_string(), &took, wakes);
        row(&mut text, &[&name, stage.whose()], &[took, ended]);
    }
    let own: Vec<_> = wakes.iter().filter_map(Wake::own_share).collect();
    let all: Vec<_> = wakes.iter().filter_map(Wake::whole).collect();
    row(&mut text, &[&named("**our own share**", &own, wakes), "ours"], &[own]);
    row(&mut text, &[&named("**the whole**", &all, wakes), ""], &[all]);
    text
}

/// The name of a row, with how many wakes it has where that is not all of them.
fn named(name: &str, seen: &[Duration], wakes: &[Wake]) -> String {
    if seen.len() == wakes.len() {
        name.to_owned()
    } else {
        format!("{name} (n = {})", seen.len())
    }
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
    fn a_row_says_how_many_wakes_it_has_where_that_is_not_all_of_them() {
        let (mut scheduled, without) = (wake(300), wake(100));
        scheduled.points.insert(Point::Scaled, Duration::from_millis(20));
        scheduled.points.insert(Point::Scheduled, Duration::from_millis(50));
        let text = table(&[scheduled, without]);
        for line in [
            "| pod scheduled (n = 1) | Kubernetes | 30.0 | 30.0 | 50.0 | 50.0 |",
            "| container runs (n = 0) | Kubernetes |  |  |  |  |",
            "| signal to KEDA | ours |",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }
}
