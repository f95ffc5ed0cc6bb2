#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::inbound::http1::Http1Io;
use crate::inbound::observed::Observed;
use crate::inbound::{HALF_CLOSE, MAX_HEAD_BYTES};
use harness::{Answer, Seen, checked, in_pieces, listen, on_stream, raw};

const GENEROUS: Duration = Duration::from_secs(20);
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);

/// Refused in the head: by us, or by hyper where [`crate::inbound::framing`] leaves it to hyper.
const MALFORMED_HEADS: &[&str] = &[
    "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "\rGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET / HTTP/1.1\nHost: a\n\n",
    "GET / HTTP/1.1\r\nHost: a\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\n\n",
    "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\n\rX: b\r\n\r\n",
    "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET / HTTP/1.1\0\r\nHost: a\r\n\r\n",
    "GET / HTTP/1.1\r\nHo\0st: a\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
    "G\0ET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "\0GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
    "GET / HTTP/1.1\r\n Host: a\r\n\r\n",
    "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\nhello",
    "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
    "GET / HTTP/1.1\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
    "GET / HTTP/1.2\r\nHost: a\r\n\r\n",
    "GET /\r\n\r\n",
    "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
    "\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\rx",
    "PRI * HTTP/2.0\r\nHost: a\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\nhello",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 6\r\n\r\nhello!",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\nhello",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\nhello",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\nhello",
    "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
];

/// Bodies that a service may begin to read, but never to the end.
const MALFORMED_CHUNKS: &[&str] = &[
    "\n",
    "x\r\n",
    "5\nhello\r\n0\r\n\r\n",
    "5 \r\nhello\r\n0\r\n\r\n",
    "-5\r\nhello\r\n0\r\n\r\n",
    "5;x\nhello\r\n0\r\n\r\n",
    "5;x\0\r\nhello\r\n0\r\n\r\n",
    "00000000000000005\r\nhello\r\n0\r\n\r\n",
    "5\r\nhello\n0\r\n\r\n",
    "5\r\nhello0\r\n\r\n",
    "5\r\nhello\r\n0\n\r\n",
    "5\r\nhello\r\n0;x\n\r\n",
    "5\r\nhello\r\n0\r\n\n",
    "5\r\nhello\r\n0\r\n\rx",
    "5\r\nhello\r\n0\r\nA: b\n\r\n",
    "5\r\nhello\r\n0\r\nA: b\r\n\n",
    "5\r\nhello\r\n0\r\nA: b\r\n c\r\n\r\n",
    "5\r\nhello\r\n0\r\nA: \0\r\n\r\n",
];

const VALID: &[&str] = &[
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n\r\nGET /3 HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET / HTTP/1.0\r\n\r\n",
    "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\na\nb\0cPOST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
    "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\na\nb\0c\r\nA\r\n0123456789\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\nC: d\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
    "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
    "PROPFIND / HTTP/1.1\r\nhost: a\r\nConnection: close\r\n\r\n",
];

fn bytes(text: &str) -> Vec<&[u8]> {
    text.as_bytes().chunks(1).collect()
}

fn assert_refused(answer: &Answer, what: &str) {
    assert!(answer.text.starts_with("HTTP/1.1 400 "), "{what:?}: {:?}", answer.text);
    assert_eq!(
        answer.text.matches("HTTP/1.1 ").count(),
        1,
        "{what:?}: {:?}",
        answer.text
    );
    assert!(
        answer.text.contains("connection: close\r\n"),
        "{what:?}: {:?}",
        answer.text
    );
    assert_eq!(answer.seen, [], "{what:?}");
    assert!(answer.is_closed, "{what:?}");
}

fn assert_body_failed(answer: &Answer, what: &str) {
    assert!(answer.text.starts_with("HTTP/1.1 400 "), "{what:?}: {:?}", answer.text);
    let [Seen::BodyError { cause: Some(_), .. }] = &answer.seen[..] else {
        panic!("{what:?}: {:?}", answer.seen)
    };
    assert!(answer.is_closed, "{what:?}");
}

#[tokio::test]
async fn a_malformed_head_is_answered_400_over_tcp_and_nobody_sees_it() {
    for head in MALFORMED_HEADS {
        assert_refused(&raw(head.as_bytes()).await, head);
    }
}

#[tokio::test(start_paused = true)]
async fn a_malformed_head_is_refused_however_it_arrives() {
    for head in MALFORMED_HEADS {
        assert_refused(&in_pieces(&bytes(head)).await, head);
        for cut in 1..head.len() {
            let (first, second) = head.as_bytes().split_at(cut);
            assert_refused(&in_pieces(&[first, second]).await, &format!("cut at {cut}: {head}"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_malformed_head_after_a_good_request_is_refused_alone() {
    let good = "GET /good HTTP/1.1\r\nHost: a\r\n\r\n";
    for head in MALFORMED_HEADS.iter().filter(|head| !head.contains("PRI")) {
        for pieces in [vec![format!("{good}{head}")], vec![good.to_owned(), (*head).to_owned()]] {
            let answer = in_pieces(&pieces.iter().map(String::as_bytes).collect::<Vec<_>>()).await;
            assert_eq!(
                answer.text.matches("HTTP/1.1 200 ").count(),
                1,
                "{head:?}: {:?}",
                answer.text
            );
            assert_eq!(
                answer.text.matches("HTTP/1.1 400 ").count(),
                1,
                "{head:?}: {:?}",
                answer.text
            );
            assert_eq!(answer.seen.len(), 1, "{head:?}: {:?}", answer.seen);
            assert!(answer.is_closed, "{head:?}");
        }
    }
}

#[tokio::test]
async fn a_malformed_chunked_body_fails_its_reader_over_tcp() {
    for chunks in MALFORMED_CHUNKS {
        let request = format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
        assert_body_failed(&raw(request.as_bytes()).await, chunks);
    }
}

#[tokio::test(start_paused = true)]
async fn a_malformed_chunked_body_fails_its_reader_however_it_arrives() {
    for chunks in MALFORMED_CHUNKS {
        let request = format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
        assert_body_failed(&in_pieces(&bytes(&request)).await, chunks);
        for cut in 1..request.len() {
            let (first, second) = request.as_bytes().split_at(cut);
            assert_body_failed(&in_pieces(&[first, second]).await, &format!("cut at {cut}: {chunks}"));
        }
    }
}

#[tokio::test]
async fn the_reader_of_a_malformed_body_can_tell_why() {
    let answer = raw(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5\nhello").await;
    let [Seen::BodyError { received, cause }] = &answer.seen[..] else {
        panic!("{:?}", answer.seen)
    };
    assert_eq!(received, b"hello");
    assert_eq!(*cause, Some(crate::inbound::framing::ViolationKind::BareLf));
}

#[tokio::test]
async fn a_head_that_is_too_large_is_answered_431() {
    let mut request = b"GET / HTTP/1.1\r\nHost: a\r\nX: ".to_vec();
    request.resize(MAX_HEAD_BYTES, b'x');
    let answer = raw(&request).await;
    assert!(answer.text.starts_with("HTTP/1.1 431 "), "{:?}", answer.text);
    assert_eq!(answer.seen, []);
}

#[tokio::test]
async fn a_head_of_nearly_the_largest_size_is_served() {
    let mut request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX: ".to_vec();
    request.resize(MAX_HEAD_BYTES - 4, b'x');
    request.extend_from_slice(b"\r\n\r\n");
    let answer = raw(&request).await;
    assert!(answer.text.starts_with("HTTP/1.1 200 "), "{:?}", answer.text);
}

#[tokio::test(start_paused = true)]
async fn good_requests_are_served_as_if_nobody_looked() {
    for stream in VALID {
        let expected = harness::unchecked(stream.as_bytes()).await;
        assert!(
            !expected.seen.is_empty() && expected.text.starts_with("HTTP/1."),
            "{stream:?}"
        );
        assert_eq!(in_pieces(&[stream.as_bytes()]).await, expected, "{stream:?}");
        assert_eq!(in_pieces(&bytes(stream)).await, expected, "{stream:?}");
        for cut in 1..stream.len() {
            let (first, second) = stream.as_bytes().split_at(cut);
            assert_eq!(in_pieces(&[first, second]).await, expected, "cut at {cut}: {stream:?}");
        }
    }
}

#[tokio::test]
async fn an_upgraded_connection_carries_any_bytes() {
    let (address, _) = listen().await;
    let mut client = TcpStream::connect(address).await.unwrap();
    let request = "GET /echo HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nearly\n\0";
    client.write_all(request.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let mut read = 0;
    while !answer[..read].ends_with(b"early\n\0") {
        let more = timeout(GENEROUS, client.read(&mut answer[read..]))
            .await
            .unwrap()
            .unwrap();
        assert!(more > 0, "{}", answer[..read].escape_ascii());
        read += more;
    }
    assert!(
        answer.starts_with(b"HTTP/1.1 101 "),
        "{}",
        answer[..read].escape_ascii()
    );
    let bytes = b"\n\r\r\0GET / HTTP/1.1\n\n\xff";
    client.write_all(bytes).await.unwrap();
    client.shutdown().await.unwrap();
    let mut echoed = Vec::new();
    timeout(GENEROUS, client.read_to_end(&mut echoed))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(echoed, bytes);
}

#[tokio::test(start_paused = true)]
async fn an_incomplete_head_ends_the_connection_at_its_deadline() {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n";
    for end in 1..head.len() {
        let (mut client, server) = duplex(1024);
        let (served, service) = on_stream(checked(server, Some(HEAD_TIMEOUT)));
        client.write_all(&head.as_bytes()[..end]).await.unwrap();
        let begun = Instant::now();
        timeout(GENEROUS + HEAD_TIMEOUT, served)
            .await
            .expect("it ends")
            .expect_err("it is cut off");
        assert_eq!(begun.elapsed().as_secs(), HEAD_TIMEOUT.as_secs(), "{end}");
        assert_eq!(service.seen(), [], "{end}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_trickles_does_not_move_the_deadline() {
    let (mut client, server) = duplex(1024);
    let (served, _) = on_stream(checked(server, Some(HEAD_TIMEOUT)));
    let begun = Instant::now();
    let trickle = async {
        client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        while client.write_all(b"A: b\r\n").await.is_ok() {
            sleep(Duration::from_secs(7)).await;
        }
    };
    let (served, ()) = tokio::join!(served, trickle);
    served.expect_err("it is cut off");
    assert!(
        begun.elapsed() < HEAD_TIMEOUT + Duration::from_secs(8),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_has_no_deadline() {
    let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    for sent in ["", "\r\n", request, &format!("{request}\r\n")] {
        let (mut client, server) = duplex(1024);
        let (served, _) = on_stream(checked(server, Some(HEAD_TIMEOUT)));
        client.write_all(sent.as_bytes()).await.unwrap();
        timeout(HEAD_TIMEOUT * 100, served).await.expect_err("it stays open");
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_timeout_a_head_may_take_any_time() {
    let (mut client, server) = duplex(1024);
    let (served, _) = on_stream(checked(server, None));
    client.write_all(b"GET").await.unwrap();
    timeout(HEAD_TIMEOUT * 100, served).await.expect_err("it stays open");
}

#[tokio::test(start_paused = true)]
async fn each_head_has_its_own_deadline() {
    let (mut client, server) = duplex(1024);
    let (served, service) = on_stream(checked(server, Some(HEAD_TIMEOUT)));
    let talk = async {
        client.write_all(b"GET /1 HTTP/1.1\r\n").await.unwrap();
        for _ in 0..3 {
            sleep(HEAD_TIMEOUT - Duration::from_secs(1)).await;
            client.write_all(b"Host: a\r\n\r\nGET /2 HTTP/1.1\r\n").await.unwrap();
        }
        sleep(HEAD_TIMEOUT - Duration::from_secs(1)).await;
        drop(client);
    };
    let (_, ()) = tokio::join!(served, talk);
    assert_eq!(service.seen().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_slow_body_has_no_deadline_here() {
    let (mut client, server) = duplex(1024);
    let (served, service) = on_stream(checked(server, Some(HEAD_TIMEOUT)));
    let talk = async {
        client
            .write_all(b"POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\na")
            .await
            .unwrap();
        sleep(HEAD_TIMEOUT * 10).await;
        client.write_all(b"b").await.unwrap();
        client
    };
    let (_, _client) = tokio::join!(served, talk);
    assert!(
        matches!(&service.seen()[..], [Seen::Request { body, .. }] if body == b"ab"),
        "{:?}",
        service.seen()
    );
}

#[tokio::test(start_paused = true)]
async fn what_follows_a_refused_head_is_taken_off_the_socket() {
    let (mut client, server) = duplex(1 << 20);
    let refused = [&b"GET / HTTP/1.1\nHost: a\r\n\r\n"[..], &[b'x'; 40_000]].concat();
    client.write_all(&refused).await.unwrap();
    let mut io = checked(server, None);
    let mut read = Vec::new();
    io.read_to_end(&mut read).await.unwrap();
    assert_eq!(read, b"GET / HTTP/1.1\0\r\n\r\n");
    io.shutdown().await.unwrap();
    let mut stream = io.stream;
    let mut left = [0; 1];
    timeout(Duration::from_secs(1), stream.read(&mut left))
        .await
        .expect_err("nothing is left");
}

#[tokio::test(start_paused = true)]
async fn closing_one_side_of_a_tunnel_loses_nothing_of_the_other() {
    let (mut client, server) = duplex(1024);
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
        .await
        .unwrap();
    let mut io = checked(server, None);
    assert!(io.read(&mut [0; 1024]).await.unwrap() > 0);
    client.write_all(b"\nhello").await.unwrap();
    io.shutdown().await.unwrap();
    let mut left = [0; 16];
    let read = timeout(GENEROUS, io.read(&mut left)).await.unwrap().unwrap();
    assert_eq!(&left[..read], b"\nhello");
}

#[tokio::test]
async fn writes_stay_vectored() {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    assert!(tokio::io::AsyncWrite::is_write_vectored(&checked(stream, None)));
}

#[tokio::test(start_paused = true)]
async fn fault_b8_a_fin_soon_after_a_request_is_a_half_close() {
    let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let upgrade = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
    let half = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhi";
    let soon = HALF_CLOSE - Duration::from_millis(1);
    for (sent, wait, switches, is_hidden) in [
        (&request[..], Duration::ZERO, false, true),
        (request, soon, false, true),
        (request, HALF_CLOSE, false, false),
        (&request[..10], Duration::ZERO, false, false),
        (b"", Duration::ZERO, false, false),
        (half, Duration::ZERO, false, false),
        (upgrade, Duration::ZERO, false, true),
        (upgrade, HALF_CLOSE, false, false),
        (upgrade, Duration::ZERO, true, false),
    ] {
        let (mut client, server) = duplex(1024);
        let observed = Arc::<Observed>::default();
        let mut io = Http1Io::new(server, None, observed.clone());
        client.write_all(sent).await.unwrap();
        let mut read = [0; 1024];
        if !sent.is_empty() {
            assert_eq!(io.read(&mut read).await.unwrap(), sent.len());
        }
        assert!(io.read(&mut read).now_or_never().is_none());
        if switches {
            observed.switch();
        }
        sleep(wait).await;
        client.shutdown().await.unwrap();
        let end = timeout(GENEROUS, io.read(&mut read)).await;
        assert_eq!(end.is_err(), is_hidden, "{} after {wait:?}", sent.escape_ascii());
    }
}
