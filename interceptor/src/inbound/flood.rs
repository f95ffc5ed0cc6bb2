//! Limits for HTTP/2 frames that cost a client nothing and the server work: PING and SETTINGS require a reply,
//! WINDOW_UPDATE and PRIORITY bookkeeping. h2 accepts any number of them, so they are counted before h2 reads them.
//!
//! Each kind has an allowance. It grows back with time, and with each frame of a request or a response, since honest
//! clients acknowledge and adjust in proportion to these.

use tokio::time::Instant;

/// The length of the preface (RFC 9113 section 3.4), which comes before the first frame.
const PREFACE_BYTES: u32 = 24;
/// RFC 9113 section 4.1.
const HEADER_BYTES: usize = 9;
/// RST_STREAM with its error code (RFC 9113 section 6.4).
const RESET_BYTES: usize = HEADER_BYTES + 4;
const RST_STREAM: u8 = 3;
/// With this code h2 resets a stream whose request is malformed (RFC 9113 section 8.1.1).
const PROTOCOL_ERROR: u32 = 1;
/// Control frames allowed for each HEADERS or DATA frame of either side; Envoy allows as many WINDOW_UPDATEs for each
/// DATA frame.
const PER_MESSAGE_FRAME: u32 = 10;
/// Control frames allowed per second without any request; keep-alive needs far fewer.
const PER_SECOND: u32 = 100;
/// Control frames of one kind in a burst; Envoy allows as many.
const MOST: u32 = 1_000;
/// Fewer SETTINGS, since each of them may change all streams.
const MOST_SETTINGS: u32 = 100;

/// Control frames are counted by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameKind {
    Priority,
    Reset,
    Settings,
    Ping,
    WindowUpdate,
    /// RST_STREAM of the server: the answer of h2 to a request that it cannot read.
    SentReset,
    /// DATA without data, and all other kinds.
    Other,
}

impl FrameKind {
    const ALL: [Self; 7] = [
        Self::Priority,
        Self::Reset,
        Self::Settings,
        Self::Ping,
        Self::WindowUpdate,
        Self::SentReset,
        Self::Other,
    ];

    fn most(self) -> u32 {
        match self {
            Self::Settings => MOST_SETTINGS,
            _ => MOST,
        }
    }
}

/// A frame, as far as its header says.
enum Frame {
    /// A part of a request or a response.
    Message,
    /// The rest of a head; h2 limits these itself.
    Continuation,
    /// With its error code.
    Reset(u32),
    Control(FrameKind),
}

/// Follows frame headers in bytes that come in any pieces.
#[derive(Debug, Default)]
struct Frames {
    /// The header of the current frame, and the error code of a reset.
    header: [u8; RESET_BYTES],
    filled: usize,
    /// Bytes before the next header.
    skip: u32,
}

impl Frames {
    fn is_at_boundary(&self) -> bool {
        self.filled == 0 && self.skip == 0
    }

    /// Follows `bytes` up to the end of a frame header or of a frame. Returns their number.
    fn advance(&mut self, bytes: &[u8]) -> (usize, Option<Frame>) {
        if self.skip > 0 {
            let skipped = usize::try_from(self.skip).map_or(bytes.len(), |skip| skip.min(bytes.len()));
            self.skip -= u32::try_from(skipped).unwrap_or(self.skip);
            return (skipped, None);
        }
        let end = if self.filled < HEADER_BYTES {
            HEADER_BYTES
        } else {
            RESET_BYTES
        };
        let taken = (end - self.filled).min(bytes.len());
        self.header[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
        self.filled += taken;
        let [high, middle, low, kind, flags, _, _, _, _, code @ ..] = self.header;
        let length = u32::from_be_bytes([0, high, middle, low]);
        let is_reset = kind == RST_STREAM && length == 4;
        if self.filled < end || (is_reset && end == HEADER_BYTES) {
            return (taken, None);
        }
        self.filled = 0;
        if is_reset {
            return (taken, Some(Frame::Reset(u32::from_be_bytes(code))));
        }
        self.skip = length;
        (taken, Some(frame(kind, flags, length)))
    }
}

/// RFC 9113 section 6.
fn frame(kind: u8, flags: u8, length: u32) -> Frame {
    const END_STREAM: u8 = 1;
    const PADDED: u8 = 8;
    // Padding is at most 255 bytes and its length, so a longer frame has data in any case.
    let may_be_empty = length == 0 || (flags & PADDED != 0 && length <= 256);
    match kind {
        0 if !may_be_empty || flags & END_STREAM != 0 => Frame::Message,
        1 => Frame::Message,
        9 => Frame::Continuation,
        2 => Frame::Control(FrameKind::Priority),
        RST_STREAM => Frame::Control(FrameKind::Reset),
        4 => Frame::Control(FrameKind::Settings),
        6 => Frame::Control(FrameKind::Ping),
        8 => Frame::Control(FrameKind::WindowUpdate),
        _ => Frame::Control(FrameKind::Other),
    }
}

/// Counts the frames of one connection.
#[derive(Debug)]
pub(super) struct FloodGuard {
    received: Frames,
    sent: Frames,
    /// The used part of the allowance of each kind.
    used: [u32; FrameKind::ALL.len()],
    refilled: Instant,
    flood: Option<FrameKind>,
}

impl FloodGuard {
    /// The start of a connection, before the preface.
    pub(super) fn new() -> Self {
        let received = Frames {
            skip: PREFACE_BYTES,
            ..Frames::default()
        };
        Self {
            received,
            sent: Frames::default(),
            used: [0; FrameKind::ALL.len()],
            refilled: Instant::now(),
            flood: None,
        }
    }

    /// The kind of frame that exceeded its allowance.
    pub(super) fn flood(&self) -> Option<FrameKind> {
        self.flood
    }

    /// Follows received bytes. Returns the end of the frame that exceeds an allowance.
    pub(super) fn receive(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while at < bytes.len() {
            let (taken, frame) = self.received.advance(&bytes[at..]);
            at += taken;
            match frame {
                Some(Frame::Message) => self.earn_by_request(),
                Some(Frame::Control(kind)) => self.spend(kind),
                Some(Frame::Reset(_)) => self.spend(FrameKind::Reset),
                Some(Frame::Continuation) | None => {}
            }
            if self.flood.is_some() && self.received.is_at_boundary() {
                return Some(at);
            }
        }
        None
    }

    /// Follows sent bytes. Returns the number of streams that h2 has reset because their requests are malformed.
    pub(super) fn send(&mut self, bytes: &[u8]) -> u64 {
        let (mut at, mut malformed) = (0, 0);
        while at < bytes.len() {
            let (taken, frame) = self.sent.advance(&bytes[at..]);
            at += taken;
            match frame {
                Some(Frame::Message) => self.earn(),
                Some(Frame::Reset(code)) => {
                    self.spend(FrameKind::SentReset);
                    malformed += u64::from(code == PROTOCOL_ERROR);
                }
                _ => {}
            }
        }
        malformed
    }

    /// A request alone earns no reset of the server: each bad request would pay for its own.
    fn earn_by_request(&mut self) {
        let resets = self.used[FrameKind::SentReset as usize];
        self.earn();
        self.used[FrameKind::SentReset as usize] = resets;
    }

    fn earn(&mut self) {
        self.restore(PER_MESSAGE_FRAME);
    }

    fn spend(&mut self, kind: FrameKind) {
        if self.used[kind as usize] >= kind.most() {
            self.refill();
        }
        self.used[kind as usize] += 1;
        if self.used[kind as usize] > kind.most() {
            self.flood = Some(kind);
        }
    }

    fn refill(&mut self) {
        let tenths = self.refilled.elapsed().as_millis() / 100;
        if tenths > 0 {
            self.refilled = Instant::now();
            let tenths = u32::try_from(tenths).unwrap_or(u32::MAX);
            self.restore(tenths.saturating_mul(PER_SECOND / 10));
        }
    }

    fn restore(&mut self, number: u32) {
        for used in &mut self.used {
            *used = used.saturating_sub(number);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::time::Duration;

    use super::*;

    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    /// How many of these frames pass, in pieces of this size.
    fn passed(guard: &mut FloodGuard, frame: &[u8], size: usize) -> usize {
        let bytes = frame.repeat(5_000);
        let mut before = 0;
        for piece in bytes.chunks(size) {
            if let Some(at) = guard.receive(piece) {
                assert_eq!((before + at) % frame.len(), 0, "it is cut between frames");
                return (before + at) / frame.len();
            }
            before += piece.len();
        }
        5_000
    }

    #[tokio::test(start_paused = true)]
    async fn fault_a9_each_kind_of_frame_has_a_limit() {
        for (kind, flags, payload, most) in [
            (0, 0, &[][..], 1_000),
            (0, 8, &[0], 1_000),
            (0, 8, &[255; 256], 1_000),
            (2, 0, &[0; 5], 1_000),
            (3, 0, &[0; 4], 1_000),
            (4, 0, &[], 100),
            (4, 1, &[], 100),
            (6, 0, &[0; 8], 1_000),
            (8, 0, &[0; 4], 1_000),
            (0xfa, 0, &[0; 40], 1_000),
        ] {
            for size in [1, 7, 17, 4096, 1_000_000] {
                let mut guard = FloodGuard::new();
                assert_eq!(guard.receive(PREFACE), None);
                let frame = frame(kind, flags, payload);
                assert_eq!(passed(&mut guard, &frame, size), most + 1, "kind {kind} by {size}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn responses_and_time_earn_resets_of_the_server_and_requests_do_not() {
        let (head, reset) = (frame(1, 5, b"head"), frame(3, 0, &[0; 4]));
        let mut guard = FloodGuard::new();
        guard.receive(PREFACE);
        for _ in 0..10_000 {
            assert_eq!(guard.receive(&head.repeat(2)), None);
            guard.send(&[&reset[..], &head].concat());
            tokio::time::advance(Duration::from_millis(10)).await;
            assert_eq!(guard.receive(&head), None);
            guard.send(&reset);
        }
        for _ in 0..1_000 {
            assert_eq!(guard.receive(&head), None);
            guard.send(&reset);
        }
        // The time that has passed restores the allowance once more.
        for _ in 0..1_100 {
            guard.receive(&head);
            guard.send(&reset);
        }
        assert_eq!(guard.flood(), Some(FrameKind::SentReset));
        assert!(guard.receive(&head).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn requests_responses_and_time_earn_frames() {
        let ping = frame(6, 0, &[0; 8]);
        let mut guard = FloodGuard::new();
        guard.receive(PREFACE);
        for _ in 0..10_000 {
            assert_eq!(guard.receive(&ping.repeat(10)), None);
            guard.send(&frame(0, 0, b"some data"));
            assert_eq!(guard.receive(&ping.repeat(10)), None);
            guard.receive(&frame(1, 4, b"head"));
        }
        for _ in 0..10_000 {
            assert_eq!(guard.receive(&ping.repeat(10)), None);
            tokio::time::advance(Duration::from_millis(100)).await;
        }
        assert!(guard.receive(&ping.repeat(1_100)).is_some());
        assert_eq!(guard.flood(), Some(FrameKind::Ping));
    }
}
