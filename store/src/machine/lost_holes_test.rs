//! Stretches that cannot be read, and records that are gone, each put where it tells the least: a key
//! that may be lost is named even so.

use std::sync::Arc;

use bytes::Bytes;

use super::Store;
use super::lost::{How, Lost, LostKey};
use crate::engine::{Batch, Cursor, Engine, EngineError, Item, Model, View};
use crate::kv::{LeaseId, Op, PutRequest, Revision, TxnRequest};
use crate::layout;
use crate::log::CommandOp;
use crate::tests::{apply, put};

/// From a stored key up to another, nothing can be read.
type Hole = (Vec<u8>, Vec<u8>);

struct Holed<'v> {
    view: &'v dyn View,
    holes: &'v [Hole],
}

fn check_readable(holes: &[Hole], key: &[u8]) -> Result<(), EngineError> {
    match holes.iter().any(|(from, to)| from[..] <= *key && *key < to[..]) {
        true => Err(EngineError::Corrupt("a hole".into())),
        false => Ok(()),
    }
}

impl View for Holed<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        check_readable(self.holes, key)?;
        self.view.get(key)
    }

    fn cursor<'v>(&'v self, end: &[u8]) -> Box<dyn Cursor + 'v> {
        Box::new(HoledCursor { cursor: self.view.cursor(end), holes: self.holes, sought: Ok(()) })
    }

    fn version_cursor<'v>(&'v self) -> Box<dyn Cursor + 'v> {
        self.cursor(&[layout::VERSIONS + 1])
    }

    fn next_piece(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.holes.iter().flat_map(|(from, to)| [from, to]).filter(|at| at[..] > *key).min().cloned()
    }
}

struct HoledCursor<'v> {
    cursor: Box<dyn Cursor + 'v>,
    holes: &'v [Hole],
    sought: Result<(), EngineError>,
}

impl Cursor for HoledCursor<'_> {
    fn seek(&mut self, key: &[u8]) {
        self.sought = check_readable(self.holes, key);
        self.cursor.seek(key);
    }

    fn next(&mut self) {
        self.cursor.next();
    }

    fn item(&self) -> Result<Option<Item<'_>>, EngineError> {
        self.sought.clone()?;
        let item = self.cursor.item()?;
        item.map_or(Ok(()), |(key, _)| check_readable(self.holes, key))?;
        Ok(item)
    }
}

/// Ten keys; the fourth was written once more, the sixth has a lease.
struct Filled {
    model: Arc<Model>,
    store: Store,
    /// Of the fourth key's versions.
    older: Revision,
    newest: Revision,
}

const LEASE: i64 = 77;

fn put_with_lease(key: &str) -> CommandOp {
    let put = PutRequest { lease: LeaseId(LEASE), ..PutRequest::new(key.to_owned(), "old") };
    CommandOp::Txn(TxnRequest { success: vec![Op::Put(put)], ..TxnRequest::default() })
}

fn raise_fence(store: &Store) {
    let raise_fences = vec!["scheduler".into()];
    apply(store, CommandOp::Txn(TxnRequest { raise_fences, ..TxnRequest::default() }));
}

fn fill() -> Filled {
    let model = Arc::new(Model::new());
    let store = Store::open(model.clone()).expect("a store");
    apply(&store, CommandOp::LeaseGrant { id: LeaseId(LEASE), ttl_s: 600 });
    raise_fence(&store);
    let mut older = Revision(0);
    for i in 0..10 {
        let key = format!("k{i}");
        apply(&store, if i == 5 { put_with_lease(&key) } else { put(&key, "old") });
        older = if i == 3 { store.revision() } else { older };
    }
    apply(&store, put("k3", "new"));
    let newest = store.revision();
    Filled { model, store, older, newest }
}

/// What is lost of a state with holes; `whole` has what files have of it that are whole.
fn find(state: &Model, whole: &Model, holes: &[Hole]) -> Lost {
    let mut found = None;
    state.read(&mut |view| {
        let view = Holed { view, holes };
        whole.read(&mut |whole| found = Some(Lost::find(&view, whole, &mut |_| {})));
    });
    found.expect("it was read")
}

fn version(i: u64, revision: Revision) -> Vec<u8> {
    let mut stored = Vec::new();
    layout::version_key(&mut stored, format!("k{i}").as_bytes(), revision);
    stored
}

/// Nothing but this record.
fn only(stored: &[u8]) -> Hole {
    (stored.to_vec(), [stored, &[0]].concat())
}

fn table(table: u8) -> Hole {
    (vec![table], vec![table + 1])
}

fn change(model: &Model, change: impl FnOnce(&mut Batch)) {
    let mut batch = Batch::default();
    change(&mut batch);
    model.write(batch).expect("write");
}

fn named(i: u64, revision: Option<Revision>, how: How) -> Vec<LostKey> {
    vec![LostKey { key: format!("k{i}").into(), revision, how }]
}

#[test]
fn an_older_version_is_not_taken_for_the_newest() {
    let Filled { model, older, newest, .. } = fill();
    let nothing = Model::new();
    let sound = find(&model, &nothing, &[]);
    assert!(sound.is_nothing() && sound.whole_keys == 10, "{sound:?}");
    let (value, record) = (only(&version(3, newest)), only(&layout::revision_key(newest, 0)));

    let lost = find(&model, &nothing, std::slice::from_ref(&value));
    assert_eq!(lost.keys, named(3, Some(newest), How::Unreadable));
    assert_eq!((lost.whole_keys, lost.hash_is_right, lost.gaps.len()), (9, Some(false), 1));

    // Nor where the record of the change is lost with it: behind the hole is the older one.
    let lost = find(&model, &nothing, &[value.clone(), record.clone()]);
    assert_eq!(lost.keys, named(3, None, How::Unsure));
    assert_eq!((lost.whole_keys, lost.is_current_whole(), lost.gaps.len()), (9, false, 2));
    // Nor where that cannot be read either, and a file has it that is whole.
    let (behind, records) = (only(&version(3, older)), table(layout::REVISIONS));
    let whole = Model::new();
    change(&whole, |batch| batch.put(&[&version(3, older)], &[&record_of(&model, &version(3, older))]));
    let lost = find(&model, &whole, &[value.clone(), behind, records]);
    assert_eq!((lost.keys, lost.whole_keys), (named(3, None, How::Unsure), 9));
    // And where it has the newest, nothing is lost.
    change(&whole, |batch| batch.put(&[&version(3, newest)], &[&record_of(&model, &version(3, newest))]));
    let lost = find(&model, &whole, &[value, record]);
    assert_eq!((&lost.keys[..], lost.whole_keys, lost.is_current_whole()), (&[][..], 10, true));
    assert!(!lost.is_nothing(), "a change's record is lost");
}

fn record_of(model: &Model, stored: &[u8]) -> Bytes {
    let mut found = None;
    model.read(&mut |view| found = view.get(stored).expect("read"));
    found.expect("a record")
}

#[test]
fn a_compaction_that_is_under_way_leaves_versions_that_no_change_names() {
    let Filled { model, store, older, newest } = fill();
    let record = record_of(&model, &version(3, older));
    apply(&store, put("k9", "new"));
    let compact = store.revision();
    apply(&store, CommandOp::Compact(compact));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(store.scrubbed(compact)).expect("scrubbed");
    let hole = [only(&version(3, newest))];
    let lost = find(&model, &Model::new(), &hole);
    assert_eq!((lost.keys.len(), lost.hides_keys()), (0, true), "the key lies within the bounds alone");
    change(&model, |batch| {
        batch.delete(&[layout::SCRUBBED]);
        batch.put(&[&version(3, older)], &[&record]);
    });
    let lost = find(&model, &Model::new(), &hole);
    assert_eq!((lost.keys, lost.whole_keys), (named(3, None, How::Unsure), 9));
}

#[test]
fn what_is_missing_without_a_hole_is_told() {
    let nothing = Model::new();
    let without = |what: &dyn Fn(&Filled, &mut Batch)| {
        let filled = fill();
        change(&filled.model, |batch| what(&filled, batch));
        (find(&filled.model, &nothing, &[]), filled)
    };
    // The newest version: the older one that is there is not what the key is.
    let (lost, filled) = without(&|filled, batch| batch.delete(&[&version(3, filled.newest)]));
    assert_eq!(lost.keys, named(3, Some(filled.newest), How::Missing));
    assert_eq!((lost.whole_keys, lost.is_nothing()), (9, false));
    // A key with its change: its lease still has it.
    let of_sixth = |filled: &Filled| Revision(filled.older.0 + 2);
    let (lost, _) = without(&|filled, batch| {
        batch.delete(&[&version(5, of_sixth(filled))]);
        batch.delete(&[&layout::revision_key(of_sixth(filled), 0)]);
    });
    assert_eq!((lost.keys, lost.whole_keys), (named(5, None, How::Unsure), 9));
    // Its attachment: it is there, and would stay for ever.
    let attached = [&layout::numbered(layout::ATTACHED, LEASE as u64)[..], b"k5"].concat();
    let (lost, _) = without(&|_, batch| batch.delete(&[&attached]));
    assert_eq!((lost.attachments, lost.hash_is_right, lost.is_nothing()), (1, Some(true), false));
    // A record that means nothing is a hole of its own.
    let (lost, filled) = without(&|filled, batch| batch.put(&[&version(3, filled.newest)], &[&[9]]));
    assert_eq!((lost.gaps.len(), lost.whole_keys), (1, 9));
    assert_eq!(lost.keys, named(3, Some(filled.newest), How::Unreadable));
    // A value that is another: the hash alone says so.
    let (lost, _) = without(&|filled, batch| {
        let record = record_of(&filled.model, &version(3, filled.newest)).to_vec();
        let (last, rest) = record.split_last().expect("a value");
        batch.put(&[&version(3, filled.newest)], &[rest, &[last ^ 1]]);
    });
    assert_eq!((lost.keys.len(), lost.gaps.len(), lost.hash_is_right), (0, 0, Some(false)));
    assert!(!lost.is_nothing() && !lost.is_current_whole());
}

#[test]
fn what_is_no_key_is_told_too() {
    let filled = fill();
    // Files that are whole have another time to live, and an earlier epoch.
    let earlier = Model::new();
    let lease = layout::numbered(layout::LEASES, LEASE as u64);
    let fence = [&[layout::FENCES][..], b"scheduler"].concat();
    for stored in [&lease[..], &fence] {
        change(&earlier, |batch| batch.put(&[stored], &[&record_of(&filled.model, stored)]));
    }
    raise_fence(&filled.store);
    let nothing = Model::new();
    let find = |whole: &Model, holes: &[Hole]| find(&filled.model, whole, holes);
    let lost = find(&earlier, &[only(&fence)]);
    assert_eq!((&lost.fences[..], lost.is_nothing()), (&["scheduler".to_owned()][..], false));
    let holes = [only(&lease), only(&fence)];
    assert_eq!(find(&earlier, &holes).leases, [LeaseId(LEASE)]);
    assert_eq!(find(&nothing, &holes).leases, [LeaseId(LEASE)]);
    // What is attached to it names it, where the key does not.
    let sixth = only(&version(5, Revision(filled.older.0 + 2)));
    assert_eq!(find(&nothing, &[sixth, only(&lease)]).leases, [LeaseId(LEASE)]);

    let lost = find(&nothing, &[table(layout::OUTCOMES)]);
    assert_eq!((lost.outcomes_lost, lost.hash_is_right, lost.is_current_whole()), (true, None, false));
    let lost = find(&nothing, &[only(layout::MEMBERSHIP)]);
    assert!(lost.members_lost && !lost.is_current_whole());
    let lost = find(&nothing, &[only(layout::META)]);
    assert_eq!((lost.applied.is_none(), lost.outcomes_lost, lost.is_current_whole()), (true, true, false));
}
