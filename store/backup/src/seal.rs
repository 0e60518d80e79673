//! Sealing: bytes that only the key's holder can read, in which nothing can be changed, swapped or
//! cut without being noticed.
//!
//! ```text
//!   header: "TRIREMEB" · format u8 · mode u8 · 0 u16 · chunk bytes u32 · key id [8] · salt [16]
//!   chunk:  length u32, its top bit set in the last one · ciphertext · tag [16]
//! ```
//!
//! Each object has a key of its own, derived from the backup's key and the salt, so that a chunk's
//! number is nonce enough. What is authenticated beside a chunk: the header, the object's name, the
//! chunk's number and whether it is the last. Without a key, a hash of the same stands in the tag's
//! place: it finds damage, and no forger.

use std::io::{self, Read, Write};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::rand::SecureRandom;

use crate::error::Error;
use crate::key::{Key, Length};

const MAGIC: &[u8; 8] = b"TRIREMEB";
const FORMAT: u8 = 1;
const PLAIN: u8 = 0;
const SEALED: u8 = 1;
const HEADER_BYTES: usize = 40;
const TAG_BYTES: usize = 16;
const CHUNK_BYTES: usize = 256 << 10;
/// What a reader takes: a damaged header cannot ask for much memory.
const CHUNK_BYTES_MAX: usize = 16 << 20;
const LAST: u32 = 1 << 31;

enum Cipher {
    Plain,
    Sealed(Box<LessSafeKey>),
}

impl Cipher {
    fn new(key: &Key, salt: &[u8]) -> Self {
        let mut bytes = [0; 32];
        let info = [&b"object"[..], salt];
        let expanded = key.secret.expand(&info, Length(bytes.len()));
        expanded.and_then(|okm| okm.fill(&mut bytes)).expect("the length is right");
        Self::Sealed(Box::new(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &bytes).expect("32 bytes"))))
    }

    /// Appends the tag, having encrypted in place.
    fn seal(&self, n: u64, aad: &[u8], chunk: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::Plain => {
                let tag = hash(aad, chunk);
                chunk.extend_from_slice(&tag);
                Ok(())
            }
            Self::Sealed(key) => key
                .seal_in_place_append_tag(nonce(n), Aad::from(aad), chunk)
                .map_err(|_| io::Error::other("a chunk was not encrypted")),
        }
    }

    /// Decrypts in place and cuts the tag; `false` if it is not what was sealed.
    fn open(&self, n: u64, aad: &[u8], chunk: &mut Vec<u8>) -> bool {
        let Some(len) = chunk.len().checked_sub(TAG_BYTES) else { return false };
        let intact = match self {
            Self::Plain => hash(aad, &chunk[..len]) == chunk[len..],
            Self::Sealed(key) => key.open_in_place(nonce(n), Aad::from(aad), chunk).is_ok(),
        };
        chunk.truncate(len);
        intact
    }
}

fn hash(aad: &[u8], chunk: &[u8]) -> [u8; TAG_BYTES] {
    let mut hash = xxhash_rust::xxh3::Xxh3::new();
    hash.update(aad);
    hash.update(chunk);
    hash.digest128().to_be_bytes()
}

fn nonce(n: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&n.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

fn aad(header: &[u8; HEADER_BYTES], name: &str, n: u64, last: bool) -> Vec<u8> {
    let mut aad = Vec::with_capacity(HEADER_BYTES + 9 + name.len());
    aad.extend_from_slice(header);
    aad.extend_from_slice(&n.to_be_bytes());
    aad.push(u8::from(last));
    aad.extend_from_slice(name.as_bytes());
    aad
}

/// Seals what is written; [`SealWriter::finish`] must be called.
pub(crate) struct SealWriter<W> {
    out: W,
    cipher: Cipher,
    header: [u8; HEADER_BYTES],
    name: String,
    chunk: Vec<u8>,
    n: u64,
}

impl<W: Write> SealWriter<W> {
    pub(crate) fn new(mut out: W, key: Option<&Key>, name: &str) -> io::Result<Self> {
        let mut header = [0; HEADER_BYTES];
        header[..8].copy_from_slice(MAGIC);
        header[8] = FORMAT;
        header[12..16].copy_from_slice(&(CHUNK_BYTES as u32).to_be_bytes());
        let cipher = match key {
            None => Cipher::Plain,
            Some(key) => {
                header[9] = SEALED;
                header[16..24].copy_from_slice(&key.id);
                let random = ring::rand::SystemRandom::new();
                random.fill(&mut header[24..]).map_err(|_| io::Error::other("there is no randomness"))?;
                Cipher::new(key, &header[24..])
            }
        };
        out.write_all(&header)?;
        let chunk = Vec::with_capacity(CHUNK_BYTES + TAG_BYTES);
        Ok(Self { out, cipher, header, name: name.into(), chunk, n: 0 })
    }

    fn put(&mut self, last: bool) -> io::Result<()> {
        let aad = aad(&self.header, &self.name, self.n, last);
        self.cipher.seal(self.n, &aad, &mut self.chunk)?;
        let length = self.chunk.len() as u32 | if last { LAST } else { 0 };
        self.out.write_all(&length.to_be_bytes())?;
        self.out.write_all(&self.chunk)?;
        self.chunk.clear();
        self.n += 1;
        Ok(())
    }

    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.put(true)?;
        self.out.flush()?;
        Ok(self.out)
    }
}

impl<W: Write> Write for SealWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.chunk.len() == CHUNK_BYTES {
            self.put(false)?;
        }
        let taken = bytes.len().min(CHUNK_BYTES - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads what was sealed. An error of kind `InvalidData` says in words what is wrong.
pub(crate) struct OpenReader<R> {
    input: R,
    cipher: Cipher,
    header: [u8; HEADER_BYTES],
    chunk_bytes: usize,
    name: String,
    chunk: Vec<u8>,
    read: usize,
    n: u64,
    ended: bool,
}

impl<R: Read> OpenReader<R> {
    /// `name` is what the object was sealed under.
    pub(crate) fn new(mut input: R, key: Option<&Key>, name: &str) -> Result<Self, Error> {
        let object = || name.to_owned();
        let mut header = [0; HEADER_BYTES];
        input.read_exact(&mut header).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Error::damaged(name, "it is cut short"),
            _ => Error::Io { what: object(), error },
        })?;
        if &header[..8] != MAGIC {
            return Err(Error::damaged(name, "it does not begin as a backup does"));
        }
        if header[8] != FORMAT {
            return Err(Error::Newer { object: object(), format: header[8] });
        }
        let chunk_bytes = u32::from_be_bytes(header[12..16].try_into().expect("4 bytes")) as usize;
        if chunk_bytes == 0 || chunk_bytes > CHUNK_BYTES_MAX {
            return Err(Error::damaged(name, "its chunks cannot be of that size"));
        }
        let cipher = match (header[9], key) {
            (PLAIN, None) => Cipher::Plain,
            (PLAIN, Some(_)) => return Err(Error::NotSealed { object: object() }),
            (SEALED, None) => return Err(Error::KeyNeeded { object: object() }),
            (SEALED, Some(key)) if header[16..24] != key.id => {
                return Err(Error::WrongKey { object: object() });
            }
            (SEALED, Some(key)) => Cipher::new(key, &header[24..]),
            _ => return Err(Error::damaged(name, "it is sealed in an unknown way")),
        };
        let name = object();
        Ok(Self { input, cipher, header, chunk_bytes, name, chunk: Vec::new(), read: 0, n: 0, ended: false })
    }

    fn next(&mut self) -> io::Result<()> {
        let cut = |error: io::Error| match error.kind() {
            io::ErrorKind::UnexpectedEof => invalid("it is cut short"),
            _ => error,
        };
        let mut length = [0; 4];
        self.input.read_exact(&mut length).map_err(cut)?;
        let length = u32::from_be_bytes(length);
        let (last, length) = (length & LAST != 0, (length & !LAST) as usize);
        if length > self.chunk_bytes + TAG_BYTES {
            return Err(invalid(&format!("chunk {} is too long", self.n)));
        }
        self.chunk.resize(length, 0);
        self.input.read_exact(&mut self.chunk).map_err(cut)?;
        let aad = aad(&self.header, &self.name, self.n, last);
        if !self.cipher.open(self.n, &aad, &mut self.chunk) {
            return Err(invalid(&format!("chunk {} is not what was written there", self.n)));
        }
        if last {
            self.ended = true;
            if self.input.read(&mut [0])? != 0 {
                return Err(invalid("bytes follow its last chunk"));
            }
        }
        (self.read, self.n) = (0, self.n + 1);
        Ok(())
    }
}

fn invalid(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.to_owned())
}

impl<R: Read> Read for OpenReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.read == self.chunk.len() {
            if self.ended {
                return Ok(0);
            }
            self.next()?;
        }
        let count = out.len().min(self.chunk.len() - self.read);
        out[..count].copy_from_slice(&self.chunk[self.read..self.read + count]);
        self.read += count;
        Ok(count)
    }
}

/// A whole object, sealed.
pub(crate) fn seal(key: Option<&Key>, name: &str, content: &[u8]) -> io::Result<Vec<u8>> {
    let out = Vec::with_capacity(content.len() + content.len() / 4096 + 256);
    let mut writer = SealWriter::new(out, key, name)?;
    writer.write_all(content)?;
    writer.finish()
}

/// What was sealed as a whole object.
pub(crate) fn open(key: Option<&Key>, name: &str, sealed: &[u8]) -> Result<Vec<u8>, Error> {
    let mut reader = OpenReader::new(sealed, key, name)?;
    let mut content = Vec::with_capacity(sealed.len());
    reader.read_to_end(&mut content).map_err(|error| Error::damaged(name, error))?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content() -> Vec<u8> {
        (0..CHUNK_BYTES * 2 + 77).map(|n| (n * 7 % 251) as u8).collect()
    }

    #[test]
    fn every_change_is_noticed() {
        let key = Key::from_bytes([7; 32]);
        for key in [None, Some(&key)] {
            for content in [Vec::new(), content()] {
                let sealed = seal(key, "a", &content).unwrap();
                assert_eq!(open(key, "a", &sealed).unwrap(), content);
                assert!(open(key, "b", &sealed).is_err(), "another object's name was accepted");
                let step = (sealed.len() / 500).max(1);
                for at in (0..HEADER_BYTES + 8).chain((0..sealed.len()).step_by(step)) {
                    let mut changed = sealed.clone();
                    changed[at] ^= 0x10;
                    assert!(open(key, "a", &changed).is_err(), "a change of byte {at} was not noticed");
                    assert!(open(key, "a", &sealed[..at]).is_err(), "a cut at {at} was not noticed");
                }
                let longer = [&sealed[..], &[0]].concat();
                assert!(open(key, "a", &longer).is_err(), "an added byte was not noticed");
            }
        }
    }

    #[test]
    fn a_cut_between_chunks_is_noticed_and_so_are_swapped_chunks() {
        let key = Key::from_bytes([7; 32]);
        let sealed = seal(Some(&key), "a", &content()).unwrap();
        let chunk = 4 + CHUNK_BYTES + TAG_BYTES;
        let cut = open(Some(&key), "a", &sealed[..HEADER_BYTES + chunk]).unwrap_err().to_string();
        assert!(cut.contains("cut short"), "{cut}");
        let mut swapped = sealed.clone();
        let (first, second) = swapped[HEADER_BYTES..].split_at_mut(chunk);
        first.swap_with_slice(&mut second[..chunk]);
        let refused = open(Some(&key), "a", &swapped).unwrap_err().to_string();
        assert!(refused.contains("chunk 0"), "{refused}");
    }

    #[test]
    fn keys_are_told_apart() {
        let (one, other) = (Key::from_bytes([1; 32]), Key::from_bytes([2; 32]));
        let sealed = seal(Some(&one), "a", b"x").unwrap();
        assert!(matches!(open(Some(&other), "a", &sealed), Err(Error::WrongKey { .. })));
        assert!(matches!(open(None, "a", &sealed), Err(Error::KeyNeeded { .. })));
        let plain = seal(None, "a", b"x").unwrap();
        assert!(matches!(open(Some(&one), "a", &plain), Err(Error::NotSealed { .. })));
        let again = seal(Some(&one), "a", b"x").unwrap();
        assert_ne!(sealed, again, "the same content gave the same bytes");
    }
}
