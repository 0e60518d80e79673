//! Varints, tags and lengths.

use crate::codec::DecodeError;

pub(super) const VARINT: u32 = 0;
pub(super) const FIXED64: u32 = 1;
pub(super) const BYTES: u32 = 2;
const FIXED32: u32 = 5;

pub(super) fn put_varint(mut n: u64, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

pub(super) fn put_tag(number: u32, wire: u32, out: &mut Vec<u8>) {
    put_varint(u64::from(number << 3 | wire), out);
}

pub(super) fn put_bytes(number: u32, bytes: &[u8], out: &mut Vec<u8>) {
    put_tag(number, BYTES, out);
    put_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

pub(super) fn put_int(number: u32, n: i64, out: &mut Vec<u8>) {
    put_tag(number, VARINT, out);
    put_varint(n as u64, out);
}

/// Writes a length-delimited field whose content `fill` appends.
pub(super) fn put_nested<E>(
    number: u32,
    out: &mut Vec<u8>,
    fill: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    put_tag(number, BYTES, out);
    // Most nested messages are shorter than 128 bytes: one byte for the length, more if need be.
    let at = out.len();
    out.push(0);
    fill(out)?;
    let length = out.len() - at - 1;
    if length < 0x80 {
        out[at] = length as u8;
    } else {
        let mut prefix = Vec::with_capacity(5);
        put_varint(length as u64, &mut prefix);
        out.splice(at..=at, prefix);
    }
    Ok(())
}

/// One field as it lies on the wire.
pub(super) enum Item<'a> {
    Int(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
}

pub(super) struct Reader<'a> {
    bytes: &'a [u8],
}

fn truncated() -> DecodeError {
    DecodeError::Syntax("unexpected EOF".to_owned())
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut n = 0u64;
        for shift in (0..70).step_by(7) {
            let (&b, rest) = self.bytes.split_first().ok_or_else(truncated)?;
            self.bytes = rest;
            if shift < 64 {
                n |= u64::from(b & 0x7f) << shift;
            }
            if b < 0x80 {
                return Ok(n);
            }
        }
        Err(DecodeError::Syntax("proto: integer overflow".to_owned()))
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], DecodeError> {
        if n > self.bytes.len() {
            return Err(truncated());
        }
        let (head, rest) = self.bytes.split_at(n);
        self.bytes = rest;
        Ok(head)
    }

    /// The next field's number and content; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<(u32, Item<'a>)>, DecodeError> {
        if self.bytes.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).unwrap_or(0);
        if number == 0 {
            return Err(DecodeError::Syntax(format!("proto: illegal tag {number} (wire type {})", tag & 7)));
        }
        let item = match tag as u32 & 7 {
            VARINT => Item::Int(self.varint()?),
            FIXED64 => Item::Fixed64(u64::from_le_bytes(self.take(8)?.try_into().expect("eight bytes"))),
            BYTES => {
                let n = usize::try_from(self.varint()?).map_err(|_| truncated())?;
                Item::Bytes(self.take(n)?)
            }
            FIXED32 => {
                Item::Int(u64::from(u32::from_le_bytes(self.take(4)?.try_into().expect("four bytes"))))
            }
            other => return Err(DecodeError::Syntax(format!("proto: illegal wireType {other}"))),
        };
        Ok(Some((number, item)))
    }
}
