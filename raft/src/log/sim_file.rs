//! A directory in memory that can lose what was not synced, all of it or page by page, tear it,
//! and flip bits: for tests and simulated worlds.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::file::{LogDir, LogFile};

/// What a disk writes whole.
const PAGE_BYTES: usize = 512;

#[derive(Clone, Default)]
struct Content {
    /// What a crash leaves.
    durable: Vec<u8>,
    /// What reads see: the durable bytes with the writes since.
    current: Vec<u8>,
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

#[derive(Default)]
struct Space {
    used: usize,
    max: Option<usize>,
    fail_syncs: bool,
    before: Option<Hook>,
}

/// The directory; clones are the same one.
#[derive(Clone, Default)]
pub struct SimDir {
    files: Arc<Mutex<BTreeMap<String, Arc<SimFile>>>>,
    space: Arc<Mutex<Space>>,
}

#[derive(Default)]
pub(super) struct SimFile(Mutex<Content>);

impl SimDir {
    /// The directory after a power loss: of each file, what was synced.
    pub fn after_power_loss(&self) -> SimDir {
        self.copied(|content| {
            let durable = content.durable.clone();
            Content { current: durable.clone(), durable, limit: None }
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
            Content { durable: bytes.clone(), current: bytes, limit: None }
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
        let contents: Vec<_> = files.iter().map(|(name, file)| (name, file.0.lock())).collect();
        for (name, content) in &contents {
            let content = Content { limit: Some(copy.space.clone()), ..pick(content) };
            copy.files.lock().insert(name.to_string(), Arc::new(SimFile(Mutex::new(content))));
        }
        copy
    }

    pub fn put(&self, name: &str, bytes: Vec<u8>) {
        let content = Content { durable: bytes.clone(), current: bytes, limit: Some(self.space.clone()) };
        self.files.lock().insert(name.into(), Arc::new(SimFile(Mutex::new(content))));
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        self.files.lock()[name].0.lock().current.clone()
    }

    pub fn names(&self) -> Vec<String> {
        self.files.lock().keys().cloned().collect()
    }

    /// Lets the files together grow to `bytes`.
    pub fn set_space(&self, bytes: Option<usize>) {
        self.space.lock().max = bytes;
    }

    pub fn fail_syncs(&self, fail: bool) {
        self.space.lock().fail_syncs = fail;
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
        let written =
            |file: &SimFile| file.0.lock().durable.iter().rposition(|byte| *byte != 0).map(|last| last + 1);
        let written: Vec<_> =
            files.iter().filter_map(|(name, file)| Some((name, file, written(file)?))).collect();
        let (name, file, end) = written.choose(&mut random)?;
        let (at, bit) = (random.random_range(0..*end), random.random_range(0..8));
        let content = &mut *file.0.lock();
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
        let freed = file.0.lock().current.len();
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
        let space = self.0.lock().limit.clone();
        if let Some(space) = space {
            Space::before(&space, change);
        }
    }
}

impl LogFile for SimFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.lock().current.len() as u64)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let content = self.0.lock();
        let end = offset as usize + buffer.len();
        let source = content.current.get(offset as usize..end).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(source);
        Ok(())
    }

    fn write_all_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.before(Change::Write);
        let mut content = self.0.lock();
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
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.before(Change::Sync);
        let mut content = self.0.lock();
        if content.limit.as_ref().is_some_and(|space| space.lock().fail_syncs) {
            return Err(io::Error::other("sync failed"));
        }
        content.durable = content.current.clone();
        Ok(())
    }
}
