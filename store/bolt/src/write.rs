//! Writing a database from its first page to its last, with a few pages in memory.
//!
//! ```text
//!   put ──► leaf, full? ──► page ──► branch above it, full? ──► page ──► …
//! ```

use std::collections::BTreeMap;
use std::io::{BufWriter, Seek, SeekFrom, Write};

use crate::Error;
use crate::page::{self, BRANCH, ELEMENT, FREELIST, HEADER, Header, IS_BUCKET, LEAF, Meta, PAGE_SIZE};

/// bbolt's own limits.
const KEY_BYTES_MAX: usize = 32_768;
const VALUE_BYTES_MAX: usize = (1 << 31) - 2;
/// Above it bbolt gives a bucket pages of its own.
const INLINE_BYTES_MAX: usize = PAGE_SIZE / 4;
/// The page after the two meta pages.
const FREELIST_PAGE: u64 = 2;
/// bbolt, when it takes keys out of a page, merges it with a neighbour: there must be one.
const BRANCH_CHILDREN_MIN: usize = 2;
const BUFFER_BYTES: usize = 256 << 10;

/// Writes buckets one after the other, in any order; the keys of each must ascend.
pub struct Writer<W: Write + Seek> {
    pages: Pages<W>,
    /// Finished buckets: name → what stands for them in the root.
    buckets: BTreeMap<Vec<u8>, Vec<u8>>,
    open: Option<(Vec<u8>, Tree)>,
}

impl<W: Write + Seek> Writer<W> {
    /// Begins a file at the start of `out`, which is empty.
    pub fn new(out: W) -> Result<Self, Error> {
        let mut pages = Pages { out: BufWriter::with_capacity(BUFFER_BYTES, out), next: 0 };
        // Their place; what they say is known at the end.
        pages.write(&vec![0; 2 * PAGE_SIZE])?;
        let mut freelist = Vec::with_capacity(PAGE_SIZE);
        Header { id: FREELIST_PAGE, flags: FREELIST, count: 0, overflow: 0 }.push(&mut freelist);
        freelist.resize(PAGE_SIZE, 0);
        pages.write(&freelist)?;
        Ok(Self { pages, buckets: BTreeMap::new(), open: None })
    }

    /// Begins the bucket `name`; what is put from now on is in it.
    pub fn bucket(&mut self, name: &[u8]) -> Result<(), Error> {
        self.close_bucket()?;
        if name.is_empty() || name.len() > KEY_BYTES_MAX {
            return Err(Error::Refused("a bucket's name is empty or too long"));
        }
        if self.buckets.contains_key(name) {
            return Err(Error::Refused("a bucket was written already"));
        }
        self.open = Some((name.to_vec(), Tree::default()));
        Ok(())
    }

    /// Adds a key to the open bucket. It must be greater than the one before.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        let Some((_, tree)) = &mut self.open else {
            return Err(Error::Refused("no bucket was begun"));
        };
        tree.put(&mut self.pages, 0, key, value)
    }

    /// Bytes of whole pages written so far.
    pub fn bytes(&self) -> u64 {
        self.pages.next * PAGE_SIZE as u64
    }

    /// Writes what is left and the meta pages. The file is whole, but not synced.
    pub fn finish(mut self) -> Result<W, Error> {
        self.close_bucket()?;
        let mut root = Tree::default();
        for (name, value) in std::mem::take(&mut self.buckets) {
            root.put(&mut self.pages, IS_BUCKET, &name, &value)?;
        }
        let root = root.close(&mut self.pages)?;
        let meta = Meta {
            page_size: PAGE_SIZE as u32,
            root,
            freelist: FREELIST_PAGE,
            high_water: self.pages.next,
            txid: 0,
        };
        let mut out = self.pages.out.into_inner().map_err(|error| error.into_error())?;
        out.seek(SeekFrom::Start(0))?;
        for id in 0..2 {
            out.write_all(&Meta { txid: id, ..meta }.page(id))?;
        }
        out.flush()?;
        Ok(out)
    }

    fn close_bucket(&mut self) -> Result<(), Error> {
        let Some((name, tree)) = self.open.take() else { return Ok(()) };
        let value = match tree.inline() {
            Some(value) => value,
            None => page::bucket(tree.close(&mut self.pages)?).to_vec(),
        };
        self.buckets.insert(name, value);
        Ok(())
    }
}

/// Pages go out in the order of their numbers.
pub(crate) struct Pages<W: Write + Seek> {
    out: BufWriter<W>,
    next: u64,
}

impl<W: Write + Seek> Pages<W> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.out.write_all(bytes)?;
        self.next += (bytes.len() / PAGE_SIZE) as u64;
        Ok(())
    }
}

/// One bucket's pages, built from its leaves upwards.
#[derive(Default)]
pub(crate) struct Tree {
    leaf: Leaf,
    last_key: Vec<u8>,
    /// Children that no page refers to yet; the leaves' parents first.
    levels: Vec<Vec<Child>>,
}

struct Child {
    first_key: Vec<u8>,
    page: u64,
}

#[derive(Default)]
struct Leaf {
    elements: Vec<(u32, u32, u32)>,
    data: Vec<u8>,
}

impl Leaf {
    fn bytes(&self) -> usize {
        HEADER + self.elements.len() * ELEMENT + self.data.len()
    }

    fn encode(&self, id: u64) -> Vec<u8> {
        let mut out = begin(id, LEAF, self.elements.len(), self.bytes());
        let mut at = HEADER + self.elements.len() * ELEMENT;
        for (i, (flags, key, value)) in self.elements.iter().enumerate() {
            let pos = (at - HEADER - i * ELEMENT) as u32;
            for number in [*flags, pos, *key, *value] {
                out.extend_from_slice(&number.to_le_bytes());
            }
            at += (key + value) as usize;
        }
        out.extend_from_slice(&self.data);
        out
    }
}

/// The header of a page that takes so many bytes.
fn begin(id: u64, flags: u16, count: usize, bytes: usize) -> Vec<u8> {
    let overflow = (bytes.div_ceil(PAGE_SIZE) - 1) as u32;
    let mut out = Vec::with_capacity(bytes.next_multiple_of(PAGE_SIZE));
    Header { id, flags, count: count as u16, overflow }.push(&mut out);
    out
}

fn branch_bytes(children: &[Child]) -> usize {
    HEADER + children.iter().map(|child| ELEMENT + child.first_key.len()).sum::<usize>()
}

impl Tree {
    pub(crate) fn put<W: Write + Seek>(
        &mut self,
        pages: &mut Pages<W>,
        flags: u32,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), Error> {
        if key.is_empty() || key.len() > KEY_BYTES_MAX || value.len() > VALUE_BYTES_MAX {
            return Err(Error::Refused("a key is empty, or a key or value is too long"));
        }
        if key <= &self.last_key[..] {
            return Err(Error::Refused("keys do not ascend"));
        }
        let more = ELEMENT + key.len() + value.len();
        if !self.leaf.elements.is_empty() && self.leaf.bytes() + more > PAGE_SIZE {
            self.flush_leaf(pages)?;
        }
        self.last_key.clear();
        self.last_key.extend_from_slice(key);
        self.leaf.elements.push((flags, key.len() as u32, value.len() as u32));
        self.leaf.data.extend_from_slice(key);
        self.leaf.data.extend_from_slice(value);
        Ok(())
    }

    fn flush_leaf<W: Write + Seek>(&mut self, pages: &mut Pages<W>) -> Result<(), Error> {
        let page = pages.next;
        let key_len = self.leaf.elements.first().map_or(0, |(_, key, _)| *key as usize);
        let first_key = self.leaf.data[..key_len].to_vec();
        let mut bytes = self.leaf.encode(page);
        bytes.resize(bytes.len().next_multiple_of(PAGE_SIZE), 0);
        pages.write(&bytes)?;
        self.leaf.elements.clear();
        self.leaf.data.clear();
        // A large value leaves no large buffer behind.
        self.leaf.data.shrink_to(PAGE_SIZE);
        self.add(pages, 0, Child { first_key, page })
    }

    /// Adds a child to a level, and writes a branch page when there is one that is full and enough
    /// is left for a next one.
    fn add<W: Write + Seek>(
        &mut self,
        pages: &mut Pages<W>,
        level: usize,
        child: Child,
    ) -> Result<(), Error> {
        if level == self.levels.len() {
            self.levels.push(Vec::new());
        }
        self.levels[level].push(child);
        let children = &self.levels[level];
        let mut bytes = HEADER;
        let mut fit = 0;
        for child in children {
            bytes += ELEMENT + child.first_key.len();
            if bytes > PAGE_SIZE && fit >= BRANCH_CHILDREN_MIN {
                break;
            }
            fit += 1;
        }
        if children.len() < fit + BRANCH_CHILDREN_MIN {
            return Ok(());
        }
        let rest = self.levels[level].split_off(fit);
        let full = std::mem::replace(&mut self.levels[level], rest);
        let parent = write_branch(pages, full)?;
        self.add(pages, level + 1, parent)
    }

    /// The bucket with all its content as a value in its parent's leaf, if it is small.
    fn inline(&self) -> Option<Vec<u8>> {
        if !self.levels.is_empty() || self.leaf.bytes() > INLINE_BYTES_MAX {
            return None;
        }
        Some([&page::bucket(0)[..], &self.leaf.encode(0)].concat())
    }

    /// Writes what is left; the number of the root's page.
    pub(crate) fn close<W: Write + Seek>(mut self, pages: &mut Pages<W>) -> Result<u64, Error> {
        if !self.leaf.elements.is_empty() || self.levels.is_empty() {
            self.flush_leaf(pages)?;
        }
        let mut level = 0;
        loop {
            let mut children = std::mem::take(&mut self.levels[level]);
            if level + 1 == self.levels.len() && children.len() == 1 {
                return Ok(children[0].page);
            }
            // One child more than fits may have waited for company.
            if branch_bytes(&children) > PAGE_SIZE && children.len() >= 2 * BRANCH_CHILDREN_MIN {
                let second = children.split_off(children.len() / 2);
                let parent = write_branch(pages, children)?;
                self.add(pages, level + 1, parent)?;
                children = second;
            }
            let parent = write_branch(pages, children)?;
            self.add(pages, level + 1, parent)?;
            level += 1;
        }
    }
}

fn write_branch<W: Write + Seek>(pages: &mut Pages<W>, children: Vec<Child>) -> Result<Child, Error> {
    let page = pages.next;
    let bytes = branch_bytes(&children);
    let mut out = begin(page, BRANCH, children.len(), bytes);
    let mut at = HEADER + children.len() * ELEMENT;
    for (i, child) in children.iter().enumerate() {
        out.extend_from_slice(&((at - HEADER - i * ELEMENT) as u32).to_le_bytes());
        out.extend_from_slice(&(child.first_key.len() as u32).to_le_bytes());
        out.extend_from_slice(&child.page.to_le_bytes());
        at += child.first_key.len();
    }
    for child in &children {
        out.extend_from_slice(&child.first_key);
    }
    out.resize(bytes.next_multiple_of(PAGE_SIZE), 0);
    pages.write(&out)?;
    let first = children.into_iter().next().ok_or(Error::Refused("a branch without children"))?;
    Ok(Child { first_key: first.first_key, page })
}

#[cfg(test)]
#[path = "write_test.rs"]
mod tests;
