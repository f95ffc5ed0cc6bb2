//! Wakes as a picture (SVG): the median wake stage by stage, every wake's whole time, and every wake's own share.

use std::fmt::Write as _;
use std::time::Duration;

use super::goals::{GO_ADD_ON, OWN_MEDIAN};
use super::table::{milliseconds, percentile};
use super::{Stage, Wake};

const LEFT: f64 = 30.0;
const WIDTH: f64 = 840.0;
const OURS: &str = "#d9480f";
const OTHERS: [&str; 5] = ["#adb5bd", "#74c0fc", "#4dabf7", "#228be6", "#ced4da"];

/// The picture.
pub fn chart(wakes: &[Wake]) -> String {
    let whole: Vec<Duration> = wakes.iter().filter_map(Wake::whole).collect();
    let own: Vec<Duration> = wakes.iter().filter_map(Wake::own_share).collect();
    let longest = whole.iter().max().copied().unwrap_or_default().max(GO_ADD_ON);
    let mut text = String::from(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 900 430\" font-family=\"system-ui, sans-serif\" font-size=\"13\">\n\
         <rect width=\"900\" height=\"430\" fill=\"#ffffff\"/>\n",
    );
    title(&mut text, 30.0, "The median wake, stage by stage");
    stages(&mut text, wakes);
    title(&mut text, 190.0, &format!("The whole of each of {} wakes", wakes.len()));
    dots(
        &mut text,
        225.0,
        &whole,
        longest,
        "#228be6",
        (GO_ADD_ON, "the Go add-on's median"),
    );
    title(
        &mut text,
        310.0,
        "Our own share of each: the signal to KEDA, then dial and send",
    );
    let most = own.iter().max().copied().unwrap_or_default().max(OWN_MEDIAN);
    dots(&mut text, 345.0, &own, most, OURS, (OWN_MEDIAN, "goal for the median"));
    text.push_str("</svg>\n");
    text
}

fn title(text: &mut String, y: f64, title: &str) {
    // Writing to a text cannot fail, here and below.
    let _ = writeln!(text, "<text x=\"{LEFT}\" y=\"{y}\" font-weight=\"600\">{title}</text>");
}

/// A bar whose parts are as long as the median of each stage, with what they are below it.
fn stages(text: &mut String, wakes: &[Wake]) {
    let median = |stage: Stage| {
        let took: Vec<Duration> = wakes.iter().filter_map(|wake| wake.took(stage)).collect();
        percentile(&took, 50).unwrap_or_default()
    };
    let all: f64 = Stage::ALL.into_iter().map(|stage| median(stage).as_secs_f64()).sum();
    let mut others = OTHERS.into_iter().cycle();
    let mut x = LEFT;
    for (number, stage) in Stage::ALL.into_iter().enumerate() {
        let took = median(stage);
        let width = (took.as_secs_f64() / all.max(f64::EPSILON) * WIDTH).max(1.5);
        let colour = if stage.is_ours() {
            OURS
        } else {
            others.next().unwrap_or(OTHERS[0])
        };
        let _ = writeln!(
            text,
            "<rect x=\"{x:.1}\" y=\"42\" width=\"{width:.1}\" height=\"34\" fill=\"{colour}\"/>"
        );
        x += width;
        let (column, line) = (number / 3, number % 3);
        let (legend_x, legend_y) = (LEFT + column as f64 * 280.0, 92.0 + line as f64 * 22.0);
        let _ = writeln!(
            text,
            "<rect x=\"{legend_x}\" y=\"{legend_y}\" width=\"12\" height=\"12\" fill=\"{colour}\"/>\
             <text x=\"{}\" y=\"{}\">{stage}: {} ms</text>",
            legend_x + 18.0,
            legend_y + 11.0,
            milliseconds(took)
        );
    }
}

/// A dot for each time on an axis from 0, a tick at the median with its label below, and a mark to compare with, its label above.
fn dots(text: &mut String, y: f64, times: &[Duration], most: Duration, colour: &str, mark: (Duration, &str)) {
    let axis = y + 24.0;
    let x = |time: Duration| LEFT + time.as_secs_f64() / (most.as_secs_f64() * 1.05) * WIDTH;
    let _ = writeln!(
        text,
        "<line x1=\"{LEFT}\" y1=\"{axis}\" x2=\"{}\" y2=\"{axis}\" stroke=\"#868e96\"/>",
        LEFT + WIDTH
    );
    for (number, time) in times.iter().enumerate() {
        let height = axis - 6.0 - (number % 3) as f64 * 9.0;
        let _ = writeln!(
            text,
            "<circle cx=\"{:.1}\" cy=\"{height}\" r=\"4\" fill=\"{colour}\" fill-opacity=\"0.55\"/>",
            x(*time)
        );
    }
    let median = percentile(times, 50).unwrap_or_default();
    let labels = [
        (
            median,
            format!("median {} ms", milliseconds(median)),
            colour,
            axis + 22.0,
        ),
        (
            mark.0,
            format!("{}: {} ms", mark.1, milliseconds(mark.0)),
            "#343a40",
            axis - 37.0,
        ),
    ];
    for (time, label, colour, label_y) in labels {
        let at = x(time);
        let anchor = if at > LEFT + WIDTH * 0.8 { "end" } else { "start" };
        let _ = writeln!(
            text,
            "<line x1=\"{at:.1}\" y1=\"{}\" x2=\"{at:.1}\" y2=\"{}\" stroke=\"{colour}\" stroke-width=\"2\"/>\
             <text x=\"{at:.1}\" y=\"{label_y}\" fill=\"{colour}\" text-anchor=\"{anchor}\">{label}</text>",
            axis - 32.0,
            axis + 8.0
        );
    }
    let _ = writeln!(
        text,
        "<text x=\"{LEFT}\" y=\"{}\" fill=\"#868e96\">0</text>",
        axis + 22.0
    );
}

#[cfg(test)]
mod tests {
    use super::super::Point;
    use super::*;

    #[test]
    fn each_wake_is_a_dot_in_both_rows() {
        let at = Duration::from_millis;
        let wake = Wake {
            points: [
                (Point::Signal, at(1)),
                (Point::Ready, at(900)),
                (Point::Received, at(902)),
                (Point::Answered, at(903)),
            ]
            .into(),
            status: 200,
        };
        let picture = chart(&[wake.clone(), wake]);
        assert_eq!(picture.matches("<circle").count(), 4, "{picture}");
        assert!(
            picture.contains("median 903 ms") && picture.contains("median 3.0 ms"),
            "{picture}"
        );
    }
}
