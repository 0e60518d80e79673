//! A directory in memory that can lose what was not synced, all of it or page by page, tear it,
//! and flip bits: for tests and simulated worlds.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::file::{LogDir, LogFile};
use super::frame::FRAME_HEADER_BYTES;

/// What a disk writes whole.
const PAGE_BYTES: usize = 512;

#[derive(Clone, Default)]
struct Content {
    /// What a crash leaves.
    durable: Vec<u8>,
    /// What reads see: the durable bytes with the writes since.
    current: Vec<u8>,
    /// Where those writes were.
    dirty: Option<Range<usize>>,
    /// Size the disk allows this directory to reach; shared by all files through `SimDir`.
    limit: Option<Arc<Mutex<Space>>>,
}

/// What is about to happen to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Create,
    Write,
    Sync,
    Remove,
}

type Hook = Arc<dyn Fn(Change) + Send + Sync>;

type Files = Mutex<BTreeMap<String, Arc<SimFile>>>;

#[derive(Default)]
struct Space {
    used: usize,
    max: Option<usize>,
    fail_syncs: bool,
    failed_syncs: u64,
    before: Option<Hook>,
    /// Seed of where the next write goes instead of where it should.
    misdirect: Option<u64>,
    astray: Option<Astray>,
    files: Weak<Files>,
}

/// A write that was said to be done and is not where it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Astray {
    /// The file and the place in it that kept what they had.
    pub file: String,
    pub offset: u64,
    /// Where what comes next is written.
    pub end: u64,
    /// The file and the place where it was done; nowhere, where there are none.
    pub landed: Option<(String, u64)>,
    /// Something behind it in its file has reached the disk since: so its place is a hole, and no torn end.
    pub is_inside: bool,
}

/// The directory; clones are the same one.
#[derive(Clone)]
pub struct SimDir {
    files: Arc<Files>,
    space: Arc<Mutex<Space>>,
}

impl Default for SimDir {
    fn default() -> Self {
        let files = Arc::<Files>::default();
        let space = Space { files: Arc::downgrade(&files), ..Space::default() };
        Self { files, space: Arc::new(Mutex::new(space)) }
    }
}

pub(super) struct SimFile {
    name: String,
    content: Mutex<Content>,
}

impl SimDir {
    /// The directory after a power loss: of each file, what was synced.
    pub fn after_power_loss(&self) -> SimDir {
        self.copied(|content| {
            let durable = content.durable.clone();
            Content { current: durable.clone(), durable, ..Content::default() }
        })
    }

    /// The directory after a power loss that caught some pages of what was not synced before they
    /// were written, and others after: which, is drawn from `seed`.
    pub fn after_power_loss_between_pages(&self, seed: u64) -> SimDir {
        let mut random = StdRng::seed_from_u64(seed);
        self.copied(|content| {
            let mut bytes = content.durable.clone();
            for (i, page) in content.current.chunks(PAGE_BYTES).enumerate() {
                let from = i * PAGE_BYTES;
                let to = from + page.len();
                if content.durable.get(from..to) != Some(page) && random.random_bool(0.5) {
                    bytes.resize(bytes.len().max(to), 0);
                    bytes[from..to].copy_from_slice(page);
                }
            }
            Content { durable: bytes.clone(), current: bytes, ..Content::default() }
        })
    }

    /// The directory after the process was killed: the kernel keeps what was written, and a power
    /// loss can still take what was not synced.
    pub fn after_kill(&self) -> SimDir {
        self.copied(Content::clone)
    }

    fn copied(&self, mut pick: impl FnMut(&Content) -> Content) -> SimDir {
        let copy = SimDir::default();
        // All of one moment: a crash does not show a write without the one that it waited for.
        let files = self.files.lock();
        let contents: Vec<_> = files.iter().map(|(name, file)| (name, file.content.lock())).collect();
        for (name, content) in &contents {
            let content = Content { limit: Some(copy.space.clone()), ..pick(content) };
            copy.insert(name, content);
        }
        {
            let (from, mut to) = (self.space.lock(), copy.space.lock());
            to.astray = from.astray.clone();
            // As much is left as before.
            to.max = from.max.map(|max| to.used + max.saturating_sub(from.used));
        }
        copy
    }

    pub fn put(&self, name: &str, bytes: Vec<u8>) {
        self.insert(
            name,
            Content { durable: bytes.clone(), current: bytes, dirty: None, limit: Some(self.space.clone()) },
        );
    }

    fn insert(&self, name: &str, content: Content) {
        let bytes = content.current.len();
        let file = Arc::new(SimFile { name: name.to_owned(), content: Mutex::new(content) });
        let before = self.files.lock().insert(name.to_owned(), file);
        let freed = before.map_or(0, |file| file.content.lock().current.len());
        let mut space = self.space.lock();
        space.used = (space.used + bytes).saturating_sub(freed);
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        self.files.lock()[name].content.lock().current.clone()
    }

    pub fn names(&self) -> Vec<String> {
        self.files.lock().keys().cloned().collect()
    }

    /// Lets the files together, and what others have taken, grow to `bytes`.
    pub fn set_space(&self, bytes: Option<usize>) {
        self.space.lock().max = bytes;
    }

    /// Has somebody take all of the disk but `bytes`.
    pub fn fill_but(&self, bytes: usize) {
        let mut space = self.space.lock();
        space.max = Some(space.used + bytes);
    }

    /// Takes room for what is on the same disk and no file of this directory; whether there was as much.
    pub fn take_room(&self, bytes: usize) -> bool {
        let mut space = self.space.lock();
        let fits = space.max.is_none_or(|max| space.used + bytes <= max);
        if fits {
            space.used += bytes;
        }
        fits
    }

    /// Has the next write go to another place, drawn from `seed`, or nowhere, and be said to be done.
    /// What is written as zeros goes where it should, and so does a mere header of a frame.
    pub fn misdirect_next(&self, seed: Option<u64>) {
        self.space.lock().misdirect = seed;
    }

    /// What went astray, while the file that lacks it is there.
    pub fn astray(&self) -> Option<Astray> {
        let astray = self.space.lock().astray.clone()?;
        self.files.lock().contains_key(&astray.file).then_some(astray)
    }

    /// Lets syncs fail, or not any more. What one that failed was to bring to the disk does not come there by
    /// the next, as with Linux, which takes those pages for clean.
    pub fn fail_syncs(&self, fail: bool) {
        self.space.lock().fail_syncs = fail;
    }

    /// Whether syncs are to fail, for somebody who has other files on the same disk.
    pub fn fails_syncs(&self) -> bool {
        self.space.lock().fail_syncs
    }

    /// How many syncs of files of this directory have failed.
    pub fn failed_syncs(&self) -> u64 {
        self.space.lock().failed_syncs
    }

    /// Has `hook` called whenever something is about to happen to a file, which has not yet: a crash at
    /// that moment leaves what the directory is then.
    pub fn before(&self, hook: impl Fn(Change) + Send + Sync + 'static) {
        self.space.lock().before = Some(Arc::new(hook));
    }

    /// Flips one bit of what is on the disk, in a place drawn from `seed`; where, unless all is empty.
    pub fn flip_bit(&self, seed: u64) -> Option<String> {
        let mut random = StdRng::seed_from_u64(seed);
        let files = self.files.lock();
        let written = |file: &SimFile| {
            file.content.lock().durable.iter().rposition(|byte| *byte != 0).map(|last| last + 1)
        };
        let written: Vec<_> =
            files.iter().filter_map(|(name, file)| Some((name, file, written(file)?))).collect();
        let (name, file, end) = written.choose(&mut random)?;
        let (at, bit) = (random.random_range(0..*end), random.random_range(0..8));
        let content = &mut *file.content.lock();
        content.durable[at] ^= 1 << bit;
        content.current[at] ^= 1 << bit;
        Some(format!("bit {bit} of byte {at} of {name}"))
    }
}

impl Space {
    fn before(space: &Mutex<Space>, change: Change) {
        // Called without the lock: it may copy the directory.
        let hook = space.lock().before.clone();
        if let Some(hook) = hook {
            hook(change);
        }
    }
}

impl LogDir for SimDir {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.names())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        let files = self.files.lock();
        let file = files.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(file.clone())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        Space::before(&self.space, Change::Create);
        self.put(name, Vec::new());
        self.open(name)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        Space::before(&self.space, Change::Remove);
        let file = self.files.lock().remove(name).ok_or(io::ErrorKind::NotFound)?;
        let freed = file.content.lock().current.len();
        let mut space = self.space.lock();
        space.used = space.used.saturating_sub(freed);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let space = self.space.lock();
        Ok(space.max.map_or(u64::MAX, |max| max.saturating_sub(space.used) as u64))
    }
}

impl SimFile {
    fn before(&self, change: Change) {
        let space = self.content.lock().limit.clone();
        if let Some(space) = space {
            Space::before(&space, change);
        }
    }

    /// Whether this write goes elsewhere, and is done there.
    fn goes_astray(&self, data: &[u8], offset: u64) -> bool {
        if data.len() <= FRAME_HEADER_BYTES || data.iter().all(|byte| *byte == 0) {
            return false;
        }
        // What is there already would not be missed.
        let range = offset as usize..offset as usize + data.len();
        if self.content.lock().current.get(range) == Some(data) {
            return false;
        }
        let Some(space) = self.content.lock().limit.clone() else { return false };
        let (seed, files) = {
            let mut space = space.lock();
            let Some(seed) = space.misdirect.take() else { return false };
            (seed, space.files.clone())
        };
        let mut random = StdRng::seed_from_u64(seed);
        let all: Vec<Arc<SimFile>> =
            files.upgrade().map(|files| files.lock().values().cloned().collect()).unwrap_or_default();
        let landed = all.choose(&mut random).filter(|_| random.random_bool(0.7)).and_then(|file| {
            let content = &mut *file.content.lock();
            let pages = (content.current.len().checked_sub(data.len())? / PAGE_BYTES).max(1);
            let at = random.random_range(0..pages) * PAGE_BYTES;
            let range = at..at + data.len();
            if file.name == self.name && at as u64 == offset || range.end > content.current.len() {
                return None;
            }
            // The disk has done it, whatever is synced.
            content.durable.resize(content.durable.len().max(range.end), 0);
            content.durable[range.clone()].copy_from_slice(data);
            content.current[range].copy_from_slice(data);
            Some((file.name.clone(), at as u64))
        });
        space.lock().astray = Some(Astray {
            file: self.name.clone(),
            offset,
            end: offset + data.len() as u64,
            landed,
            is_inside: false,
        });
        true
    }
}

impl LogFile for SimFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.content.lock().current.len() as u64)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let content = self.content.lock();
        let end = offset as usize + buffer.len();
        let source = content.current.get(offset as usize..end).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(source);
        Ok(())
    }

    fn write_all_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.before(Change::Write);
        if self.goes_astray(data, offset) {
            return Ok(());
        }
        let mut content = self.content.lock();
        let end = offset as usize + data.len();
        if end > content.current.len() {
            let grown = end - content.current.len();
            if let Some(space) = &content.limit {
                let mut space = space.lock();
                if space.max.is_some_and(|max| space.used + grown > max) {
                    return Err(io::ErrorKind::StorageFull.into());
                }
                space.used += grown;
            }
            content.current.resize(end, 0);
        }
        content.current[offset as usize..end].copy_from_slice(data);
        let dirty = content.dirty.take().unwrap_or(offset as usize..end);
        content.dirty = Some(dirty.start.min(offset as usize)..dirty.end.max(end));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.before(Change::Sync);
        let mut content = self.content.lock();
        if let Some(space) = content.limit.clone() {
            let mut space = space.lock();
            if space.fail_syncs {
                space.failed_syncs += 1;
                content.dirty = None;
                return Err(io::Error::other("sync failed"));
            }
            if let Some(astray) = &mut space.astray
                && astray.file == self.name
                && !astray.is_inside
            {
                astray.is_inside = content.dirty.as_ref().is_some_and(|dirty| dirty.end as u64 > astray.end);
            }
        }
        // Most files are much larger than what is written between two syncs.
        let Content { durable, current, dirty, .. } = &mut *content;
        if let Some(dirty) = dirty.take() {
            durable.resize(current.len(), 0);
            durable[dirty.clone()].copy_from_slice(&current[dirty]);
        }
        Ok(())
    }
}
