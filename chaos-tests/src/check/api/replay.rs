//! What a watch tells, put together again: the objects at each version.

use std::collections::BTreeMap;

use crate::check::judged::Judged;
use crate::history::{ApiChange, ApiHistory, ApiId, ApiObject, ApiOutcome, ApiWatch, History};

pub(super) type Objects<'h> = BTreeMap<ApiId, &'h ApiObject>;

/// Shows what there was after each event to `look`, beginning with the list: the version, the object
/// that changed, and all of them. Ends where the watch got.
pub(super) fn play<'h>(watch: &'h ApiWatch, mut look: impl FnMut(i64, Option<&'h ApiObject>, &Objects<'h>)) {
    let mut objects: Objects<'h> = watch.initial.iter().map(|object| (object.id(), object)).collect();
    look(watch.from, None, &objects);
    for event in &watch.events {
        match event.change {
            ApiChange::Added | ApiChange::Modified => objects.insert(event.object.id(), &event.object),
            ApiChange::Deleted => objects.remove(&event.object.id()),
        };
        look(event.object.version, Some(&event.object), &objects);
    }
}

/// A list at a version has what the watch had told by then, in whichever pages it came.
pub(in crate::check) fn lists_equal_the_replay(history: &History) -> Judged {
    let mut judged = Judged::default();
    for watch in &history.api.watches {
        let mut lists = lists_of(&history.api, watch);
        lists.sort_by_key(|(version, _)| *version);
        let mut lists = lists.into_iter().peekable();
        let mut check = |until: i64, objects: &Objects<'_>| {
            while let Some((version, listed)) = lists.next_if(|(version, _)| *version < until) {
                judged.case(differs(objects, listed).map(|what| {
                    format!(
                        "a list of {} at version {version} and watch {}: {what}",
                        watch.resource, watch.watcher
                    )
                }));
            }
        };
        // What was there until the next event.
        let mut before = Objects::new();
        play(watch, |version, _, objects| {
            check(version, &before);
            before = objects.clone();
        });
        check(watch.reached + 1, &before);
    }
    judged
}

fn lists_of<'h>(api: &'h ApiHistory, watch: &ApiWatch) -> Vec<(i64, &'h Vec<ApiObject>)> {
    let lists = api.operations.iter().filter_map(|operation| match (&operation.call, &operation.outcome) {
        (crate::history::ApiCall::List { resource, .. }, ApiOutcome::Listed { version, objects })
            if *resource == watch.resource && (watch.from..=watch.reached).contains(version) =>
        {
            Some((*version, objects))
        }
        _ => None,
    });
    lists.collect()
}

fn differs(objects: &Objects<'_>, listed: &[ApiObject]) -> Option<String> {
    let listed: Objects<'_> = listed.iter().map(|object| (object.id(), object)).collect();
    for (id, object) in objects {
        match listed.get(id) {
            None => return Some(format!("{id} is missing from the list")),
            Some(found) if found.version != object.version || found.uid != object.uid => {
                return Some(format!(
                    "{id} is listed at version {} and was told at {}",
                    found.version, object.version
                ));
            }
            Some(_) => {}
        }
    }
    let extra = listed.keys().find(|id| !objects.contains_key(*id))?;
    Some(format!("{extra} is listed and was not told"))
}

/// No two objects that live at one time have an address or a port.
pub(in crate::check) fn addresses_are_given_once(history: &History) -> Judged {
    let mut judged = Judged::default();
    for watch in &history.api.watches {
        let mut owners: BTreeMap<&str, ApiId> = BTreeMap::new();
        play(watch, |version, changed, objects| {
            let new: Vec<&ApiObject> = match changed {
                Some(object) => vec![object],
                None => objects.values().copied().collect(),
            };
            for object in new {
                for address in object.addresses.iter().chain(&object.node_ports) {
                    judged.look();
                    let id = object.id();
                    match owners.get(address.as_str()) {
                        Some(owner)
                            if *owner != id
                                && holds(objects.get(owner).copied(), address)
                                && objects.contains_key(&id) =>
                        {
                            judged.say(format!(
                                "{address} was given to {id} at version {version}, and {owner} has it"
                            ));
                        }
                        _ if objects.contains_key(&id) => drop(owners.insert(address, id)),
                        _ => {}
                    }
                }
            }
        });
    }
    for operation in &history.api.operations {
        let ApiOutcome::Listed { version, objects } = &operation.outcome else { continue };
        let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
        for object in objects {
            for address in object.addresses.iter().chain(&object.node_ports) {
                judged.case(owners.insert(address, &object.name).map(|other| {
                    let name = &object.name;
                    format!("{address} was given to {other} and {name}, as listed at version {version}")
                }));
            }
        }
    }
    judged
}

fn holds(object: Option<&ApiObject>, address: &String) -> bool {
    object.is_some_and(|object| object.addresses.contains(address) || object.node_ports.contains(address))
}

/// An object is added where there is none, and changed and deleted where there is that one.
pub(super) fn lives_are_apart(history: &History) -> Vec<String> {
    let mut wrong = Vec::new();
    for watch in &history.api.watches {
        let mut live: BTreeMap<ApiId, &str> =
            watch.initial.iter().map(|object| (object.id(), object.uid.as_str())).collect();
        for event in &watch.events {
            let (id, uid) = (event.object.id(), event.object.uid.as_str());
            let what = match (event.change, live.get(&id)) {
                (ApiChange::Added, Some(_)) => "was added, and it was there",
                (ApiChange::Modified | ApiChange::Deleted, None) => "was changed, and it was not there",
                (ApiChange::Modified | ApiChange::Deleted, Some(known)) if *known != uid => {
                    "was changed, and another one of this name was there"
                }
                _ => "",
            };
            if !what.is_empty() {
                wrong.push(format!(
                    "watch {}: {id} {what}, at version {}",
                    watch.watcher, event.object.version
                ));
            }
            match event.change {
                ApiChange::Deleted => live.remove(&id),
                _ => live.insert(id, uid),
            };
        }
    }
    wrong
}
