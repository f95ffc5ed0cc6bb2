//! Wakes as a table.

use std::fmt::Write as _;
use std::time::Duration;

use super::{Point, Wake};

/// For each point the median, the 99th percentile and the extremes in milliseconds, as Markdown.
pub fn table(wakes: &[Wake]) -> String {
    let mut text = String::from("| point | median ms | p99 ms | least | most |\n| --- | --- | --- | --- | --- |\n");
    for point in Point::ALL {
        let times = wakes
            .iter()
            .filter_map(|wake| wake.points.get(&point).copied())
            .collect();
        row(&mut text, &point.to_string(), times);
    }
    row(
        &mut text,
        "own share",
        wakes.iter().filter_map(Wake::own_share).collect(),
    );
    text
}

fn row(text: &mut String, name: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: usize| {
        let rank = (times.len() * share).div_ceil(100).max(1) - 1;
        times.get(rank).map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0)
    };
    // Writing to a text cannot fail.
    let _ = writeln!(
        text,
        "| {name} | {:.1} | {:.1} | {:.1} | {:.1} |",
        at(50),
        at(99),
        at(0),
        at(100)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_and_the_extremes_are_those_of_the_wakes() {
        let wake = |millis| Wake {
            points: [
                (Point::Ready, Duration::from_millis(millis)),
                (Point::Signal, Duration::from_millis(2)),
            ]
            .into_iter()
            .chain([(Point::Received, Duration::from_millis(millis + 3))])
            .collect(),
            status: 200,
        };
        let text = table(&[wake(30), wake(10), wake(20)]);
        assert!(
            text.contains("| EndpointSlice ready | 20.0 | 30.0 | 10.0 | 30.0 |"),
            "{text}"
        );
        assert!(text.contains("| own share | 5.0 | 5.0 | 5.0 | 5.0 |"), "{text}");
    }
}
