//! nginx as the reference: one worker, keep-alive to the app, no access log.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::program::{self, Program};
use crate::{client, cores};

#[derive(Debug)]
pub struct Nginx {
    /// Its master process; the worker is its child.
    pub program: Program,
    pub address: SocketAddr,
}

impl Nginx {
    /// Starts one in front of `app`, on the core of the programs under test.
    pub async fn ready(app: SocketAddr, directory: &Path) -> Result<Self> {
        let address = program::free_address()?;
        let file = directory.join("nginx.conf");
        std::fs::write(&file, configuration(address, app))?;
        let mut command = program::command(executable());
        command
            .arg("-p")
            .arg(directory)
            .arg("-c")
            .arg(file)
            .args(["-e", "stderr"]);
        let program = Program::start("nginx", command, cores::PROGRAM, directory)?;
        let mut nginx = Self { program, address };
        nginx
            .program
            .until("answer with 200", async || {
                matches!(client::status(address, "app", "/").await, Ok(200))
            })
            .await?;
        Ok(nginx)
    }
}

/// The version that `nginx -v` prints.
pub fn version() -> Result<String> {
    let output = Command::new(executable())
        .arg("-v")
        .output()
        .context("cannot run nginx")?;
    let printed = String::from_utf8_lossy(&output.stderr);
    Ok(printed.trim().trim_start_matches("nginx version: ").to_owned())
}

/// Debian's place is not on every user's path.
fn executable() -> &'static str {
    if Path::new("/usr/sbin/nginx").exists() {
        "/usr/sbin/nginx"
    } else {
        "nginx"
    }
}

fn configuration(address: SocketAddr, app: SocketAddr) -> String {
    format!(
        "daemon off; worker_processes 1; pid nginx.pid; error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
  access_log off; tcp_nodelay on; keepalive_timeout 300s; keepalive_requests 1000000000;
  client_body_temp_path body; proxy_temp_path proxy;
  fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  upstream app {{ server {app}; keepalive 256; keepalive_requests 1000000000; }}
  server {{
    listen {address} backlog=4096;
    location / {{
      proxy_pass http://app; proxy_http_version 1.1; proxy_request_buffering off;
      proxy_set_header Connection \"\"; proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Host $http_host;
    }}
  }}
}}
"
    )
}
