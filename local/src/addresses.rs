//! Where things listen, and a request to try.

use crate::app::Local;
use crate::output::Output;

/// Prints the addresses and the request.
pub fn print(local: &Local, output: &Output) {
    let at = local.listening();
    let http = |port: u16| format!("http://127.0.0.1:{port}");
    let grpc = |port: u16| format!("127.0.0.1:{port}");
    let rows = [
        ("interceptor", http(at.proxy), "requests"),
        ("", http(at.admin), "admin: /routes, /queue, /readyz"),
        ("", http(at.metrics), "/metrics"),
        ("scaler", grpc(at.scaler), "gRPC"),
        ("", http(at.scaler_metrics), "/metrics, /readyz"),
        ("spans", grpc(at.otlp), "OTLP over gRPC"),
    ];
    let lines = rows.map(|(name, address, purpose)| format!("  {name:<11}  {address:<22}  {purpose}\n"));
    output.print(&format!("\n{}", lines.concat()));
    let requests = local
        .examples()
        .iter()
        .map(|example| format!("  try: {}\n", example.curl(at.proxy)));
    output.print(&format!("\n{}", requests.collect::<String>()));
}
