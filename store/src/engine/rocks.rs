//! The state on RocksDB: one column family, no write-ahead log.
//!
//! ```text
//!   <dir>/ACTIVE        names the directory in use; swapped by rename
//!   <dir>/state-<n>/    a RocksDB
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::RwLock;
use rocksdb::checkpoint::Checkpoint;
use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, DB, DBCompressionType, DBRawIterator, Env, ErrorKind,
    FlushOptions, IngestExternalFileOptions, Options, Range, ReadOptions, SliceTransform, Snapshot,
    SstFileWriter, WriteBatch, WriteOptions,
};

use crate::layout;

use super::{Batch, Cursor, Engine, EngineError, Fill, Item, Records, Size, View};

/// Names the directory in use.
const ACTIVE: &str = "ACTIVE";

/// Memory and threads of one database.
#[derive(Clone, Debug)]
pub struct RocksOptions {
    /// Bytes collected in memory before they are written to a file.
    pub write_buffer_bytes: usize,
    /// Such buffers at once, the one being filled included; when all are full, writes wait.
    pub write_buffers_max: i32,
    /// Bytes of blocks held for reads, index and filter blocks included.
    pub block_cache_bytes: usize,
    /// Threads that flush and compact.
    pub background_threads: i32,
    pub open_files_max: i32,
}

impl Default for RocksOptions {
    fn default() -> Self {
        Self {
            write_buffer_bytes: 24 << 20,
            write_buffers_max: 2,
            block_cache_bytes: 32 << 20,
            background_threads: 2,
            open_files_max: 512,
        }
    }
}

/// Blocks that a check of the disk keeps while it reads the next.
const CHECK_CACHE_BYTES: usize = 1 << 20;
/// What a check of the disk reads at once.
const CHECK_AHEAD_BYTES: usize = 1 << 20;

/// Where the search for the last key of a piece gives up: indices shorten keys, and few are as long.
const PIECE_KEY_BYTES_MAX: usize = 4096;

impl RocksOptions {
    fn build(&self, cache: &Cache) -> Result<Options, EngineError> {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_paranoid_checks(true);
        options.set_write_buffer_size(self.write_buffer_bytes);
        options.set_max_write_buffer_number(self.write_buffers_max);
        let mut env = Env::new()?;
        env.set_background_threads(self.background_threads);
        options.set_env(&env);
        options.set_max_background_jobs(self.background_threads);
        options.set_max_open_files(self.open_files_max);
        options.set_compression_type(DBCompressionType::Lz4);
        options.set_level_compaction_dynamic_level_bytes(true);
        options.set_bytes_per_sync(1 << 20);
        options.set_max_compaction_bytes(COMPACTION_BYTES_MAX);
        // Statistics and rotated logs of its own serve nobody here.
        options.set_stats_dump_period_sec(0);
        options.set_stats_persist_period_sec(0);
        options.set_keep_log_file_num(2);
        options.set_max_log_file_size(1 << 20);
        // A version is looked for in every file and buffer that may have its key: the filters are
        // of what precedes the revision.
        options.set_prefix_extractor(SliceTransform::create("trireme.key", of_version, Some(is_version)));
        options.set_memtable_prefix_bloom_ratio(0.05);
        let mut table = BlockBasedOptions::default();
        table.set_bloom_filter(10.0, false);
        table.set_whole_key_filtering(false);
        table.set_block_cache(cache);
        // Index and filters count against the cache, in small blocks: a whole index of a large file
        // does not stay in a small cache, and to unpack it costs more than a read.
        table.set_cache_index_and_filter_blocks(true);
        table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
        table.set_partition_filters(true);
        table.set_metadata_block_size(4 << 10);
        table.set_pin_top_level_index_and_filter(true);
        table.set_block_size(8 << 10);
        table.set_format_version(5);
        options.set_block_based_table_factory(&table);
        Ok(options)
    }
}

/// RocksDB's number of levels.
const LEVELS: usize = 7;
/// Its options for when tables that were written from memory are merged with others, and for when there
/// are levels between those and the last: as they are by default, and while space is given back.
const MERGE_AS_EVER: (&str, &str) = ("level0_file_num_compaction_trigger", "4");
const MERGE_EACH: (&str, &str) = ("level0_file_num_compaction_trigger", "1");
const LEVELS_AS_EVER: (&str, &str) = ("max_bytes_for_level_base", "268435456");
const LAST_LEVEL_ALONE: (&str, &str) = ("max_bytes_for_level_base", "1099511627776");
/// Bytes of one compaction at most, where RocksDB can choose: what it writes is beside what it read until
/// it is done.
const COMPACTION_BYTES_MAX: u64 = 512 << 20;

/// What all versions of a key begin with.
fn of_version(key: &[u8]) -> &[u8] {
    &key[..key.len() - REVISION_BYTES]
}

fn is_version(key: &[u8]) -> bool {
    key.first() == Some(&layout::VERSIONS) && key.len() > REVISION_BYTES
}

/// The inverted revision at the end of a version's key.
const REVISION_BYTES: usize = 8;

impl From<rocksdb::Error> for EngineError {
    fn from(error: rocksdb::Error) -> Self {
        let text = error.to_string();
        // The C interface carries no subcode for a full disk, only the words of `strerror`.
        if text.contains("No space left") || text.contains("NoSpace") || text.contains("quota exceeded") {
            return EngineError::NoSpace;
        }
        match error.kind() {
            ErrorKind::Corruption => EngineError::Corrupt(text),
            _ => EngineError::Io(text),
        }
    }
}

pub struct RocksEngine {
    dir: PathBuf,
    cache: Cache,
    options: RocksOptions,
    open: RwLock<Arc<Open>>,
    /// The step of an install after which a test lets the process die.
    #[cfg(test)]
    pub(crate) die_after: std::sync::atomic::AtomicUsize,
}

struct Open {
    db: DB,
    generation: u64,
    /// Whether the last level alone is wanted.
    draining: AtomicBool,
}

impl Open {
    fn new(db: DB, generation: u64) -> Arc<Self> {
        Arc::new(Self { db, generation, draining: AtomicBool::new(false) })
    }
}

impl RocksEngine {
    /// Opens or creates the database under `dir` and removes what an interrupted install left.
    pub fn open(dir: &Path, options: RocksOptions) -> Result<Self, EngineError> {
        fs::create_dir_all(dir)?;
        let cache = Cache::new_lru_cache(options.block_cache_bytes);
        let generation = match active(dir)? {
            Some(generation) => generation,
            None => {
                point_to(dir, 1)?;
                1
            }
        };
        remove_others(dir, generation)?;
        let db = DB::open(&options.build(&cache)?, state_dir(dir, generation))?;
        sync_dir(dir)?;
        Ok(Self {
            dir: dir.into(),
            cache,
            options,
            open: RwLock::new(Open::new(db, generation)),
            #[cfg(test)]
            die_after: Default::default(),
        })
    }

    /// Opens a copy, in the new directory `to`, of what an engine that does not run keeps in `from`,
    /// of which nothing is changed. Tables are linked where they can be, the rest is copied.
    pub fn open_copy(from: &Path, to: &Path, options: RocksOptions) -> Result<Self, EngineError> {
        let generation =
            active(from)?.ok_or_else(|| EngineError::Io(format!("{} holds no state", from.display())))?;
        fs::create_dir_all(to)?;
        link_tables(&state_dir(from, generation), &state_dir(to, 1))?;
        point_to(to, 1)?;
        Self::open(to, options)
    }

    /// Makes a copy of `from`, a directory of one database such as a checkpoint, in the new directory
    /// `to`. Tables are linked where they can be, the rest is copied.
    pub fn copy_checkpoint(from: &Path, to: &Path) -> Result<(), EngineError> {
        link_tables(from, to)
    }

    /// Shows what can be read of a state that is damaged and that no engine runs on, through a copy in
    /// the new directory `to`: of `from` nothing is changed. The second view is of the tables alone in
    /// which nothing is damaged. Where a block is, the first shows nothing of what other tables have
    /// there; the second does, with no word of what the damaged ones changed of it.
    ///
    /// # Errors
    /// Where the list of tables, or its name, cannot be read: then nothing can.
    pub fn inspect_damaged(
        from: &Path,
        to: &Path,
        options: RocksOptions,
        reader: &mut dyn FnMut(&dyn View, &dyn View),
    ) -> Result<(), EngineError> {
        let generation =
            active(from)?.ok_or_else(|| EngineError::Io(format!("{} holds no state", from.display())))?;
        let (all, whole) = (to.join("all"), to.join("whole"));
        fs::create_dir_all(to)?;
        link_tables(&state_dir(from, generation), &all)?;
        let mut options = options.build(&Cache::new_lru_cache(options.block_cache_bytes))?;
        // Tables that cannot be opened are damaged pieces like others. Through the kernel's cache: each
        // look for a key reads again what of them cannot be kept.
        options.set_paranoid_checks(false);
        let db = DB::open_for_read_only(&options, &all, false)?;
        let view = RocksView { ahead_bytes: CHECK_AHEAD_BYTES, ..RocksView::new(&db) };
        match whole_tables(&db, &options, &all, &whole) {
            Ok(whole) => reader(&view, &RocksView::new(&whole)),
            Err(error) => {
                tracing::warn!(%error, "the whole tables cannot be read apart from those that are damaged");
                reader(&view, &view);
            }
        }
        Ok(())
    }

    /// Steps of an install, counted from 1, for tests that crash after each.
    fn reached(&self, step: usize) -> Result<(), EngineError> {
        #[cfg(test)]
        if self.die_after.load(std::sync::atomic::Ordering::Relaxed) == step {
            return Err(EngineError::Io(format!("died after step {step}")));
        }
        let _ = step;
        Ok(())
    }

    /// Makes `dir` the state of `generation`, in `target`, and opens it.
    fn make_active(&self, dir: &Path, target: &Path, generation: u64) -> Result<DB, EngineError> {
        adopt(dir, target)?;
        self.reached(1)?;
        sync_dir(&self.dir)?;
        self.reached(2)?;
        let db = DB::open(&self.options.build(&self.cache)?, target)?;
        self.reached(3)?;
        point_to(&self.dir, generation)?;
        Ok(db)
    }

    fn current(&self) -> Arc<Open> {
        self.open.read().clone()
    }
}

fn state_dir(dir: &Path, generation: u64) -> PathBuf {
    dir.join(format!("state-{generation}"))
}

/// The generation that `ACTIVE` names; `None` in a new directory.
fn active(dir: &Path) -> Result<Option<u64>, EngineError> {
    let text = match fs::read_to_string(dir.join(ACTIVE)) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let generation = text.trim().strip_prefix("state-").and_then(|n| n.parse().ok());
    generation
        .map(Some)
        .ok_or_else(|| EngineError::Corrupt(format!("{ACTIVE} does not name a state: {text:?}")))
}

fn point_to(dir: &Path, generation: u64) -> Result<(), EngineError> {
    let new = dir.join("ACTIVE.new");
    fs::write(&new, format!("state-{generation}\n"))?;
    fs::File::open(&new)?.sync_all()?;
    fs::rename(&new, dir.join(ACTIVE))?;
    sync_dir(dir)
}

fn sync_dir(dir: &Path) -> Result<(), EngineError> {
    Ok(fs::File::open(dir)?.sync_all()?)
}

/// Directories of an install that a crash interrupted, before or after the pointer was swapped.
fn remove_others(dir: &Path, generation: u64) -> Result<(), EngineError> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        if name.starts_with("state-") && path != state_dir(dir, generation) {
            fs::remove_dir_all(&path)?;
        }
    }
    Ok(())
}

/// Moves a directory, over a file system's border if need be, and syncs all of it.
fn adopt(from: &Path, to: &Path) -> Result<(), EngineError> {
    match fs::rename(from, to) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::CrossesDevices => {
            fs::create_dir(to)?;
            for entry in fs::read_dir(from)? {
                let entry = entry?;
                fs::copy(entry.path(), to.join(entry.file_name()))?;
            }
            fs::remove_dir_all(from)?;
        }
        Err(error) => return Err(error.into()),
    }
    for entry in fs::read_dir(to)? {
        fs::File::open(entry?.path())?.sync_all()?;
    }
    sync_dir(to)
}

/// Tables never change; what else a database writes to may.
fn link_tables(from: &Path, to: &Path) -> Result<(), EngineError> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let name = entry.file_name();
        // Another process's lock, and its log, are not its data.
        if name == "LOCK" || name.to_string_lossy().starts_with("LOG") {
            continue;
        }
        let is_table = source.extension().is_some_and(|ending| ending == "sst");
        if !is_table || fs::hard_link(&source, &target).is_err() {
            fs::copy(&source, &target)?;
        }
    }
    Ok(())
}

/// Reads from the disk itself, where it can.
fn open_for_check(options: &mut Options, dir: &Path) -> Result<DB, EngineError> {
    options.set_use_direct_reads(true);
    Ok(DB::open_for_read_only(options, dir, false).or_else(|_| {
        // Not every file system has direct reads.
        options.set_use_direct_reads(false);
        DB::open_for_read_only(options, dir, false)
    })?)
}

/// A database in the new directory `to` of those tables of another in which nothing is damaged.
fn whole_tables(db: &DB, options: &Options, dir: &Path, to: &Path) -> Result<DB, EngineError> {
    fs::create_dir(to)?;
    for table in db.live_files()? {
        let name = table.name.trim_start_matches('/');
        if dir.join(name).exists() {
            fs::hard_link(dir.join(name), to.join(name))?;
        }
    }
    // It reads each, and leaves out those that it cannot read to their end.
    DB::repair(options, to)?;
    Ok(DB::open_for_read_only(options, to, false)?)
}

/// Bytes of one file of a load, before the next is begun.
const LOAD_FILE_BYTES: u64 = 256 << 20;

/// Writes tables beside the database, which then takes them in as they are.
struct Tables<'o> {
    options: &'o Options,
    dir: PathBuf,
    writer: Option<SstFileWriter<'o>>,
    files: Vec<PathBuf>,
    value: Vec<u8>,
}

impl Tables<'_> {
    fn finish(&mut self) -> Result<(), EngineError> {
        if let Some(mut writer) = self.writer.take() {
            writer.finish()?;
        }
        Ok(())
    }
}

impl Records for Tables<'_> {
    fn put(&mut self, key: &[u8], value: &[&[u8]]) -> Result<(), EngineError> {
        if self.writer.as_ref().is_some_and(|writer| writer.file_size() >= LOAD_FILE_BYTES) {
            self.finish()?;
        }
        if self.writer.is_none() {
            let path = self.dir.join(format!("{:06}.sst", self.files.len()));
            let writer = SstFileWriter::create(self.options);
            writer.open(&path)?;
            self.files.push(path);
            self.writer = Some(writer);
        }
        self.value.clear();
        value.iter().for_each(|part| self.value.extend_from_slice(part));
        match &mut self.writer {
            Some(writer) => Ok(writer.put(key, &self.value)?),
            None => Err(EngineError::Io("no table is open".into())),
        }
    }
}

impl Engine for RocksEngine {
    fn read(&self, reader: &mut dyn FnMut(&dyn View)) {
        let open = self.current();
        reader(&RocksView::new(&open.db));
    }

    fn write(&self, batch: Batch) -> Result<(), EngineError> {
        let mut out = WriteBatch::with_capacity_bytes(batch.bytes() + 32 * batch.changes.len());
        for (key, value) in batch.changes() {
            match value {
                Some(value) => out.put(key, value),
                None => out.delete(key),
            }
        }
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        Ok(self.current().db.write_opt(out, &options)?)
    }

    fn flush(&self) -> Result<(), EngineError> {
        let mut options = FlushOptions::default();
        options.set_wait(true);
        Ok(self.current().db.flush_opt(&options)?)
    }

    fn checkpoint(&self, dir: &Path) -> Result<(), EngineError> {
        let open = self.current();
        self.flush()?;
        Ok(Checkpoint::new(&open.db)?.create_checkpoint(dir)?)
    }

    fn inspect(&self, dir: &Path, reader: &mut dyn FnMut(&dyn View)) -> Result<(), EngineError> {
        let db = DB::open_for_read_only(&self.options.build(&self.cache)?, dir, false)?;
        reader(&RocksView::new(&db));
        Ok(())
    }

    fn inspect_disk(&self, dir: &Path, reader: &mut dyn FnMut(&dyn View)) -> Result<(), EngineError> {
        // Blocks are found in a cache by their file's identity, which a link keeps: so one of its own.
        let mut options = self.options.build(&Cache::new_lru_cache(CHECK_CACHE_BYTES))?;
        let db = open_for_check(&mut options, dir)?;
        reader(&RocksView { ahead_bytes: CHECK_AHEAD_BYTES, ..RocksView::new(&db) });
        Ok(())
    }

    fn install(&self, dir: &Path) -> Result<(), EngineError> {
        let old = self.current().generation;
        let generation = old + 1;
        let target = state_dir(&self.dir, generation);
        if target.exists() {
            fs::remove_dir_all(&target)?;
        }
        let db = match self.make_active(dir, &target, generation) {
            // A full disk passes: the directory goes back, for the next try.
            Err(EngineError::NoSpace) if active(&self.dir)? == Some(old) && !dir.exists() => {
                fs::rename(&target, dir)?;
                return Err(EngineError::NoSpace);
            }
            made => made?,
        };
        self.reached(4)?;
        *self.open.write() = Open::new(db, generation);
        // Views of the old state may still be open; its files stay readable to them.
        if let Err(error) = fs::remove_dir_all(state_dir(&self.dir, old)) {
            tracing::warn!(%error, "the replaced state could not be removed; the next start does");
        }
        Ok(())
    }

    /// RocksDB merges removals with what they remove when enough has been written beside them, which may
    /// never be. So for a while one new table is enough to be merged, and no level is needed but the
    /// last: it does the rest in its own time.
    fn give_back(&self, begun: bool) -> Result<bool, EngineError> {
        let open = self.current();
        if !begun {
            self.flush()?;
            open.db.set_options(&[MERGE_EACH])?;
            return Ok(false);
        }
        let tables_at = |level: usize| {
            let count = open.db.property_int_value(&format!("rocksdb.num-files-at-level{level}"));
            count.map(|count| count.unwrap_or(0))
        };
        if tables_at(0)? > 0 {
            return Ok(false);
        }
        for level in 1..LEVELS - 1 {
            if tables_at(level)? > 0 {
                if !open.draining.swap(true, Ordering::Relaxed) {
                    open.db.set_options(&[LAST_LEVEL_ALONE])?;
                }
                return Ok(false);
            }
        }
        open.draining.store(false, Ordering::Relaxed);
        open.db.set_options(&[MERGE_AS_EVER, LEVELS_AS_EVER])?;
        Ok(true)
    }

    fn raw_bytes(&self) -> u64 {
        let open = self.current();
        let tables = open.db.property_value("rocksdb.aggregated-table-properties").ok().flatten();
        let tables = tables.unwrap_or_default();
        let field = |name: &str| -> Option<u64> {
            let prefix = format!("{name}=");
            tables.split(';').find_map(|part| part.trim().strip_prefix(&prefix)?.trim().parse().ok())
        };
        let memory = open.db.property_int_value("rocksdb.cur-size-all-mem-tables").ok().flatten();
        let raw = field("raw key size").zip(field("raw value size")).map(|(keys, values)| keys + values);
        raw.map_or_else(|| self.size().live_bytes, |raw| raw + memory.unwrap_or(0))
    }

    fn load(&self, fill: &mut Fill<'_>) -> Result<(), EngineError> {
        let dir = self.dir.join("load");
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        fs::create_dir(&dir)?;
        let options = self.options.build(&self.cache)?;
        let mut tables = Tables {
            options: &options,
            dir: dir.clone(),
            writer: None,
            files: Vec::new(),
            value: Vec::new(),
        };
        fill(&mut tables)?;
        tables.finish()?;
        let files = std::mem::take(&mut tables.files);
        if !files.is_empty() {
            let mut ingest = IngestExternalFileOptions::default();
            ingest.set_move_files(true);
            self.current().db.ingest_external_file_opts(&ingest, files)?;
        }
        fs::remove_dir_all(&dir)?;
        self.flush()
    }

    fn size(&self) -> Size {
        let open = self.current();
        let property = |name: &str| open.db.property_int_value(name).ok().flatten().unwrap_or(0);
        let memory = property("rocksdb.cur-size-all-mem-tables");
        Size {
            disk_bytes: property("rocksdb.total-sst-files-size") + memory,
            live_bytes: property("rocksdb.estimate-live-data-size") + memory,
        }
    }
}

struct RocksView<'a> {
    db: &'a DB,
    snapshot: Snapshot<'a>,
    /// What a cursor reads ahead; zero: what RocksDB thinks right.
    ahead_bytes: usize,
}

impl<'a> RocksView<'a> {
    fn new(db: &'a DB) -> Self {
        Self { db, snapshot: db.snapshot(), ahead_bytes: 0 }
    }

    /// Whether some table has an end of a block between two keys. The indices of the tables are asked,
    /// no block is read.
    fn are_apart(&self, key: &[u8], later: &[u8]) -> bool {
        self.db.get_approximate_sizes(&[Range::new(key, later)]).first().is_some_and(|bytes| *bytes > 0)
    }

    /// Whether the index of some table is damaged here: then each key seems to be in a block of its own, and
    /// what is behind it is as far away as the table's end.
    fn index_is_damaged(&self, key: &[u8]) -> bool {
        let (next, second) = ([key, &[0]].concat(), [key, &[0, 0]].concat());
        self.are_apart(key, &next) && self.are_apart(&next, &second)
    }

    /// Where the next table begins, or behind the end of the one that ends next.
    fn next_table(&self, key: &[u8]) -> Option<Vec<u8>> {
        let mut found: Option<Vec<u8>> = None;
        for table in self.db.live_files().unwrap_or_default() {
            let behind = table.end_key.map(|end| [&end, &[0][..]].concat());
            for place in [table.start_key, behind].into_iter().flatten() {
                if place[..] > *key && found.as_ref().is_none_or(|found| place < *found) {
                    found = Some(place);
                }
            }
        }
        found
    }
}

impl View for RocksView<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        Ok(self.snapshot.get_pinned(key)?.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn cursor<'v>(&'v self, end: &[u8]) -> Box<dyn Cursor + 'v> {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(end);
        // It passes from key to key, so no file may be left out by its filter.
        options.set_total_order_seek(true);
        options.set_readahead_size(self.ahead_bytes);
        Box::new(RocksCursor(self.snapshot.raw_iterator_opt(options)))
    }

    fn version_cursor<'v>(&'v self) -> Box<dyn Cursor + 'v> {
        let mut options = ReadOptions::default();
        options.set_prefix_same_as_start(true);
        Box::new(RocksCursor(self.snapshot.raw_iterator_opt(options)))
    }

    fn next_piece(&self, key: &[u8]) -> Option<Vec<u8>> {
        let table = self.next_table(key)?;
        if self.index_is_damaged(key) || !self.are_apart(key, &table) {
            return Some(table);
        }
        let is_same = |later: &[u8]| later <= key || later < &table[..] && !self.are_apart(key, later);
        // The last key of the piece, byte by byte: of each the highest that is still in it. Before a table
        // that begins there is no last one.
        let mut last = Vec::new();
        while last.len() < PIECE_KEY_BYTES_MAX {
            let (mut below, mut above) = (0u16, 256);
            while below < above {
                let middle = (below + above) / 2;
                last.push(middle as u8);
                if is_same(&last) {
                    below = middle + 1
                } else {
                    above = middle
                }
                last.pop();
            }
            let Some(byte) = below.checked_sub(1) else {
                last.push(0);
                return Some(last);
            };
            last.push(byte as u8);
        }
        Some(table)
    }
}

struct RocksCursor<'v>(DBRawIterator<'v>);

impl Cursor for RocksCursor<'_> {
    fn seek(&mut self, key: &[u8]) {
        self.0.seek(key);
    }

    fn next(&mut self) {
        self.0.next();
    }

    fn item(&self) -> Result<Option<Item<'_>>, EngineError> {
        match self.0.item() {
            Some(item) => Ok(Some(item)),
            None => {
                self.0.status()?;
                Ok(None)
            }
        }
    }
}
