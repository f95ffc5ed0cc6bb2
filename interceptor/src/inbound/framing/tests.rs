#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod reference;

use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop, prop_assert_eq, prop_oneof, proptest};

use super::{Framing, Violation, ViolationKind};

/// All that can be seen from outside. Offsets count from the beginning of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Followed {
    violation: Option<Violation>,
    /// Only said without a violation.
    is_inside_head: bool,
    is_inside_body: bool,
    is_unchecked: bool,
    /// The last complete head asks for an upgrade.
    asks_for_upgrade: bool,
    heads: u64,
}

fn in_pieces<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Followed {
    let mut framing = Framing::new();
    let mut violation = None;
    let mut before = 0;
    'pieces: for piece in pieces {
        let mut rest = piece;
        loop {
            match framing.push(rest) {
                Ok(None) => break,
                Ok(Some((offset, _))) => rest = &rest[offset..],
                Err(found) => {
                    violation = Some(found.kind.at(before + piece.len() - rest.len() + found.offset));
                    break 'pieces;
                }
            }
        }
        before += piece.len();
    }
    Followed {
        violation,
        is_inside_head: violation.is_none() && framing.is_inside_head(),
        is_inside_body: framing.is_inside_body(),
        is_unchecked: framing.is_unchecked(),
        asks_for_upgrade: framing.asks_for_upgrade(),
        heads: framing.heads(),
    }
}

/// The outcome of `bytes`, which must be the same whole, byte by byte, cut in two anywhere, and for the reference.
fn outcome(bytes: &[u8]) -> Followed {
    let whole = in_pieces([bytes]);
    let shown = bytes.escape_ascii();
    assert_eq!(in_pieces(bytes.chunks(1)), whole, "byte by byte: {shown}");
    for cut in 0..=bytes.len() {
        let (first, second) = bytes.split_at(cut);
        assert_eq!(in_pieces([first, second]), whole, "cut at {cut}: {shown}");
    }
    assert_eq!(reference::outcome(bytes), whole, "reference: {shown}");
    whole
}

fn good(text: &str) -> Followed {
    let outcome = outcome(text.as_bytes());
    assert_eq!(outcome.violation, None, "{text:?}");
    outcome
}

/// `marked` has its first bad byte behind a `^`.
fn bad(marked: &str, kind: ViolationKind) {
    let offset = marked.find('^').expect("a mark");
    let text = marked.replacen('^', "", 1);
    assert_eq!(outcome(text.as_bytes()).violation, Some(kind.at(offset)), "{marked:?}");
}

fn between_requests(heads: u64) -> Followed {
    Followed {
        violation: None,
        is_inside_head: false,
        is_inside_body: false,
        is_unchecked: false,
        asks_for_upgrade: false,
        heads,
    }
}

#[test]
fn the_state_of_a_connection_is_small() {
    assert!(size_of::<Framing>() <= 88, "{}", size_of::<Framing>());
}

#[test]
fn requests_without_a_body_follow_each_other() {
    for (text, heads) in [
        ("", 0),
        ("\r\n", 0),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 1),
        ("\r\n\r\nGET / HTTP/1.1\r\nhOST:\r\n\r\n", 1),
        (
            "GET / HTTP/1.0\r\n\r\nGET / HTTP/1.1\r\nAccept: */*\r\nHost: a\r\n\r\n\r\n",
            2,
        ),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", 1),
        (
            "PUT / HTTP/1.1\r\nHost: a\r\n\r\nPATCH / HTTP/1.1\r\nHost: a\r\n\r\n",
            2,
        ),
        ("PRI * HTTP/1.1\r\nHost: a\r\n\r\n", 1),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nHostname: b\r\nHos: c\r\nX-Host: d\r\nContent-Type: t\r\nCookie: Content-Length: 5\r\n\r\n",
            1,
        ),
    ] {
        assert_eq!(good(text), between_requests(heads), "{text:?}");
    }
}

#[test]
fn bodies_of_known_length_are_skipped() {
    for (text, heads) in [
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\na\nb\0cGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            2,
        ),
        ("POST / HTTP/1.1\r\nHost: a\r\nCONTENT-LENGTH:\t 05 \t\r\n\r\nhello", 1),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
            1,
        ),
        ("POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi", 1),
    ] {
        assert_eq!(good(text), between_requests(heads), "{text:?}");
    }
    assert!(good("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhell").is_inside_body);
    assert!(good("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775807\r\n\r\nhell").is_inside_body);
}

#[test]
fn chunked_bodies_are_followed_to_their_end() {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in [
        "0\r\n\r\n",
        "5\r\na\nb\0c\r\n0\r\n\r\n",
        "A;x=y\r\n0123456789\r\n00000000000000a;\t\"\u{e9}\"\r\n0123456789\r\n0\r\nTrailer: x\r\nContent-Length: 7\r\n\r\n",
        "0000000000000001\r\nx\r\n0;last\r\n\r\n",
    ] {
        assert_eq!(good(&format!("{head}{body}")), between_requests(1), "{body:?}");
        assert_eq!(
            good(&format!("{head}{body}GET / HTTP/1.0\r\n\r\n")),
            between_requests(2),
            "{body:?}"
        );
        assert!(
            good(&format!("{head}{}", &body[..body.len() - 1])).is_inside_body,
            "{body:?}"
        );
    }
    good("POST / HTTP/1.1\r\nHost: a\r\ntransfer-ENCODING: \tChunked \r\n\r\n0\r\n\r\n");
}

#[test]
fn a_head_is_incomplete_from_its_first_byte_to_its_blank_line() {
    let head = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    for end in 1..head.len() {
        assert!(good(&head[..end]).is_inside_head, "{end}");
        assert!(good(&format!("\r\n{}", &head[..end])).is_inside_head, "{end}");
        assert!(good(&format!("{head}{}", &head[..end])).is_inside_head, "{end}");
    }
    for text in ["", "\r", "\r\n", head] {
        assert!(!good(text).is_inside_head, "{text:?}");
    }
}

#[test]
fn the_http2_preface_is_no_http1_request() {
    bad("PRI * HTTP/2.0\r^\n\r\nSM\r\n\r\n", ViolationKind::Version);
    bad(
        "GET / HTTP/1.0\r\n\r\nPRI * HTTP/2.0\r^\n\r\nSM\r\n\r\n",
        ViolationKind::Version,
    );
}

#[test]
fn line_ends_are_crlf_and_nothing_else() {
    use ViolationKind::{BareCr, BareLf, Nul, ObsoleteFold};
    for (marked, kind) in [
        ("^\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", BareLf),
        ("\r^GET / HTTP/1.1\r\nHost: a\r\n\r\n", BareCr),
        ("\r^\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", BareCr),
        ("GET / HTTP/1.1^\nHost: a\r\n\r\n", BareLf),
        ("GET / HTTP/1.1\r^\rHost: a\r\n\r\n", BareCr),
        ("GET /\r^ HTTP/1.1\r\nHost: a\r\n\r\n", BareCr),
        ("GET /^\0 HTTP/1.1\r\nHost: a\r\n\r\n", Nul),
        ("GET / HTTP/1.1\r\nHost: a^\n\r\n", BareLf),
        ("GET / HTTP/1.1\r\nHost: a\r\n^\n", BareLf),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r^x", BareCr),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\r^b\r\n\r\n", BareCr),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a^\0b\r\n\r\n", Nul),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n^ b\r\n\r\n", ObsoleteFold),
        ("GET / HTTP/1.1\r\n^\tHost: a\r\n\r\n", ObsoleteFold),
    ] {
        bad(marked, kind);
    }
}

#[test]
fn a_target_is_ascii_and_has_no_fragment() {
    for marked in [
        "GET /^# HTTP/1.1\r\n",
        "GET /?^#",
        "GET /<\"a>?<^\u{e9} HTTP/1.1\r\n",
        "GET ^\u{e9}\r",
    ] {
        bad(marked, ViolationKind::Target);
    }
    good(
        "GET /<a>`?<\">|{}^`\\ HTTP/1.1\r\nHost: a\r\nX: #\r\n\r\n"
            .replace('^', "%")
            .as_str(),
    );
}

#[test]
fn hosts_and_versions_are_counted() {
    use ViolationKind::{MissingHost, RepeatedHost, Version};
    for (marked, kind) in [
        ("GET / HTTP/1.1\r\n\r^\n", MissingHost),
        ("GET / HTTP/1.1\r\nHos: a\r\nHost : a\r\n\r^\n", MissingHost),
        (
            "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nX: Host: a\r\n\r^\n",
            MissingHost,
        ),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r^\n\r\n", RepeatedHost),
        ("GET / HTTP/1.0\r\nHost: a\r\nhost:\r^\n\r\n", RepeatedHost),
        ("GET / HTTP/1.2\r^\n", Version),
        ("GET / HTTP/0.9\r^\n", Version),
        ("GET / HTTP/11\r^\n", Version),
        ("GET / HTTP/1.1 \r^\n", Version),
        ("GET /\r^\n", Version),
        ("1.1\r^\n", Version),
    ] {
        bad(marked, kind);
    }
}

#[test]
fn a_message_has_one_length() {
    use ViolationKind::{
        ConflictingLengths, ContentLength, LengthAndTransferEncoding, TransferEncoding, TransferEncodingInHttp10,
    };
    for (fields, kind) in [
        ("Content-Length:\r^\n", ContentLength),
        ("Content-Length: \r^\n", ContentLength),
        ("Content-Length: +5\r^\n", ContentLength),
        ("Content-Length: -5\r^\n", ContentLength),
        ("Content-Length: 5x\r^\n", ContentLength),
        ("Content-Length: 0x5\r^\n", ContentLength),
        ("Content-Length: 5 5\r^\n", ContentLength),
        ("Content-Length: 5, 5\r^\n", ContentLength),
        ("Content-Length: 5,6\r^\n", ContentLength),
        ("Content-Length: 18446744073709551616\r^\n", ContentLength),
        ("Content-Length: 9223372036854775808\r^\n", ContentLength),
        ("Content-Length: 5\r\nContent-Length: 6\r^\n", ConflictingLengths),
        (
            "Content-Length: 5\r\nX: y\r\ncontent-length: 50\r^\n",
            ConflictingLengths,
        ),
        ("Transfer-Encoding: gzip\r^\n", TransferEncoding),
        ("Transfer-Encoding:\r^\n", TransferEncoding),
        ("Transfer-Encoding: gzip, chunked\r^\n", TransferEncoding),
        ("Transfer-Encoding: chunked, chunked\r^\n", TransferEncoding),
        ("Transfer-Encoding: chunked,\r^\n", TransferEncoding),
        ("Transfer-Encoding: ,chunked\r^\n", TransferEncoding),
        ("Transfer-Encoding: chunke\r^\n", TransferEncoding),
        ("Transfer-Encoding: chunkedd\r^\n", TransferEncoding),
        ("Transfer-Encoding: x chunked\r^\n", TransferEncoding),
        ("Transfer-Encoding: \"chunked\"\r^\n", TransferEncoding),
        ("Transfer-Encoding: \x0bchunked\r^\n", TransferEncoding),
        ("Transfer-Encoding: chunked;q=1\r^\n", TransferEncoding),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r^\n",
            TransferEncoding,
        ),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r^\n",
            TransferEncoding,
        ),
        (
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r^\n",
            LengthAndTransferEncoding,
        ),
        (
            "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r^\n",
            LengthAndTransferEncoding,
        ),
    ] {
        bad(&format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}"), kind);
    }
    bad(
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r^\n",
        TransferEncodingInHttp10,
    );
}

#[test]
fn chunks_are_strict() {
    use ViolationKind::{BareCr, BareLf, ChunkEnd, ChunkExtension, ChunkSize, Nul, ObsoleteFold};
    let long = format!("1;{}^x\r\n", "e".repeat(256));
    for (body, kind) in [
        ("^\r\n", ChunkSize),
        ("^\n", ChunkSize),
        ("^ 5\r\n", ChunkSize),
        ("5^ \r\n", ChunkSize),
        ("^+5\r\n", ChunkSize),
        ("0^x5\r\n", ChunkSize),
        ("5^g\r\n", ChunkSize),
        ("^;x\r\n", ChunkSize),
        ("0000000000000000^5\r\n", ChunkSize),
        ("800000000000000^0\r\n", ChunkSize),
        ("fffffffffffffff^f\r\n", ChunkSize),
        ("5^\nhello\r\n", BareLf),
        ("5\r^hello\r\n", BareCr),
        ("5;x^\nhello\r\n", BareLf),
        ("5;x\r^yhello\r\n", BareCr),
        ("5;x^\0\r\nhello\r\n", ChunkExtension),
        (long.as_str(), ChunkExtension),
        ("5\r\nhello^world\r\n", ChunkEnd),
        ("5\r\nhello^\n0\r\n\r\n", ChunkEnd),
        ("5\r\nhello\r^x", ChunkEnd),
        ("5\r\nhello\r\n^\r\n", ChunkSize),
        ("0\r\n^\n", BareLf),
        ("0\r\n\r^x", BareCr),
        ("0\r\nA: b^\n\r\n", BareLf),
        ("0\r\nA: b\r\n^\n", BareLf),
        ("0\r\nA: b\r\n^ c\r\n\r\n", ObsoleteFold),
        ("0\r\nA: ^\0\r\n\r\n", Nul),
        ("0\r\nA: b\r^c\r\n\r\n", BareCr),
    ] {
        bad(
            &format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nHost: a\r\n\r\n{body}"),
            kind,
        );
    }
}

#[test]
fn nothing_is_checked_after_a_request_to_upgrade() {
    for head in [
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nUPGRADE: h2, websocket\r\nConnection: keep-alive ,\tUpgrade , x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nConnection: Upgrade\r\nUpgrade: h2cx\r\nUpgrade: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nhi",
        "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n0\r\n\r\n",
    ] {
        let unchecked = Followed {
            is_unchecked: true,
            asks_for_upgrade: true,
            ..between_requests(1)
        };
        assert_eq!(good(head), unchecked, "{head:?}");
        assert_eq!(good(&format!("{head}\n\r\r\0")), unchecked, "{head:?}");
        assert!(!good(&head[..head.len() - 1]).is_unchecked, "{head:?}");
    }
}

#[test]
fn what_is_not_a_request_to_upgrade_stays_checked() {
    for head in [
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrades, xupgrade, up grade\r\nUpgrade: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: foo , H2C\t, bar\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\nUpgrade: websocket\r\n\r\n",
        "GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n",
    ] {
        assert_eq!(good(head), between_requests(1), "{head:?}");
        bad(&format!("{head}^\n"), ViolationKind::BareLf);
    }
}

#[test]
fn the_body_of_a_request_to_upgrade_is_checked() {
    let head = "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
    bad(&format!("{head}5^\n"), ViolationKind::BareLf);
}

const FRAGMENTS: &[&str] = &[
    "GET / HTTP/1.1\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n",
    "GET / HTTP/1.0\r\n",
    "GET /<a>?\"#\u{e9} HTTP/1.1\r\n",
    "CONNECT a:1 HTTP/1.1\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "Host: a\r\n",
    "Host",
    "Content-Length: 5\r\n",
    "Content-Length: 11, 11\r\n",
    "content-length:6\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: gzip\r\n",
    "Connection: keep-alive, Upgrade\r\n",
    "Con",
    "Upgrade: websocket\r\n",
    "Upgrade: h2c\r\n",
    "Upgrade: a, h2c\r\n",
    "Accept: */*\r\n",
    "\r\n",
    "\r\n",
    "\r\n\r\n",
    "\n",
    "\r",
    "\0",
    " ",
    "\t",
    ":",
    ",",
    ";",
    "5",
    "hello",
    "5\r\nhello\r\n",
    "a;x=y\r\n0123456789\r\n",
    "0\r\n\r\n",
    "0\r\nA: b\r\n\r\n",
    "ffffffffffffffff\r\n",
];

fn fragment() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => prop::sample::select(FRAGMENTS).prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ]
}

/// Requests that are nearly good: one byte of them may be another, or gone.
fn nearly_good() -> impl Strategy<Value = Vec<u8>> {
    let requests = prop::collection::vec(
        prop_oneof![
            Just("GET / HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n"),
            Just("POST / HTTP/1.1\r\nConnection: close\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"),
            Just("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x\r\nhello\r\n0\r\nA: b\r\n\r\n"),
            Just("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n\0\n\r"),
        ],
        1..4,
    );
    let edit = (
        any::<prop::sample::Index>(),
        prop::option::of(prop::sample::select(&b"\r\n\0 \t:;,5gA#?<\xff"[..])),
    );
    (requests, prop::option::of(edit)).prop_map(|(requests, edit)| {
        let mut bytes = requests.concat().into_bytes();
        if let Some((index, byte)) = edit {
            let at = index.index(bytes.len());
            bytes.splice(at..=at, byte);
        }
        bytes
    })
}

fn stream() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(fragment(), 0..12).prop_map(|fragments| fragments.concat()),
        nearly_good()
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn any_stream_in_any_pieces_is_what_the_reference_says(bytes in stream(), sizes in prop::collection::vec(1..20_usize, 1..8)) {
        let mut sizes = sizes.into_iter().cycle();
        let mut rest = &bytes[..];
        let pieces = std::iter::from_fn(|| {
            let (piece, left) = rest.split_at(sizes.next()?.min(rest.len()));
            rest = left;
            (!piece.is_empty()).then_some(piece)
        });
        prop_assert_eq!(in_pieces(pieces), reference::outcome(&bytes), "{}", bytes.escape_ascii());
        prop_assert_eq!(in_pieces([&bytes[..]]), reference::outcome(&bytes), "{}", bytes.escape_ascii());
    }
}
