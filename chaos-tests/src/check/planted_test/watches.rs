//! Bugs of watches.

use super::events_of;
use crate::history::{History, Keys, Piece, Received, Watch};

/// The watch of everything that gets whatever is planted.
pub(super) fn whole(history: &mut History) -> &mut Watch {
    history
        .watches
        .iter_mut()
        .find(|watch| watch.whole && watch.pieces.len() > 20)
        .expect("a watch of everything")
}

/// Places of responses in the middle of a watch.
pub(super) fn responses(watch: &Watch) -> Vec<usize> {
    let is_events = |n: &usize| matches!(watch.pieces[*n].what, Received::Events { .. });
    (watch.pieces.len() / 3..watch.pieces.len() - 2).filter(is_events).collect()
}

pub(super) fn drop_event(history: &mut History) -> bool {
    let watch = whole(history);
    let n = responses(watch)[0];
    watch.pieces.remove(n);
    true
}

pub(super) fn swap_events(history: &mut History) -> bool {
    let watch = whole(history);
    let places = responses(watch);
    let (one, other) = (watch.pieces[places[0]].what.clone(), watch.pieces[places[1]].what.clone());
    watch.pieces[places[0]].what = other;
    watch.pieces[places[1]].what = one;
    true
}

pub(super) fn double_event(history: &mut History) -> bool {
    let watch = whole(history);
    let n = responses(watch)[0];
    let again = watch.pieces[n].clone();
    watch.pieces.insert(n + 1, again);
    true
}

pub(super) fn cut_revision(history: &mut History) -> bool {
    for watch in &mut history.watches {
        for n in 0..watch.pieces.len() {
            let mut rest = watch.pieces[n].clone();
            let Some((_, events)) = events_of(&mut rest) else { continue };
            let last = events[events.len() - 1].kv.mod_revision;
            let Some(first) = events.iter().position(|event| event.kv.mod_revision == last) else { continue };
            if first + 1 == events.len() {
                continue;
            }
            events.drain(..first + 1);
            if let Some((_, events)) = events_of(&mut watch.pieces[n]) {
                events.truncate(first + 1);
            }
            watch.pieces.insert(n + 1, rest);
            return true;
        }
    }
    false
}

pub(super) fn change_event_of_one(history: &mut History) -> bool {
    let watch = whole(history);
    for n in responses(watch) {
        if let Some((_, events)) = events_of(&mut watch.pieces[n])
            && let Some(event) = events.iter_mut().find(|event| event.put)
        {
            event.kv.value = "77.77".into();
            return true;
        }
    }
    false
}

pub(super) fn begin_too_early(history: &mut History) -> bool {
    let watch = whole(history);
    let last = watch.reached();
    for piece in &mut watch.pieces {
        if let Received::Opened { start } = &mut piece.what {
            *start = last;
            return true;
        }
    }
    false
}

pub(super) fn progress_too_early(history: &mut History) -> bool {
    let watch = whole(history);
    let n = responses(watch)[0];
    let Some((revision, _)) = events_of(&mut watch.pieces[n]) else { return false };
    let what = Received::Progress { revision: *revision };
    let at = watch.pieces[n - 1].at;
    watch.pieces.insert(n, Piece { at, what });
    true
}

pub(super) fn wrong_previous(history: &mut History) -> bool {
    let watches = history.watches.iter_mut().filter(|watch| watch.prev_kv);
    let pieces = watches.flat_map(|watch| &mut watch.pieces).filter_map(events_of);
    match pieces.flat_map(|(_, events)| events).find_map(|event| event.prev.as_mut()) {
        Some(previous) => {
            previous.version += 1;
            true
        }
        None => false,
    }
}

pub(super) fn unasked_previous(history: &mut History) -> bool {
    let Some(watch) = history.watches.iter_mut().find(|watch| watch.whole && !watch.prev_kv) else {
        return false;
    };
    watch.prev_kv = true;
    let n = responses(watch)[0];
    watch.prev_kv = false;
    if let Some((_, events)) = events_of(&mut watch.pieces[n]) {
        events[0].prev = Some(events[0].kv.clone());
    }
    true
}

pub(super) fn ignore_filter(history: &mut History) -> bool {
    whole(history).no_delete = true;
    true
}

pub(super) fn ignore_range(history: &mut History) -> bool {
    whole(history).keys = Keys::one("/chaos/none");
    true
}

pub(super) fn lose_place(history: &mut History) -> bool {
    let watch = whole(history);
    let at = watch.pieces[watch.pieces.len() / 2].at;
    watch.pieces.truncate(watch.pieces.len() / 2);
    let revision = watch.reached() + 1;
    watch.receive(at, Received::Compacted { revision });
    true
}
