//! The report of many wakes, for `docs/`.

use super::goals::{GO_ADD_ON, OWN_MEDIAN, OWN_P99, WHOLE_MEDIAN};
use super::{Wake, table};

const HEAD: &str = "\
# Where the time of a cold start goes

`make cold-start REPORT=docs` wrote this page, on the one-node cluster of `make cluster` with stock KEDA, the server
of the tracing tutorial without its calculation, and `kedify-http` with `trafficAutowire: service`. Each wake is one
request to the Service without a selector while there is no pod. Everything is measured from outside: the request by
its client, `true` on a stream such as KEDA opens, the arrival at the pod by a header of the app, and the rest by
watches of the API server. Times are in milliseconds.

";

/// As Markdown; the picture is expected beside it as `cold-start.svg`.
pub fn report(wakes: &[Wake]) -> String {
    format!("{HEAD}{} wakes:\n\n{}{}", wakes.len(), table(wakes), tail())
}

fn tail() -> String {
    format!(
        "
![The median wake stage by stage, and each wake](cold-start.svg)

- **Our own share** is the first stage and the last but one: from the request to `true` on KEDA's stream, and from the
  EndpointSlice in a watch to the request at the pod. Goals: median {own} ms, p99 {p99} ms; median of the whole {whole} ms.
- The kubelet checks its containers once a second. Most of `container runs` is waiting for that check, and a wake that
  misses it takes a second longer.
- `pod scheduled` contains the work of the ReplicaSet controller and the scheduler.
- The Go add-on, measured the same way on a machine of the same kind: {go:.2} s, of which 0.29 s pass until the
  replicas are written and 0.16 s from the EndpointSlice to the answer.
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
    fn the_goals_and_the_go_add_on_are_named() {
        let text = report(&[]);
        for words in [
            "0 wakes:",
            "Goals: median 5 ms, p99 25 ms; median of the whole 1350 ms.",
            "measured the same way on a machine of the same kind: 1.71 s,",
        ] {
            assert!(text.contains(words), "{words} in\n{text}");
        }
    }
}
