//! One HTTP/1.1 connection of the load generator, as cheap as can be: it understands what the measured programs answer.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A GET for `host` on `path`, with more header lines where given, each ended by CRLF.
pub fn get(host: &str, path: &str, headers: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\n{headers}\r\n").into_bytes()
}

#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: Vec::with_capacity(1024),
        })
    }

    pub async fn send(&mut self, request: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(request).await?)
    }

    /// Reads a response to its end and gives its status.
    pub async fn status(&mut self) -> Result<u16> {
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                bail!(
                    "the connection ended inside a response: {:?}",
                    String::from_utf8_lossy(&self.buffer)
                );
            }
            let Some(end) = memmem::find(&self.buffer, b"\r\n\r\n") else {
                continue;
            };
            let head = std::str::from_utf8(&self.buffer[..end])?;
            if self.buffer.len() == end + 4 + content_length(head)? {
                return status_of(head);
            }
        }
    }

    /// Sends a request and reads its response.
    pub async fn exchange(&mut self, request: &[u8]) -> Result<u16> {
        self.send(request).await?;
        self.status().await
    }
}

/// The status of one GET on a connection of its own.
pub async fn status(address: SocketAddr, host: &str, path: &str) -> Result<u16> {
    Connection::open(address).await?.exchange(&get(host, path, "")).await
}

/// The `content-length` of a message's head; chunked ones are not understood.
pub fn content_length(head: &str) -> Result<usize> {
    for line in head.lines().skip(1) {
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            return Ok(value.trim().parse()?);
        }
    }
    bail!("no content-length in {head:?}")
}

fn status_of(head: &str) -> Result<u16> {
    let status = head
        .split(' ')
        .nth(1)
        .with_context(|| format!("no status in {head:?}"))?;
    Ok(status.parse()?)
}
