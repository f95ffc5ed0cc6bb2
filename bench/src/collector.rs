//! An OTLP collector that counts the spans it is sent over HTTP and throws them away.

use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use anyhow::Result;
use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::client::content_length;

#[derive(Debug)]
pub struct Collector {
    pub address: SocketAddr,
    spans: Rc<Cell<usize>>,
}

impl Collector {
    pub async fn spawn() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let collector = Self {
            address: listener.local_addr()?,
            spans: Rc::default(),
        };
        tokio::task::spawn_local(serve(listener, collector.spans.clone()));
        Ok(collector)
    }

    /// How many spans have arrived, once none has for `quiet`.
    pub async fn settled(&self, quiet: Duration) -> usize {
        loop {
            let before = self.spans.get();
            tokio::time::sleep(quiet).await;
            if self.spans.get() == before {
                return before;
            }
        }
    }
}

async fn serve(listener: TcpListener, spans: Rc<Cell<usize>>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::task::spawn_local(receive(stream, spans.clone()));
    }
}

/// Takes one export after another on a connection.
async fn receive(mut stream: TcpStream, spans: Rc<Cell<usize>>) -> Result<()> {
    let mut buffer = Vec::with_capacity(1 << 20);
    while stream.read_buf(&mut buffer).await? > 0 {
        let Some(end) = memmem::find(&buffer, b"\r\n\r\n") else {
            continue;
        };
        let whole = end + 4 + content_length(std::str::from_utf8(&buffer[..end])?)?;
        if buffer.len() < whole {
            continue;
        }
        spans.set(spans.get() + span_count(&buffer[end + 4..whole]));
        buffer.drain(..whole);
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n")
            .await?;
    }
    Ok(())
}

/// The spans of an `ExportTraceServiceRequest`: `resource_spans` (1), their `scope_spans` (2), their `spans` (2).
fn span_count(request: &[u8]) -> usize {
    let resources = Messages {
        number: 1,
        rest: request,
    };
    let scopes = resources.flat_map(|rest| Messages { number: 2, rest });
    scopes.map(|rest| Messages { number: 2, rest }.count()).sum()
}

/// The messages in one field of an encoded message. Decoding them whole would cost more than the spans are worth.
struct Messages<'a> {
    number: u64,
    rest: &'a [u8],
}

impl<'a> Iterator for Messages<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            let tag = self.varint()?;
            let length = match tag & 7 {
                0 => {
                    self.varint()?;
                    0
                }
                1 => 8,
                2 => usize::try_from(self.varint()?).ok()?,
                5 => 4,
                _ => return None,
            };
            let (field, rest) = self.rest.split_at_checked(length)?;
            self.rest = rest;
            if tag == self.number << 3 | 2 {
                return Some(field);
            }
        }
    }
}

impl Messages<'_> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A length-delimited field of up to 127 bytes.
    fn field(number: u8, message: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, message.len() as u8][..], message].concat()
    }

    #[test]
    fn spans_of_all_resources_and_scopes_are_counted() {
        let span = field(2, b"name and so on");
        let scope = field(
            2,
            &[field(1, b"scope"), span.clone(), span.clone(), field(3, b"schema")].concat(),
        );
        let resource = field(1, &[field(1, b"resource"), scope.clone()].concat());
        let number = [7 << 3, 0x96, 0x01]; // an unknown field with a varint
        let request = [&number[..], &resource, &field(1, &field(2, &span))].concat();
        assert_eq!(span_count(&request), 3);
    }

    #[test]
    fn a_cut_off_request_does_not_loop_forever() {
        let request = field(1, &field(2, &field(2, b"span")));
        assert_eq!(span_count(&request[..request.len() - 1]), 0);
    }
}
