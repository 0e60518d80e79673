//! Bugs of watches.

use super::events_of;
use crate::history::{History, Keys, Moment, Piece, Received, Watch};

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

/// A watch that began at the revision of a response before that was made, and was told this much of it and
/// of the next one.
fn future(history: &mut History, start: fn(i64) -> i64, told: usize) -> bool {
    let watch = whole(history);
    let (first, next) = (responses(watch)[0], responses(watch)[1]);
    let told = &[watch.pieces[first].clone(), watch.pieces[next].clone()][told..];
    let Received::Events { events, .. } = &watch.pieces[first].what else { return false };
    let start = start(events[0].kv.mod_revision);
    let mut future = Watch { prev_kv: watch.prev_kv, keys: watch.keys.clone(), ..Watch::default() };
    future.from = start - 1;
    future.receive(Moment::default(), Received::Opened { start });
    told.iter().for_each(|piece| future.receive(piece.at, piece.what.clone()));
    history.watches.push(future);
    true
}

pub(super) fn future_early(history: &mut History) -> bool {
    future(history, |revision| revision + 1, 0)
}

pub(super) fn future_late(history: &mut History) -> bool {
    future(history, |revision| revision, 1)
}

/// A slow watch, with the places of the responses that it had, which are few and large.
fn slow(history: &mut History) -> Option<(&mut Watch, Vec<usize>)> {
    let is_events = |piece: &Piece| matches!(piece.what, Received::Events { .. });
    let slow = history.watches.iter_mut().filter(|watch| watch.slow);
    let mut slow = slow.map(|watch| {
        let places = (0..watch.pieces.len()).filter(|n| is_events(&watch.pieces[*n])).collect();
        (watch, places)
    });
    slow.find(|(_, places): &(_, Vec<usize>)| places.len() > 1)
}

pub(super) fn slow_stops(history: &mut History) -> bool {
    let Some((watch, places)) = slow(history) else { return false };
    let pieces = watch.pieces[..places[places.len() - 1]].to_vec();
    (watch.pieces, watch.told) = (Vec::new(), 0);
    let events = pieces.into_iter().filter(|piece| !matches!(piece.what, Received::Progress { .. }));
    events.for_each(|piece| watch.receive(piece.at, piece.what));
    true
}

pub(super) fn slow_misses(history: &mut History) -> bool {
    let Some((watch, places)) = slow(history) else { return false };
    watch.pieces.remove(places[0]);
    true
}

pub(super) fn end_without_reason(history: &mut History) -> bool {
    let watch = whole(history);
    let at = watch.pieces[watch.pieces.len() - 1].at;
    watch.receive(at, Received::Ended { why: String::new() });
    true
}
