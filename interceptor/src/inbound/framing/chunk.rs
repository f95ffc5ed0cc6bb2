//! The lines around the data of a chunked body (RFC 9112 section 7.1), byte by byte.

use super::ViolationKind;

const MAX_DIGITS: u8 = 16;
/// One more digit makes this at most 2^63 - 1, which a signed number holds.
const MAX_PREFIX: u64 = i64::MAX as u64 >> 4;
const MAX_EXTENSION: u16 = 256;

/// What the next byte of a chunked body belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chunk {
    Size {
        digits: u8,
        size: u64,
    },
    Extension {
        length: u16,
        size: u64,
    },
    SizeLf {
        size: u64,
    },
    /// The number of bytes of data that are missing.
    Data(u64),
    DataCr,
    DataLf,
}

impl Default for Chunk {
    fn default() -> Self {
        Self::Size { digits: 0, size: 0 }
    }
}

impl Chunk {
    pub(super) fn after_data(remaining: u64) -> Self {
        if remaining == 0 {
            Self::DataCr
        } else {
            Self::Data(remaining)
        }
    }

    /// What comes after `byte`; `None` after the line of the last chunk: the trailers.
    pub(super) fn next(self, byte: u8) -> Result<Option<Self>, ViolationKind> {
        let next = match (self, byte) {
            (Self::Size { digits, size }, _) => Self::after_size(digits, size, byte)?,
            (Self::Extension { size, .. }, b'\r') => Self::SizeLf { size },
            (Self::Extension { length, size }, _) => Self::after_extension(length, size, byte)?,
            (Self::SizeLf { size: 0 }, b'\n') => return Ok(None),
            (Self::SizeLf { size }, b'\n') => Self::Data(size),
            (Self::SizeLf { .. }, _) => return Err(ViolationKind::BareCr),
            (Self::Data(remaining), _) => Self::after_data(remaining.saturating_sub(1)),
            (Self::DataCr, b'\r') => Self::DataLf,
            (Self::DataLf, b'\n') => Self::default(),
            (Self::DataCr | Self::DataLf, _) => return Err(ViolationKind::ChunkEnd),
        };
        Ok(Some(next))
    }

    fn after_size(digits: u8, size: u64, byte: u8) -> Result<Self, ViolationKind> {
        match (char::from(byte).to_digit(16), byte) {
            (Some(digit), _) if digits < MAX_DIGITS && size <= MAX_PREFIX => Ok(Self::Size {
                digits: digits + 1,
                size: size << 4 | u64::from(digit),
            }),
            (None, b';') if digits > 0 => Ok(Self::Extension { length: 0, size }),
            (None, b'\r') if digits > 0 => Ok(Self::SizeLf { size }),
            (None, b'\n') if digits > 0 => Err(ViolationKind::BareLf),
            _ => Err(ViolationKind::ChunkSize),
        }
    }

    fn after_extension(length: u16, size: u64, byte: u8) -> Result<Self, ViolationKind> {
        match byte {
            b'\n' => Err(ViolationKind::BareLf),
            _ if length == MAX_EXTENSION => Err(ViolationKind::ChunkExtension),
            b'\t' => Ok(Self::Extension {
                length: length + 1,
                size,
            }),
            _ if byte.is_ascii_control() => Err(ViolationKind::ChunkExtension),
            _ => Ok(Self::Extension {
                length: length + 1,
                size,
            }),
        }
    }
}
