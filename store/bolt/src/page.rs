//! The bytes of pages: headers, meta pages, elements.
//!
//! Numbers are little-endian, as bbolt leaves them on every machine that etcd supports.

use crate::Error;

/// Size of the pages that are written here, in bytes.
pub const PAGE_SIZE: usize = 4096;
/// Sizes of pages that are read: bbolt takes what the machine has that makes the file.
pub(crate) const PAGE_SIZE_MIN: usize = 1024;
pub(crate) const PAGE_SIZE_MAX: usize = 1 << 20;
/// A page and the pages it runs over into, at most: keeps a damaged length from taking all memory.
/// etcd's requests are 1.5 MiB by default, and a page holds few values of that size.
pub(crate) const RUN_BYTES_MAX: u64 = 256 << 20;
pub const SHA256_BYTES: usize = 32;

pub(crate) const HEADER: usize = 16;
/// An element of a branch and one of a leaf take the same.
pub(crate) const ELEMENT: usize = 16;
/// Root and sequence: what a bucket is in its parent's leaf.
pub(crate) const BUCKET: usize = 16;
pub(crate) const META_BYTES: usize = 64;

pub(crate) const BRANCH: u16 = 0x01;
pub(crate) const LEAF: u16 = 0x02;
pub(crate) const META: u16 = 0x04;
pub(crate) const FREELIST: u16 = 0x10;
/// In a leaf's element: the value is a bucket.
pub(crate) const IS_BUCKET: u32 = 0x01;

const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;
/// The freelist was not written: what is free is what nothing refers to.
pub(crate) const NO_FREELIST: u64 = u64::MAX;
/// Of a freelist's header: the count did not fit and is the first number of the list.
pub(crate) const COUNT_ELSEWHERE: u16 = 0xFFFF;

pub(crate) fn u16_at(data: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*data.get(at..)?.first_chunk()?))
}

pub(crate) fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*data.get(at..)?.first_chunk()?))
}

pub(crate) fn u64_at(data: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*data.get(at..)?.first_chunk()?))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) id: u64,
    pub(crate) flags: u16,
    pub(crate) count: u16,
    pub(crate) overflow: u32,
}

impl Header {
    pub(crate) fn parse(data: &[u8]) -> Option<Self> {
        Some(Self {
            id: u64_at(data, 0)?,
            flags: u16_at(data, 8)?,
            count: u16_at(data, 10)?,
            overflow: u32_at(data, 12)?,
        })
    }

    pub(crate) fn push(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.id.to_le_bytes());
        out.extend_from_slice(&self.flags.to_le_bytes());
        out.extend_from_slice(&self.count.to_le_bytes());
        out.extend_from_slice(&self.overflow.to_le_bytes());
    }
}

/// What a meta page says of the whole file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) page_size: u32,
    pub(crate) root: u64,
    pub(crate) freelist: u64,
    /// The first page number that was never used.
    pub(crate) high_water: u64,
    pub(crate) txid: u64,
}

impl Meta {
    /// Of a page's bytes; `None` if it is none, or is damaged.
    pub(crate) fn parse(page: &[u8]) -> Option<Self> {
        let data = page.get(HEADER..HEADER + META_BYTES)?;
        let checksum = u64_at(data, META_BYTES - 8)?;
        let sound = u32_at(data, 0)? == MAGIC
            && u32_at(data, 4)? == VERSION
            && fnv1a(&data[..META_BYTES - 8]) == checksum
            && Header::parse(page)?.flags & META != 0;
        if !sound {
            return None;
        }
        Some(Self {
            page_size: u32_at(data, 8)?,
            root: u64_at(data, 16)?,
            freelist: u64_at(data, 32)?,
            high_water: u64_at(data, 40)?,
            txid: u64_at(data, 48)?,
        })
    }

    /// The whole page of that number.
    pub(crate) fn page(self, id: u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(PAGE_SIZE);
        Header { id, flags: META, count: 0, overflow: 0 }.push(&mut out);
        out.extend_from_slice(&MAGIC.to_le_bytes());
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&self.page_size.to_le_bytes());
        out.extend_from_slice(&0u32.to_le_bytes());
        out.extend_from_slice(&bucket(self.root));
        for number in [self.freelist, self.high_water, self.txid] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let checksum = fnv1a(&out[HEADER..]);
        out.extend_from_slice(&checksum.to_le_bytes());
        out.resize(PAGE_SIZE, 0);
        out
    }
}

/// A bucket in its parent's leaf: where its root is, 0 if it follows right here.
pub(crate) fn bucket(root: u64) -> [u8; BUCKET] {
    let mut out = [0; BUCKET];
    out[..8].copy_from_slice(&root.to_le_bytes());
    out
}

/// FNV-1a of 64 bits: what bbolt checks its meta pages by.
fn fnv1a(data: &[u8]) -> u64 {
    data.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// A key and value of a leaf, as places in its bytes.
pub(crate) struct LeafElement {
    pub(crate) is_bucket: bool,
    pub(crate) key: std::ops::Range<usize>,
    pub(crate) value: std::ops::Range<usize>,
}

/// Element `i` of the leaf in `data`, whose header says that it has so many. `page` is for errors.
pub(crate) fn leaf_element(data: &[u8], page: u64, i: usize) -> Result<LeafElement, Error> {
    let at = HEADER + i * ELEMENT;
    let parse = || {
        let pos = at.checked_add(u32_at(data, at + 4)? as usize)?;
        let middle = pos.checked_add(u32_at(data, at + 8)? as usize)?;
        let end = middle.checked_add(u32_at(data, at + 12)? as usize)?;
        let is_bucket = u32_at(data, at)? & IS_BUCKET != 0;
        (end <= data.len()).then_some(LeafElement { is_bucket, key: pos..middle, value: middle..end })
    };
    parse().ok_or_else(|| Error::damaged(page, format!("its element {i} lies outside of it")))
}

/// The page that element `i` of a branch leads to.
pub(crate) fn branch_element(data: &[u8], page: u64, i: usize) -> Result<u64, Error> {
    let at = HEADER + i * ELEMENT;
    u64_at(data, at + 8).ok_or_else(|| Error::damaged(page, format!("its element {i} lies outside of it")))
}
