//! The envelope around every object (`k8s\0` and a `runtime.Unknown`) and the frames of a watch.

use super::wire::{Item, Reader, put_bytes, put_nested};
use crate::codec::DecodeError;

/// What stored values and bodies in protobuf begin with.
pub const MAGIC: &[u8; 4] = b"k8s\0";

/// `runtime.Unknown`: an object's kind beside its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Envelope<'a> {
    pub api_version: &'a str,
    pub kind: &'a str,
    /// The message.
    pub raw: &'a [u8],
    pub content_encoding: &'a str,
    /// Empty means protobuf.
    pub content_type: &'a str,
}

/// Reads the envelope, which must begin with [`MAGIC`].
///
/// # Errors
/// [`DecodeError::Syntax`] if it does not or is damaged.
pub fn open(bytes: &[u8]) -> Result<Envelope<'_>, DecodeError> {
    let body = bytes.strip_prefix(MAGIC).ok_or_else(|| {
        DecodeError::Syntax(
            "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"
                .to_owned(),
        )
    })?;
    let mut out = Envelope::default();
    let mut reader = Reader::new(body);
    while let Some((number, item)) = reader.next()? {
        match (number, item) {
            (1, Item::Bytes(meta)) => {
                let mut reader = Reader::new(meta);
                while let Some((number, item)) = reader.next()? {
                    match (number, item) {
                        (1, Item::Bytes(b)) => out.api_version = text(b)?,
                        (2, Item::Bytes(b)) => out.kind = text(b)?,
                        _ => {}
                    }
                }
            }
            (2, Item::Bytes(b)) => out.raw = b,
            (3, Item::Bytes(b)) => out.content_encoding = text(b)?,
            (4, Item::Bytes(b)) => out.content_type = text(b)?,
            _ => {}
        }
    }
    Ok(out)
}

fn text(bytes: &[u8]) -> Result<&str, DecodeError> {
    std::str::from_utf8(bytes).map_err(|_| DecodeError::Syntax("proto: invalid UTF-8 string".to_owned()))
}

/// Puts a message into its envelope.
pub fn seal(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len() + api_version.len() + kind.len() + 24);
    out.extend_from_slice(MAGIC);
    let filled: Result<(), std::convert::Infallible> = put_nested(1, &mut out, |out| {
        put_bytes(1, api_version.as_bytes(), out);
        put_bytes(2, kind.as_bytes(), out);
        Ok(())
    });
    let Ok(()) = filled;
    put_bytes(2, raw, &mut out);
    put_bytes(3, b"", &mut out);
    put_bytes(4, b"", &mut out);
    out
}

/// One frame of a watch: four bytes of length, then a bare `WatchEvent` whose object is in its
/// envelope.
pub fn watch_event(event: &str, object: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 4];
    out.reserve(object.len() + event.len() + 16);
    put_bytes(1, event.as_bytes(), &mut out);
    let filled: Result<(), std::convert::Infallible> = put_nested(2, &mut out, |out| {
        put_bytes(1, object, out);
        Ok(())
    });
    let Ok(()) = filled;
    let length = (out.len() - 4) as u32;
    out[..4].copy_from_slice(&length.to_be_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_opens_as_it_was_sealed() {
        let raw = vec![7; 300];
        let sealed = seal("apps/v1", "Deployment", &raw);
        let open = open(&sealed).unwrap();
        assert_eq!((open.api_version, open.kind, open.raw), ("apps/v1", "Deployment", &raw[..]));
        assert!(super::open(b"{}").is_err());
        assert!(super::open(&sealed[..20]).is_err());
        let frame = watch_event("ADDED", &sealed);
        assert_eq!(u32::from_be_bytes(frame[..4].try_into().unwrap()) as usize, frame.len() - 4);
    }
}
