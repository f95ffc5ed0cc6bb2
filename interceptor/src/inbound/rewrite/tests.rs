#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use futures_util::FutureExt;
use http::Uri;
use proptest::prelude::{Strategy, any, prop, prop_assert_eq, prop_oneof, proptest};
use tokio::io::AsyncReadExt;

use super::*;
use crate::inbound::framing::Framing;
use crate::inbound::http1::Http1Io;
use crate::inbound::observed::Observed;

#[test]
fn fault_b4_exactly_what_hyper_refuses_in_a_target_is_encoded() {
    for byte in 0x21..=0x7e_u8 {
        for (part, start) in [(Part::Path, "/"), (Part::Query, "/?")] {
            let target = [start.as_bytes(), &[byte, b'x']].concat();
            let is_refused = Uri::try_from(&target[..]).is_err();
            let class = part.class(byte);
            assert_eq!(class == Class::Encode, is_refused, "{start}{}", byte as char);
            let mut out = Vec::new();
            encode(part, &[byte], &mut out);
            Uri::try_from(&[start.as_bytes(), &out].concat()[..]).unwrap();
        }
    }
}

#[test]
fn lines_go_around_hyper_unless_it_needs_them() {
    let from = RewriteFrom::Lines;
    let head = b"A: 1 \r\ncontent-length: 2\r\nB:\t2\r\nConnection: close\r\n\r\n";
    let (out, extra) = rewrite(from, head).unwrap();
    assert_eq!(out, b"content-length: 2\r\nConnection: close\r\n\r\n");
    let extra: Vec<_> = extra
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
        .collect();
    assert_eq!(extra, [("a", &b"1"[..]), ("b", b"2")]);
    for malformed in [
        "no colon\r\n\r\n",
        "a b: c\r\n\r\n",
        "a : b\r\n\r\n",
        ": b\r\n\r\n",
        "a: \x7f\r\n\r\n",
        "a: \x0cb\r\n\r\n",
        "a: b\x0c\r\n\r\n",
    ] {
        assert_eq!(rewrite(from, malformed.as_bytes()), None, "{malformed:?}");
    }
}

#[test]
fn fault_te_beyond_line_90_reaches_hyper() {
    let (out, extra) = rewrite(RewriteFrom::Lines, b"TE: trailers\r\n\r\n").unwrap();
    assert_eq!((out, extra), (b"TE: trailers\r\n\r\n".to_vec(), Extra::default()));
}

/// A request as it is sent, as hyper must read it, and its header lines that go around hyper.
#[derive(Clone, Debug)]
struct Rewritten {
    sent: Vec<u8>,
    read: Vec<u8>,
    extra: Vec<(String, String)>,
}

fn request() -> impl Strategy<Value = Rewritten> {
    let target = prop::collection::vec(prop::sample::select(&b"ab/?<>`\"%{|"[..]), 0..6);
    let lines = (line_count(), any::<prop::sample::Index>());
    (target, lines, any::<bool>()).prop_map(|(target, (number, length_at), with_body)| {
        let target = [b"/", &target[..]].concat();
        let mut lines: Vec<(String, String)> = (0..number)
            .map(|line| (format!("x-{line}"), line.to_string()))
            .collect();
        lines.insert(0, ("host".to_owned(), "a".to_owned()));
        if with_body {
            let length = ("content-length".to_owned(), "5".to_owned());
            lines.insert(length_at.index(lines.len() + 1), length);
        }
        let body = if with_body { "\n\0<\"?" } else { "" };
        rewritten(&target, &lines, body)
    })
}

fn line_count() -> impl Strategy<Value = usize> {
    prop_oneof![0..3_usize, 86..94_usize, 100..130_usize]
}

/// The rules once more, as plainly as they can be said.
fn rewritten(target: &[u8], lines: &[(String, String)], body: &str) -> Rewritten {
    let query = target.iter().position(|byte| *byte == b'?').unwrap_or(target.len());
    let mut encoded = String::new();
    for (at, byte) in target.iter().enumerate() {
        match *byte {
            b'<' => encoded += "%3C",
            b'>' => encoded += "%3E",
            b'`' if at < query => encoded += "%60",
            b'"' if at > query => encoded += "%22",
            byte => encoded.push(byte.into()),
        }
    }
    let passes = |at: usize, name: &str| at < usize::from(PLAIN_LINES) || name == "content-length";
    let text = |lines: &mut dyn Iterator<Item = &(String, String)>| -> String {
        lines.map(|(name, value)| format!("{name}: {value}\r\n")).collect()
    };
    let numbered = || lines.iter().enumerate();
    let passing = text(
        &mut numbered()
            .filter(|(at, line)| passes(*at, &line.0))
            .map(|(_, line)| line),
    );
    let around = numbered().filter(|(at, line)| !passes(*at, &line.0));
    let all = text(&mut lines.iter());
    Rewritten {
        sent: [b"GET ", target, format!(" HTTP/1.1\r\n{all}\r\n{body}").as_bytes()].concat(),
        read: format!("GET {encoded} HTTP/1.1\r\n{passing}\r\n{body}").into_bytes(),
        extra: around.map(|(_, line)| line.clone()).collect(),
    }
}

/// What hyper reads of these bytes, which arrive in pieces, into a buffer of this size.
fn read(bytes: &[u8], piece: usize, room: usize, observed: Arc<Observed>) -> Vec<u8> {
    let (pieces, mut sender) = tokio::io::simplex(1 << 20);
    let mut io = Http1Io::new(tokio::io::join(pieces, tokio::io::sink()), None, observed);
    let mut read = Vec::new();
    let mut buf = vec![0; room];
    for piece in bytes.chunks(piece) {
        let written = tokio::io::AsyncWriteExt::write_all(&mut sender, piece).now_or_never();
        written.expect("there is room").unwrap();
        while let Some(number) = io.read(&mut buf).now_or_never() {
            let number = number.unwrap();
            if number == 0 {
                return read;
            }
            read.extend_from_slice(&buf[..number]);
        }
    }
    read
}

proptest! {
    #[test]
    fn heads_are_rewritten_alike_however_they_arrive(
        requests in prop::collection::vec(request(), 1..4),
        piece in 1..4_000_usize,
        room in 1..4_000_usize,
    ) {
        let sent: Vec<u8> = requests.iter().flat_map(|request| request.sent.clone()).collect();
        let expected: Vec<u8> = requests.iter().flat_map(|request| request.read.clone()).collect();
        let observed = Arc::new(Observed::default());
        let got = read(&sent, piece, room, observed.clone());
        prop_assert_eq!(got.escape_ascii().to_string(), expected.escape_ascii().to_string());
        for (number, request) in (1..).zip(&requests) {
            let extra = observed.take_extra(number).unwrap_or_default();
            let extra: Vec<_> = extra
                .headers
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
                .collect();
            prop_assert_eq!(&extra, &request.extra);
        }
    }
}

#[test]
fn fault_options_without_a_path_is_found_in_any_pieces() {
    for (line, is_for_server) in [
        ("OPTIONS http://a HTTP/1.1", true),
        ("OPTIONS HTTPS://a:80 HTTP/1.1", true),
        ("OPTIONS http://a/ HTTP/1.1", false),
        ("OPTIONS http://a? HTTP/1.1", false),
        ("OPTIONS / HTTP/1.1", false),
        ("OPTIONS * HTTP/1.1", false),
        ("OPTIONS ftp://a HTTP/1.1", false),
        ("options http://a HTTP/1.1", false),
        ("GET http://a HTTP/1.1", false),
    ] {
        let head = format!("{line}\r\nHost: a\r\n\r\n");
        for size in 1..=head.len() {
            let mut framing = Framing::new();
            let mut found = None;
            for piece in head.as_bytes().chunks(size) {
                let mut at = 0;
                while let Some((offset, from)) = framing.push(&piece[at..]).unwrap() {
                    at += offset;
                    found = Some((piece[at], from));
                }
            }
            let expected = is_for_server.then_some((b' ', RewriteFrom::WholeServer));
            assert_eq!(found, expected, "{line} in pieces of {size}");
            assert_eq!(framing.heads(), 1);
        }
    }
}
