//! The SHA-256 that a snapshot carries at its end.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};

use sha2::{Digest, Sha256};

use crate::page::SHA256_BYTES;
use crate::read::ReadAt;
use crate::{Error, PAGE_SIZE};

/// Pages are multiples of it, so what is left over is the digest.
const SECTOR_BYTES: u64 = 512;
const PIECE_BYTES: usize = 64 * PAGE_SIZE;

/// Whether a file of this length carries a digest at its end.
pub fn has_digest(file_bytes: u64) -> bool {
    file_bytes % SECTOR_BYTES == SHA256_BYTES as u64
}

/// Appends the digest to a file that was written, which makes it a snapshot that can be restored.
pub fn append_digest(file: &mut File) -> Result<(), Error> {
    file.seek(SeekFrom::Start(0))?;
    let mut digest = Sha256::new();
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            break;
        }
        digest.update(&piece[..read]);
    }
    Ok(file.write_all(&digest.finalize())?)
}

/// Compares the digest at the end; the bytes before it.
pub(crate) fn verify(source: &impl ReadAt) -> Result<u64, Error> {
    let len = source.bytes()?;
    if !has_digest(len) {
        return Ok(len);
    }
    let data = len - SHA256_BYTES as u64;
    let mut digest = Sha256::new();
    let mut at = 0;
    let mut piece = vec![0; PIECE_BYTES];
    while at < data {
        let n = (data - at).min(PIECE_BYTES as u64) as usize;
        source.read_at(&mut piece[..n], at)?;
        digest.update(&piece[..n]);
        at += n as u64;
    }
    let mut stored = [0; SHA256_BYTES];
    source.read_at(&mut stored, data)?;
    if digest.finalize()[..] != stored { Err(Error::Digest) } else { Ok(data) }
}
