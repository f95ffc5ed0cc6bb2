//! The same rules once more, on the whole stream at once and as plainly as they can be said.

#![allow(clippy::too_many_lines, reason = "the reference is read from top to bottom")]

use super::super::{Violation, ViolationKind};
use super::Followed;

/// Why reading stopped.
enum Stop {
    Violation(Violation),
    Unchecked,
    /// The bytes end: nothing, or only empty lines, has come of the next request.
    Idle,
    InHead,
    InBody,
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    heads: u64,
    is_in_body: bool,
    is_upgrade: bool,
}

pub(super) fn outcome(bytes: &[u8]) -> Followed {
    let mut reader = Reader {
        bytes,
        at: 0,
        heads: 0,
        is_in_body: false,
        is_upgrade: false,
    };
    let stop = reader.connection();
    Followed {
        violation: if let Stop::Violation(violation) = stop {
            Some(violation)
        } else {
            None
        },
        is_inside_head: matches!(stop, Stop::InHead),
        is_inside_body: reader.is_in_body,
        is_unchecked: matches!(stop, Stop::Unchecked),
        asks_for_upgrade: reader.is_upgrade,
        heads: reader.heads,
    }
}

impl<'a> Reader<'a> {
    fn connection(&mut self) -> Stop {
        loop {
            if let Err(stop) = self.message() {
                return stop;
            }
        }
    }

    fn message(&mut self) -> Result<(), Stop> {
        while self.bytes[self.at..].starts_with(b"\r\n") {
            self.at += 2;
        }
        let is_begun = self.bytes[self.at..].first().is_some_and(|first| *first != b'\r');
        let out_of_bytes = || if is_begun { Stop::InHead } else { Stop::Idle };
        let mut at = self.at;
        self.judge_target()?;
        let (line, lf) = self.line(&mut at, false, out_of_bytes)?;
        let is_http11 = line.ends_with(b"HTTP/1.1");
        if !is_http11 && !line.ends_with(b"HTTP/1.0") {
            return Err(bad(lf, ViolationKind::Version));
        }
        let mut fields = Vec::new();
        let lf = loop {
            let (field, lf) = self.line(&mut at, true, || Stop::InHead)?;
            if field.is_empty() {
                break lf;
            }
            let colon = field.iter().position(|byte| *byte == b':').unwrap_or(field.len());
            let name = field[..colon].to_ascii_lowercase();
            let value = field.get(colon + 1..).unwrap_or_default().to_ascii_lowercase();
            if colon < field.len() {
                fields.push((name, trim(&value).to_vec()));
                judge_fields(&fields).map_err(|kind| bad(lf, kind))?;
            }
        };
        let named = |name: &[u8]| {
            fields
                .iter()
                .filter(|field| field.0 == name)
                .map(|field| &field.1[..])
                .collect::<Vec<_>>()
        };
        let lengths = named(b"content-length");
        let is_chunked = !named(b"transfer-encoding").is_empty();
        if is_http11 && named(b"host").is_empty() {
            return Err(bad(lf, ViolationKind::MissingHost));
        }
        if is_chunked && !lengths.is_empty() {
            return Err(bad(lf, ViolationKind::LengthAndTransferEncoding));
        }
        if is_chunked && !is_http11 {
            return Err(bad(lf, ViolationKind::TransferEncodingInHttp10));
        }
        let lists = |name: &[u8], option: &[u8]| {
            let values = named(name);
            values
                .iter()
                .any(|value| value.split(|byte| *byte == b',').any(|item| trim(item) == option))
        };
        let is_upgrade = is_http11
            && !named(b"upgrade").is_empty()
            && !lists(b"upgrade", b"h2c")
            && lists(b"connection", b"upgrade");
        let length = lengths.first().map_or(0, |value| number(value).expect("judged"));
        self.heads += 1;
        self.at = at;
        self.is_in_body = true;
        self.is_upgrade = is_upgrade;
        if is_chunked {
            self.chunks()?;
        } else if (self.bytes.len() - self.at) as u64 >= length {
            self.at += usize::try_from(length).expect("it fits");
        } else {
            return Err(Stop::InBody);
        }
        self.is_in_body = false;
        if is_upgrade { Err(Stop::Unchecked) } else { Ok(()) }
    }

    /// What has come of the second word of the line.
    fn judge_target(&self) -> Result<(), Stop> {
        let rest = &self.bytes[self.at..];
        let end = rest
            .iter()
            .position(|byte| b"\r\n\0".contains(byte))
            .unwrap_or(rest.len());
        let Some(start) = rest[..end].iter().position(|byte| *byte == b' ') else {
            return Ok(());
        };
        let target = rest[start + 1..end].iter().take_while(|byte| **byte != b' ');
        match target
            .copied()
            .collect::<Vec<_>>()
            .iter()
            .position(|byte| *byte == b'#' || !byte.is_ascii())
        {
            Some(at) => Err(bad(self.at + start + 1 + at, ViolationKind::Target)),
            None => Ok(()),
        }
    }

    /// The line at `at`, and where its LF is.
    fn line(&self, at: &mut usize, is_field: bool, out_of_bytes: impl Fn() -> Stop) -> Result<(&'a [u8], usize), Stop> {
        let rest = &self.bytes[*at..];
        if is_field && (rest.starts_with(b" ") || rest.starts_with(b"\t")) {
            return Err(bad(*at, ViolationKind::ObsoleteFold));
        }
        let end = rest
            .iter()
            .position(|byte| b"\r\n\0".contains(byte))
            .ok_or_else(&out_of_bytes)?;
        let after = rest.get(end + 1);
        match (rest[end], after) {
            (b'\n', _) => Err(bad(*at + end, ViolationKind::BareLf)),
            (0, _) => Err(bad(*at + end, ViolationKind::Nul)),
            (_, None) => Err(out_of_bytes()),
            (_, Some(b'\n')) => {
                let lf = *at + end + 1;
                *at = lf + 1;
                Ok((&rest[..end], lf))
            }
            (_, Some(_)) => Err(bad(*at + end + 1, ViolationKind::BareCr)),
        }
    }

    fn chunks(&mut self) -> Result<(), Stop> {
        loop {
            let size = self.chunk_size()?;
            if size == 0 {
                break;
            }
            let rest = &self.bytes[self.at..];
            let size = usize::try_from(size)
                .ok()
                .filter(|size| *size < rest.len())
                .ok_or(Stop::InBody)?;
            self.at += size;
            for expected in b"\r\n" {
                self.expect(*expected, ViolationKind::ChunkEnd)?;
            }
        }
        let mut at = self.at;
        while !self.line(&mut at, true, || Stop::InBody)?.0.is_empty() {}
        self.at = at;
        Ok(())
    }

    fn chunk_size(&mut self) -> Result<u64, Stop> {
        let rest = &self.bytes[self.at..];
        let digits = rest.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        if digits >= 16 && rest[0] >= b'8' {
            return Err(bad(self.at + 15, ViolationKind::ChunkSize));
        }
        if digits > 16 {
            return Err(bad(self.at + 16, ViolationKind::ChunkSize));
        }
        let next = *rest.get(digits).ok_or(Stop::InBody)?;
        self.at += digits;
        match next {
            b'\n' if digits > 0 => return Err(bad(self.at, ViolationKind::BareLf)),
            b'\r' if digits > 0 => {}
            b';' if digits > 0 => self.chunk_extension()?,
            _ => return Err(bad(self.at, ViolationKind::ChunkSize)),
        }
        self.expect(b'\r', ViolationKind::ChunkSize)?;
        self.expect(b'\n', ViolationKind::BareCr)?;
        let text = std::str::from_utf8(&rest[..digits]).expect("ASCII");
        Ok(u64::from_str_radix(text, 16).expect("16 digits fit"))
    }

    fn chunk_extension(&mut self) -> Result<(), Stop> {
        let start = self.at + 1;
        let rest = &self.bytes[start..];
        let is_end = |byte: &u8| *byte != b'\t' && byte.is_ascii_control();
        let end = rest.iter().position(is_end).unwrap_or(rest.len());
        if end > 256 {
            return Err(bad(start + 256, ViolationKind::ChunkExtension));
        }
        self.at = start + end;
        match rest.get(end) {
            None => Err(Stop::InBody),
            Some(b'\r') => Ok(()),
            Some(b'\n') => Err(bad(self.at, ViolationKind::BareLf)),
            Some(_) => Err(bad(self.at, ViolationKind::ChunkExtension)),
        }
    }

    fn expect(&mut self, expected: u8, kind: ViolationKind) -> Result<(), Stop> {
        match self.bytes.get(self.at) {
            None => Err(Stop::InBody),
            Some(byte) if *byte == expected => {
                self.at += 1;
                Ok(())
            }
            Some(_) => Err(bad(self.at, kind)),
        }
    }
}

fn bad(offset: usize, kind: ViolationKind) -> Stop {
    Stop::Violation(Violation { offset, kind })
}

/// The fields so far; the last one may be the one too many.
fn judge_fields(fields: &[(Vec<u8>, Vec<u8>)]) -> Result<(), ViolationKind> {
    let named = |name: &[u8]| {
        fields
            .iter()
            .filter(|field| field.0 == name)
            .map(|field| &field.1[..])
            .collect::<Vec<_>>()
    };
    if named(b"host").len() > 1 {
        return Err(ViolationKind::RepeatedHost);
    }
    let lengths = named(b"content-length");
    if lengths.iter().any(|value| number(value).is_none()) {
        return Err(ViolationKind::ContentLength);
    }
    if lengths.iter().any(|value| number(value) != number(lengths[0])) {
        return Err(ViolationKind::ConflictingLengths);
    }
    let codings = named(b"transfer-encoding");
    if codings.len() > 1 || codings.iter().any(|value| value != b"chunked") {
        return Err(ViolationKind::TransferEncoding);
    }
    Ok(())
}

fn number(value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value).ok()?;
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
        .filter(|number| *number < 1 << 63)
}

fn trim(value: &[u8]) -> &[u8] {
    let is_text = |byte: &u8| !matches!(byte, b' ' | b'\t');
    let start = value.iter().position(is_text).unwrap_or(value.len());
    let end = value.iter().rposition(is_text).map_or(start, |last| last + 1);
    &value[start..end]
}
