//! The byte encoding of commands, outcomes and stored records: varints and length-prefixed bytes.
//!
//! Deterministic: one value has one encoding, so that encoded bytes can be hashed and compared.

use bytes::Bytes;

/// Why bytes could not be read back. A replica that meets one in its log stops.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("{what}: ends early")]
    Truncated { what: &'static str },
    #[error("{what}: version {version} is not known to this build")]
    UnknownVersion { what: &'static str, version: u8 },
    #[error("{what}: tag {tag} is not known to this build")]
    UnknownTag { what: &'static str, tag: u8 },
    #[error("{what}: {reason}")]
    Malformed { what: &'static str, reason: &'static str },
}

/// Appends values to a buffer.
#[derive(Default)]
pub(crate) struct Writer {
    out: Vec<u8>,
}

impl Writer {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self { out: Vec::with_capacity(bytes) }
    }

    pub(crate) fn u8(&mut self, value: u8) {
        self.out.push(value);
    }

    pub(crate) fn bool(&mut self, value: bool) {
        self.out.push(u8::from(value));
    }

    pub(crate) fn u64(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.out.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
    }

    /// Zigzag, so that small negative numbers stay short.
    pub(crate) fn i64(&mut self, value: i64) {
        self.u64(((value << 1) ^ (value >> 63)) as u64);
    }

    pub(crate) fn u128(&mut self, value: u128) {
        self.out.extend_from_slice(&value.to_be_bytes());
    }

    pub(crate) fn bytes(&mut self, value: &[u8]) {
        self.u64(value.len() as u64);
        self.out.extend_from_slice(value);
    }

    /// Bytes without a length: only as the last field.
    pub(crate) fn tail(&mut self, value: &[u8]) {
        self.out.extend_from_slice(value);
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.out
    }

    pub(crate) fn clear(&mut self) {
        self.out.clear();
    }

    pub(crate) fn finish(self) -> Bytes {
        self.out.into()
    }
}

/// Takes values off the front of a buffer; byte fields share its memory.
pub(crate) struct Reader {
    rest: Bytes,
    what: &'static str,
}

impl Reader {
    pub(crate) fn new(bytes: Bytes, what: &'static str) -> Self {
        Self { rest: bytes, what }
    }

    fn truncated(&self) -> DecodeError {
        DecodeError::Truncated { what: self.what }
    }

    pub(crate) fn malformed(&self, reason: &'static str) -> DecodeError {
        DecodeError::Malformed { what: self.what, reason }
    }

    pub(crate) fn unknown_tag(&self, tag: u8) -> DecodeError {
        DecodeError::UnknownTag { what: self.what, tag }
    }

    pub(crate) fn unknown_version(&self, version: u8) -> DecodeError {
        DecodeError::UnknownVersion { what: self.what, version }
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        let first = *self.rest.first().ok_or_else(|| self.truncated())?;
        self.skip(1);
        Ok(first)
    }

    fn skip(&mut self, n: usize) {
        bytes::Buf::advance(&mut self.rest, n);
    }

    pub(crate) fn bool(&mut self) -> Result<bool, DecodeError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.malformed("a boolean is neither 0 nor 1")),
        }
    }

    pub(crate) fn u64(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0u64;
        for (i, byte) in self.rest.iter().take(10).enumerate() {
            if i == 9 && *byte > 1 {
                return Err(self.malformed("a number has more than 64 bits"));
            }
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                // A padded number would give one value two encodings, and two hashes.
                if *byte == 0 && i > 0 {
                    return Err(self.malformed("a number is padded"));
                }
                self.skip(i + 1);
                return Ok(value);
            }
        }
        Err(self.truncated())
    }

    pub(crate) fn i64(&mut self) -> Result<i64, DecodeError> {
        let raw = self.u64()?;
        Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }

    pub(crate) fn u128(&mut self) -> Result<u128, DecodeError> {
        let raw: [u8; 16] =
            self.rest.get(..16).and_then(|s| s.try_into().ok()).ok_or_else(|| self.truncated())?;
        self.skip(16);
        Ok(u128::from_be_bytes(raw))
    }

    pub(crate) fn bytes(&mut self) -> Result<Bytes, DecodeError> {
        let len = usize::try_from(self.u64()?).map_err(|_| self.truncated())?;
        if len > self.rest.len() {
            return Err(self.truncated());
        }
        Ok(self.rest.split_to(len))
    }

    pub(crate) fn string(&mut self) -> Result<String, DecodeError> {
        let raw = self.bytes()?;
        String::from_utf8(raw.into()).map_err(|_| self.malformed("text is not UTF-8"))
    }

    /// A count of items that each take at least one byte: never more than the bytes left, so that
    /// a damaged count cannot reserve memory.
    pub(crate) fn count(&mut self) -> Result<usize, DecodeError> {
        let n = usize::try_from(self.u64()?).map_err(|_| self.truncated())?;
        if n > self.rest.len() { Err(self.truncated()) } else { Ok(n) }
    }

    pub(crate) fn end(&self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.malformed("bytes are left over")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        for n in [0, 1, -1, 63, -64, 64, 1 << 40, i64::MAX, i64::MIN] {
            let mut w = Writer::default();
            w.i64(n);
            w.u64(n as u64);
            let mut r = Reader::new(w.finish(), "test");
            assert_eq!((r.i64(), r.u64(), r.end()), (Ok(n), Ok(n as u64), Ok(())));
        }
    }

    #[test]
    fn damage_is_an_error() {
        let read = |b: &'static [u8]| Reader::new(Bytes::from_static(b), "test");
        assert!(read(&[0x80]).u64().is_err());
        assert!(read(&[0x80, 0x00]).u64().is_err(), "padded");
        assert!(read(&[0xff; 11]).u64().is_err());
        assert!(read(&[5, 1, 2]).bytes().is_err());
        assert!(read(&[9]).count().is_err());
        assert!(read(&[2]).bool().is_err());
    }
}
