//! The report of many wakes, for `docs/`.

use super::goals::{GO_ADD_ON, OWN_MEDIAN, OWN_P99, WHOLE_MEDIAN};
use super::{Wake, table};

const HEAD: &str = "\
# Where the time of a cold start goes

Made by `make cold-start REPORT=docs` on the one-node cluster of `make cluster`: stock KEDA, the tracing tutorial's server without its
calculation, `kedify-http` with `trafficAutowire: service`. Each wake is one request to the selector-less Service while there is no pod. Everything is
seen from outside: the request by its client, `true` on a stream as KEDA opens one, the rest by watches of the API server, the arrival at the pod
by a header of the app. Times in milliseconds.

";

/// As Markdown; the picture is expected beside it as `cold-start.svg`.
pub fn report(wakes: &[Wake]) -> String {
    format!("{HEAD}{} wakes:\n\n{}{}", wakes.len(), table(wakes), tail())
}

fn tail() -> String {
    format!(
        "
![The median wake stage by stage, and each wake](cold-start.svg)

- **Our own share** is the first stage and the one before the last: from the request to `true` on KEDA's stream, and from the EndpointSlice in a
  watch to the request at the pod. Goals: median {own} ms, p99 {p99} ms; median of the whole {whole} ms.
- The kubelet looks at its containers once a second: most of `container runs` is waiting for that look, and a wake that misses it takes a second longer.
- `pod scheduled` has the replica set, the pod and the scheduler in it.
- The Go add-on on a machine of the same kind, measured the same way: {go:.2} s, of which 0.29 s until the replicas are written and 0.16 s from the
  EndpointSlice to the answer.
",
        own = OWN_MEDIAN.as_millis(),
        p99 = OWN_P99.as_millis(),
        whole = WHOLE_MEDIAN.as_millis(),
        go = GO_ADD_ON.as_secs_f64(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_goals_and_what_to_compare_with_are_told() {
        let text = report(&[]);
        for words in [
            "0 wakes:",
            "Goals: median 5 ms, p99 25 ms; median of the whole 1350 ms.",
            "measured the same way: 1.71 s,",
        ] {
            assert!(text.contains(words), "{words} in\n{text}");
        }
    }
}
