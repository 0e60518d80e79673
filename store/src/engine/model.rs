//! An engine in memory that forgets what was not flushed: the disk that simulations and tests see.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;

use crate::layout;

use super::{Batch, Cursor, Engine, EngineError, Item, Size, View};

type Map = BTreeMap<Bytes, Bytes>;

/// Name of the one file of a checkpoint.
const FILE: &str = "MODEL";

#[derive(Default)]
pub struct Model {
    inner: RwLock<Inner>,
}

#[derive(Default)]
struct Inner {
    live: Map,
    /// What a crash leaves.
    durable: Map,
    /// Batches written since the last flush, oldest first.
    unflushed: Vec<Batch>,
    fail_writes: Option<EngineError>,
    before: Option<Arc<dyn Fn() + Send + Sync>>,
}

impl Model {
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets every batch since the last flush except the first `keep`, as a process does that is
    /// killed after some of its buffers went to disk by themselves.
    pub fn crash(&self, keep: usize) {
        let inner = &mut *self.inner.write();
        let mut unflushed = std::mem::take(&mut inner.unflushed);
        unflushed.truncate(keep);
        for batch in unflushed {
            apply(&mut inner.durable, &batch);
        }
        inner.live = inner.durable.clone();
    }

    /// Batches that a crash would lose.
    pub fn unflushed(&self) -> usize {
        self.inner.read().unflushed.len()
    }

    /// What a crash now would leave, of the batches since the last flush the first `keep`.
    pub fn crashed(&self, keep: usize) -> Model {
        let copy = Model::new();
        {
            let inner = self.inner.read();
            let other = &mut *copy.inner.write();
            (other.durable, other.unflushed) = (inner.durable.clone(), inner.unflushed.clone());
        }
        copy.crash(keep);
        copy
    }

    /// Has `hook` called whenever something is about to be written or made durable, and is not yet.
    pub fn before(&self, hook: impl Fn() + Send + Sync + 'static) {
        self.inner.write().before = Some(Arc::new(hook));
    }

    fn called_before(&self) {
        // Called without the lock: it may copy the engine.
        let hook = self.inner.read().before.clone();
        if let Some(hook) = hook {
            hook();
        }
    }

    /// Makes every write fail with `error` until called with `None`.
    pub fn fail_writes(&self, error: Option<EngineError>) {
        self.inner.write().fail_writes = error;
    }
}

fn apply(map: &mut Map, batch: &Batch) {
    for (key, value) in batch.changes() {
        match value {
            Some(value) => {
                map.insert(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
            }
            None => {
                map.remove(key);
            }
        }
    }
}

impl Engine for Model {
    fn read(&self, reader: &mut dyn FnMut(&dyn View)) {
        reader(&MapView(&self.inner.read().live));
    }

    fn write(&self, batch: Batch) -> Result<(), EngineError> {
        self.called_before();
        let inner = &mut *self.inner.write();
        if let Some(error) = &inner.fail_writes {
            return Err(error.clone());
        }
        apply(&mut inner.live, &batch);
        inner.unflushed.push(batch);
        Ok(())
    }

    fn flush(&self) -> Result<(), EngineError> {
        self.called_before();
        let inner = &mut *self.inner.write();
        for batch in std::mem::take(&mut inner.unflushed) {
            apply(&mut inner.durable, &batch);
        }
        Ok(())
    }

    fn checkpoint(&self, dir: &Path) -> Result<(), EngineError> {
        std::fs::create_dir(dir)?;
        let mut out = BufWriter::new(File::create(dir.join(FILE))?);
        for (key, value) in &self.inner.read().live {
            for part in [key, value] {
                out.write_all(&(part.len() as u64).to_be_bytes())?;
                out.write_all(part)?;
            }
        }
        out.into_inner().map_err(|e| e.into_error())?.sync_all()?;
        Ok(())
    }

    fn inspect(&self, dir: &Path, reader: &mut dyn FnMut(&dyn View)) -> Result<(), EngineError> {
        reader(&MapView(&load(dir)?));
        Ok(())
    }

    fn install(&self, dir: &Path) -> Result<(), EngineError> {
        let map = load(dir)?;
        self.called_before();
        std::fs::remove_dir_all(dir)?;
        let inner = &mut *self.inner.write();
        inner.unflushed.clear();
        inner.durable = map.clone();
        inner.live = map;
        Ok(())
    }

    fn size(&self) -> Size {
        let inner = self.inner.read();
        let bytes = inner.live.iter().map(|(k, v)| (k.len() + v.len()) as u64).sum();
        Size { disk_bytes: bytes, live_bytes: bytes }
    }
}

fn load(dir: &Path) -> Result<Map, EngineError> {
    let mut file = BufReader::new(File::open(dir.join(FILE))?);
    let mut raw = Vec::new();
    file.read_to_end(&mut raw)?;
    let mut rest = Bytes::from(raw);
    let mut part = || -> Result<Option<Bytes>, EngineError> {
        if rest.is_empty() {
            return Ok(None);
        }
        let damaged = || EngineError::Corrupt("a model checkpoint ends early".into());
        if rest.len() < 8 {
            return Err(damaged());
        }
        let len: [u8; 8] = rest.split_to(8)[..].try_into().map_err(|_| damaged())?;
        let len = usize::try_from(u64::from_be_bytes(len)).map_err(|_| damaged())?;
        if len > rest.len() {
            return Err(damaged());
        }
        Ok(Some(rest.split_to(len)))
    };
    let mut map = Map::new();
    while let Some(key) = part()? {
        let value = part()?.ok_or_else(|| EngineError::Corrupt("a key without value".into()))?;
        map.insert(key, value);
    }
    Ok(map)
}

struct MapView<'a>(&'a Map);

impl View for MapView<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        Ok(self.0.get(key).cloned())
    }

    fn cursor<'v>(&'v self, end: &[u8]) -> Box<dyn Cursor + 'v> {
        Box::new(MapCursor { map: self.0, end: Bytes::copy_from_slice(end), at: None })
    }

    fn version_cursor<'v>(&'v self) -> Box<dyn Cursor + 'v> {
        self.cursor(&[layout::VERSIONS + 1])
    }

    fn next_piece(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }
}

struct MapCursor<'a> {
    map: &'a Map,
    end: Bytes,
    at: Option<std::collections::btree_map::Range<'a, Bytes, Bytes>>,
}

impl Cursor for MapCursor<'_> {
    fn seek(&mut self, key: &[u8]) {
        let bounds: (Bound<&[u8]>, Bound<&[u8]>) = (Bound::Included(key), Bound::Excluded(&self.end));
        self.at = (key < &self.end[..]).then(|| self.map.range::<[u8], _>(bounds));
    }

    fn next(&mut self) {
        if let Some(range) = &mut self.at {
            range.next();
        }
    }

    fn item(&self) -> Result<Option<Item<'_>>, EngineError> {
        // Cloning a map's range copies two positions.
        let first = self.at.as_ref().and_then(|range| range.clone().next());
        Ok(first.map(|(key, value)| (&key[..], &value[..])))
    }
}
