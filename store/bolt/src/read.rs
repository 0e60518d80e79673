//! Reading a database: buckets and what is in them, in order.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use bytes::Bytes;

use crate::page::{
    self, BRANCH, BUCKET, FREELIST, HEADER, Header, LEAF, META_BYTES, Meta, NO_FREELIST, PAGE_SIZE_MAX,
    PAGE_SIZE_MIN, RUN_BYTES_MAX,
};
use crate::{Error, digest};

/// Branch pages above one another; with two children each that is more than any file has.
const DEPTH_MAX: usize = 48;

/// Bytes that can be read anywhere.
pub trait ReadAt {
    fn bytes(&self) -> io::Result<u64>;

    /// Fills `buffer` with what is at `offset`; an error if the bytes end before.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

impl ReadAt for File {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }
}

impl ReadAt for &[u8] {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let from = start.checked_add(buffer.len()).and_then(|end| self.get(start..end));
        buffer.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// A database file that is read. Nobody may write it meanwhile.
pub struct Db<S> {
    source: S,
    meta: Meta,
    /// The file carried a SHA-256, and it is right.
    verified: bool,
}

/// A page with the pages that it runs over into, or the page inside of an inline bucket.
#[derive(Clone)]
pub(crate) struct Page {
    /// The number; of an inline bucket, that of the page it lies in.
    pub(crate) id: u64,
    pub(crate) header: Header,
    pub(crate) data: Bytes,
}

impl<S: ReadAt> Db<S> {
    /// Opens a file; if it carries a SHA-256, reads all of it and compares.
    pub fn open(source: S) -> Result<Self, Error> {
        let len = source.bytes()?;
        let data = digest::verify(&source)?;
        let meta = newest_meta(&source, data)?;
        let page_size = meta.page_size as usize;
        if !page_size.is_power_of_two() || !(PAGE_SIZE_MIN..=PAGE_SIZE_MAX).contains(&page_size) {
            return Err(Error::NotADatabase("its pages have an impossible size"));
        }
        let expected = meta.high_water.checked_mul(u64::from(meta.page_size));
        let expected = expected.ok_or(Error::NotADatabase("it says to be larger than anything"))?;
        if expected > data {
            return Err(Error::Truncated { expected, found: data });
        }
        Ok(Self { source, meta, verified: data < len })
    }

    /// Whether the file carried a SHA-256; without one, changed values are not noticed.
    pub fn is_verified(&self) -> bool {
        self.verified
    }

    /// Bytes of all pages.
    pub fn bytes(&self) -> u64 {
        self.meta.high_water * u64::from(self.meta.page_size)
    }

    /// What the root has: the buckets.
    pub fn root(&self) -> Items<'_, S> {
        Items::new(self, Start::Page(self.meta.root))
    }

    /// What the bucket of that name in the root has, in order of its keys.
    pub fn bucket(&self, name: &[u8]) -> Result<Items<'_, S>, Error> {
        self.root().bucket(name)?.ok_or_else(|| Error::NoBucket(String::from_utf8_lossy(name).into_owned()))
    }

    pub(crate) fn meta(&self) -> &Meta {
        &self.meta
    }

    pub(crate) fn page(&self, id: u64) -> Result<Page, Error> {
        if id < 2 || id >= self.meta.high_water {
            return Err(Error::damaged(id, format!("the file has pages 2 to {}", self.meta.high_water)));
        }
        let size = u64::from(self.meta.page_size);
        let mut head = [0; HEADER];
        self.source.read_at(&mut head, id * size)?;
        let header = Header::parse(&head).ok_or_else(|| Error::damaged(id, "it has no header"))?;
        if header.id != id {
            return Err(Error::damaged(id, format!("it says that it is page {}", header.id)));
        }
        let run = u64::from(header.overflow) + 1;
        if run > self.meta.high_water - id {
            return Err(Error::damaged(id, "it runs over the end of the file"));
        }
        if run * size > RUN_BYTES_MAX {
            return Err(Error::damaged(id, format!("it has more than {RUN_BYTES_MAX} bytes")));
        }
        let mut data = vec![0; (run * size) as usize];
        self.source.read_at(&mut data, id * size)?;
        Ok(Page { id, header, data: data.into() })
    }

    /// Pages that nothing uses; `None` if the file does not say.
    pub(crate) fn freelist(&self) -> Result<Option<(Page, Vec<u64>)>, Error> {
        if self.meta.freelist == NO_FREELIST {
            return Ok(None);
        }
        let page = self.page(self.meta.freelist)?;
        if page.header.flags & FREELIST == 0 {
            return Err(Error::damaged(page.id, "it is not a freelist"));
        }
        let cut = || Error::damaged(page.id, "its list of free pages is longer than it");
        let (mut at, mut count) = (HEADER, u64::from(page.header.count));
        if page.header.count == page::COUNT_ELSEWHERE {
            count = page::u64_at(&page.data, at).ok_or_else(cut)?;
            at += 8;
        }
        let end = count.checked_mul(8).and_then(|bytes| bytes.checked_add(at as u64)).ok_or_else(cut)?;
        let list = usize::try_from(end).ok().and_then(|end| page.data.get(at..end)).ok_or_else(cut)?;
        let ids = list.chunks_exact(8).filter_map(|id| page::u64_at(id, 0)).collect();
        Ok(Some((page, ids)))
    }
}

/// The sound meta page of the newer transaction.
fn newest_meta(source: &impl ReadAt, len: u64) -> Result<Meta, Error> {
    let read = |at: u64| {
        let mut page = [0; HEADER + META_BYTES];
        if at + page.len() as u64 > len {
            return Ok(None);
        }
        source.read_at(&mut page, at).map(|()| Meta::parse(&page))
    };
    let first = read(0)?;
    let mut second = None;
    // Where the second one is follows from the size of a page, which only a sound one tells.
    let mut size = PAGE_SIZE_MIN as u64;
    while second.is_none() && size <= PAGE_SIZE_MAX as u64 {
        second = read(size)?.filter(|meta| u64::from(meta.page_size) == size);
        size *= 2;
    }
    [first, second]
        .into_iter()
        .flatten()
        .max_by_key(|meta| meta.txid)
        .ok_or(Error::NotADatabase("neither of its first two pages describes one"))
}

/// A key of a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub key: Bytes,
    /// Of a bucket within this one: its root, to be opened with [`Items::enter`].
    pub value: Bytes,
    pub is_bucket: bool,
    /// Where it lies.
    pub page: u64,
}

enum Start {
    Page(u64),
    Inline(Page),
}

/// A way through a bucket, in order of its keys. Every page is visited once at most, so that pages
/// that refer to one another in a circle end in an error.
pub struct Items<'d, S> {
    db: &'d Db<S>,
    start: Option<Start>,
    /// Pages above the next item, and the element of each to go on with.
    stack: Vec<(Page, usize)>,
    last_key: Option<Bytes>,
    pages_left: u64,
}

impl<'d, S: ReadAt> Items<'d, S> {
    fn new(db: &'d Db<S>, start: Start) -> Self {
        Self { db, start: Some(start), stack: Vec::new(), last_key: None, pages_left: db.meta.high_water }
    }

    /// The next item. After an error it goes on nowhere.
    #[allow(clippy::should_implement_trait)] // `?` at each step reads better than an iterator of results
    pub fn next(&mut self) -> Result<Option<Item>, Error> {
        let item = self.advance();
        if item.is_err() {
            self.stack.clear();
        }
        item
    }

    /// Jumps to the last item, if none was taken yet.
    pub fn last(mut self) -> Result<Option<Item>, Error> {
        self.begin()?;
        while let Some((page, _)) = self.stack.last() {
            let Some(last) = usize::from(page.header.count).checked_sub(1) else { return Ok(None) };
            if page.header.flags & LEAF != 0 {
                return item(page, last).map(Some);
            }
            let child = page::branch_element(&page.data, page.id, last)?;
            self.push(child)?;
        }
        Ok(None)
    }

    /// Goes on to the bucket of that name within this one; what it has.
    pub fn bucket(mut self, name: &[u8]) -> Result<Option<Items<'d, S>>, Error> {
        while let Some(item) = self.next()? {
            if item.is_bucket && item.key[..] == *name {
                return self.enter(&item).map(Some);
            }
        }
        Ok(None)
    }

    /// What a bucket that was found here has.
    pub fn enter(&self, item: &Item) -> Result<Items<'d, S>, Error> {
        let root = page::u64_at(&item.value, 0).filter(|_| item.is_bucket && item.value.len() >= BUCKET);
        let root = root.ok_or_else(|| Error::damaged(item.page, "a bucket in it is no bucket"))?;
        let start = if root != 0 {
            Start::Page(root)
        } else {
            let data = item.value.slice(BUCKET..);
            let header = Header::parse(&data)
                .ok_or_else(|| Error::damaged(item.page, "a bucket in it has no page"))?;
            Start::Inline(Page { id: item.page, header, data })
        };
        Ok(Items::new(self.db, start))
    }

    pub(crate) fn db(&self) -> &'d Db<S> {
        self.db
    }

    fn begin(&mut self) -> Result<(), Error> {
        match self.start.take() {
            None => Ok(()),
            Some(Start::Page(root)) => self.push(root),
            Some(Start::Inline(page)) if page.header.flags & LEAF == 0 => {
                Err(Error::damaged(page.id, "a bucket within it is no leaf"))
            }
            Some(Start::Inline(page)) => {
                self.stack.push((page, 0));
                Ok(())
            }
        }
    }

    fn push(&mut self, id: u64) -> Result<(), Error> {
        let page = self.db.page(id)?;
        let run = u64::from(page.header.overflow) + 1;
        self.pages_left = self
            .pages_left
            .checked_sub(run)
            .filter(|_| self.stack.len() < DEPTH_MAX)
            .ok_or_else(|| Error::damaged(id, "pages refer to one another in a circle"))?;
        if page.header.flags & (LEAF | BRANCH) == 0 {
            return Err(Error::damaged(id, "it is neither a branch nor a leaf"));
        }
        if page.header.flags & BRANCH != 0 && page.header.count == 0 {
            return Err(Error::damaged(id, "it is a branch without children"));
        }
        self.stack.push((page, 0));
        Ok(())
    }

    fn advance(&mut self) -> Result<Option<Item>, Error> {
        self.begin()?;
        loop {
            let Some((page, next)) = self.stack.last_mut() else { return Ok(None) };
            let i = *next;
            if i >= usize::from(page.header.count) {
                self.stack.pop();
                continue;
            }
            *next += 1;
            if page.header.flags & LEAF == 0 {
                let child = page::branch_element(&page.data, page.id, i)?;
                self.push(child)?;
                continue;
            }
            let item = item(page, i)?;
            if self.last_key.as_ref().is_some_and(|last| *last >= item.key) {
                return Err(Error::damaged(item.page, "its keys are not in order"));
            }
            self.last_key = Some(item.key.clone());
            return Ok(Some(item));
        }
    }
}

fn item(page: &Page, i: usize) -> Result<Item, Error> {
    let element = page::leaf_element(&page.data, page.id, i)?;
    Ok(Item {
        key: page.data.slice(element.key),
        value: page.data.slice(element.value),
        is_bucket: element.is_bucket,
        page: page.id,
    })
}
