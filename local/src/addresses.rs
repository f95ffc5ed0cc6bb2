//! Where things listen, and a request to try.

use crate::app::Local;
use crate::output::Output;

/// Prints both.
pub fn print(local: &Local, output: &Output) {
    let at = local.listening();
    output.print(&format!(
        "
  interceptor  http://127.0.0.1:{}  requests
               http://127.0.0.1:{}  admin: /routes, /queue, /readyz
               http://127.0.0.1:{}  /metrics
  scaler       127.0.0.1:{}         gRPC
               http://127.0.0.1:{}  /metrics, /readyz
  spans        127.0.0.1:{}         OTLP over gRPC",
        at.proxy, at.admin, at.metrics, at.scaler, at.scaler_metrics, at.otlp
    ));
    if let Some(example) = local.example() {
        output.print(&format!("\n  try: {}\n", example.curl(at.proxy)));
    }
}
