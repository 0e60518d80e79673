//! A good history of the API passes, and each bug that is planted into it is found.

use super::{all, by};
use crate::history::{
    ApiCall, ApiChange, ApiEvent, ApiFence, ApiHistory, ApiId, ApiObject, ApiOperation, ApiOutcome, ApiWatch,
    History, Tick,
};
use crate::traffic::api::END;

const CONFIGS: &str = "configmaps";
const SERVED: &str = "services";

fn id(resource: &str, name: &str) -> ApiId {
    ApiId { resource: resource.into(), name: format!("default/{name}") }
}

fn object(resource: &str, name: &str, uid: &str, version: i64, value: &str) -> ApiObject {
    ApiObject {
        resource: resource.into(),
        name: format!("default/{name}"),
        uid: uid.into(),
        version,
        value: value.into(),
        ..ApiObject::default()
    }
}

fn config(name: &str, uid: &str, version: i64, value: &str) -> ApiObject {
    object(CONFIGS, name, uid, version, value)
}

fn service(name: &str, uid: &str, version: i64, address: &str, port: &str) -> ApiObject {
    ApiObject {
        addresses: vec![address.into()],
        node_ports: vec![port.into()],
        ..object(SERVED, name, uid, version, uid)
    }
}

/// Each call takes one tick, one after the other.
fn operation(n: u64, call: ApiCall, outcome: ApiOutcome) -> ApiOperation {
    ApiOperation { client: 1, begin: Tick(10 * n), end: Tick(10 * n + 1), fence: None, call, outcome }
}

fn create(n: u64, object: &ApiObject) -> ApiOperation {
    let call = ApiCall::Create { id: object.id(), value: object.value.clone() };
    operation(n, call, ApiOutcome::Changed(object.clone()))
}

fn update(n: u64, base: i64, object: &ApiObject) -> ApiOperation {
    let call = ApiCall::Update { id: object.id(), value: object.value.clone(), base };
    operation(n, call, ApiOutcome::Changed(object.clone()))
}

fn delete(n: u64, object: &ApiObject) -> ApiOperation {
    let call = ApiCall::Delete { id: object.id(), uid: object.uid.clone() };
    operation(n, call, ApiOutcome::Changed(object.clone()))
}

fn get(n: u64, object: &ApiObject) -> ApiOperation {
    operation(n, ApiCall::Get { id: object.id() }, ApiOutcome::Found(object.clone()))
}

fn list(n: u64, resource: &str, version: i64, objects: Vec<ApiObject>) -> ApiOperation {
    let call = ApiCall::List { resource: resource.into(), paged: true };
    operation(n, call, ApiOutcome::Listed { version, objects })
}

fn lead(n: u64, client: u32, epoch: u64, version: i64) -> ApiOperation {
    let lease = object("leases", "chaos-leader", "lease-uid", version, &format!("client-{client}"));
    let fence = Some(fence(epoch));
    ApiOperation { client, fence, ..operation(n, ApiCall::Lead, ApiOutcome::Changed(lease)) }
}

fn fence(epoch: u64) -> ApiFence {
    ApiFence { lease: "default/chaos-leader".into(), epoch }
}

fn event(tick: u64, change: ApiChange, object: ApiObject) -> ApiEvent {
    ApiEvent { tick: Tick(tick), change, object }
}

fn good() -> History {
    let a = [config("a", "ua", 10, "1.1"), config("a", "ua", 12, "1.2"), config("a", "ua", 14, "1.3")];
    let b = [config("b", "ub", 11, "2.1"), config("b", "ub2", 17, "2.2")];
    let s =
        [service("s", "us", 20, "10.0.0.1", "TCP 30001"), service("t", "ut", 21, "10.0.0.2", "TCP 30002")];
    // After `s` was deleted at 22, another may have what it had.
    let u = service("u", "uu", 23, "10.0.0.1", "TCP 30001");
    let ends = [config(END, "ue", 41, "9.1"), object(SERVED, END, "ve", 42, "9.2")];
    let led = [config("led", "ul", 31, "1.9"), config("led", "ul", 33, "2.9")];
    let operations = vec![
        create(0, &a[0]),
        create(1, &b[0]),
        update(2, 10, &a[1]),
        get(3, &a[1]),
        list(4, CONFIGS, 13, vec![a[1].clone(), b[0].clone()]),
        update(5, 12, &a[2]),
        delete(6, &b[0]),
        operation(7, ApiCall::Get { id: id(CONFIGS, "b") }, ApiOutcome::Absent),
        create(8, &b[1]),
        operation(
            9,
            ApiCall::Update { id: id(CONFIGS, "a"), value: "3.3".into(), base: 12 },
            ApiOutcome::Refused("conflict".into()),
        ),
        create(10, &s[0]),
        create(11, &s[1]),
        delete(12, &s[0]),
        create(13, &u),
        list(14, SERVED, 24, vec![s[1].clone(), u.clone()]),
        lead(15, 1, 1, 30),
        ApiOperation { fence: Some(fence(1)), ..create(16, &led[0]) },
        lead(17, 2, 2, 32),
        ApiOperation { client: 2, fence: Some(fence(2)), ..update(18, 31, &led[1]) },
        create(19, &ends[0]),
        create(20, &ends[1]),
    ];
    let configs = ApiWatch {
        watcher: 1,
        resource: CONFIGS.into(),
        from: 9,
        initial: Vec::new(),
        events: vec![
            event(2, ApiChange::Added, a[0].clone()),
            event(12, ApiChange::Added, b[0].clone()),
            event(22, ApiChange::Modified, a[1].clone()),
            event(52, ApiChange::Modified, a[2].clone()),
            event(62, ApiChange::Deleted, config("b", "ub", 16, "2.1")),
            event(82, ApiChange::Added, b[1].clone()),
            event(162, ApiChange::Added, led[0].clone()),
            event(182, ApiChange::Modified, led[1].clone()),
            event(192, ApiChange::Added, ends[0].clone()),
        ],
        reached: 41,
    };
    let services = ApiWatch {
        watcher: 1,
        resource: SERVED.into(),
        from: 20,
        initial: vec![s[0].clone()],
        events: vec![
            event(112, ApiChange::Added, s[1].clone()),
            event(122, ApiChange::Deleted, service("s", "us", 22, "10.0.0.1", "TCP 30001")),
            event(132, ApiChange::Added, u),
            event(202, ApiChange::Added, ends[1].clone()),
        ],
        reached: 42,
    };
    let api = ApiHistory { operations, watches: vec![configs, services] };
    History { api, ..History::default() }
}

#[test]
fn a_good_history_passes() {
    let of_the_api = super::ALL.iter().position(|(name, _)| *name == "API watches deliver everything");
    for checked in all(&good()).into_iter().skip(of_the_api.expect("the first checker of the API")) {
        assert_eq!(checked.violations, Vec::<String>::new(), "{}", checked.name);
        // It has no pods.
        let judges = checked.name != "evictions keep to budgets";
        assert_eq!(checked.looked_at > 0, judges, "{}", checked.name);
    }
}

#[test]
fn of_nothing_nothing_is_judged() {
    for checked in all(&History::default()) {
        let nothing = (checked.violations.len(), checked.looked_at, checked.undecided.as_str());
        assert_eq!(nothing, (0, 0, ""), "{}", checked.name);
    }
}

fn planted(bug: &str, finder: &str, says: &str, plant: impl FnOnce(&mut ApiHistory)) {
    let mut history = good();
    plant(&mut history.api);
    let found = by(finder, &history);
    assert!(found.iter().any(|what| what.contains(says)), "{bug}: {finder} did not say {says:?}: {found:?}");
}

fn changed(operation: &mut ApiOperation) -> &mut ApiObject {
    match &mut operation.outcome {
        ApiOutcome::Changed(object) | ApiOutcome::Found(object) => object,
        other => panic!("{other:?} has no object"),
    }
}

fn listed(operation: &mut ApiOperation) -> &mut Vec<ApiObject> {
    match &mut operation.outcome {
        ApiOutcome::Listed { objects, .. } => objects,
        other => panic!("{other:?} is no list"),
    }
}

#[test]
fn bugs_of_updates_and_reads_are_found() {
    let lost = "no update is lost";
    planted("two updates of one version", lost, "one of them is lost", |api| {
        let outcome = ApiOutcome::Changed(config("a", "ua", 18, "3.3"));
        api.operations[9].outcome = outcome;
    });
    planted("an update without a new version", lost, "was acknowledged at version 12", |api| {
        changed(&mut api.operations[5]).version = 12;
    });
    planted("a stale read", lost, "found version 10 after 12", |api| {
        *changed(&mut api.operations[3]) = config("a", "ua", 10, "1.1");
    });
    planted("an object is gone", lost, "nobody deleted UID ua", |api| {
        api.operations[3].outcome = ApiOutcome::Absent;
    });
    planted("the next object of a name is gone", lost, "nobody deleted UID ub2", |api| {
        api.operations.push(operation(21, ApiCall::Get { id: id(CONFIGS, "b") }, ApiOutcome::Absent));
    });
    planted("a deleted object is found", lost, "found UID ub, which had been deleted", |api| {
        api.operations[7].outcome = ApiOutcome::Found(config("b", "ub", 11, "2.1"));
    });
    planted("another value at a version", lost, "was written as 1.2 and found as 9.9", |api| {
        changed(&mut api.operations[3]).value = "9.9".into();
    });
    planted("a refused update is done", lost, "was refused and done", |api| {
        api.watches[0].events[5].object.value = "3.3".into();
        api.watches[0].events[5].object.name = "default/a".into();
    });
    let grow = "resource versions only grow";
    planted("a write in the past", grow, "came to version 9 after", |api| {
        changed(&mut api.operations[8]).version = 9;
    });
    planted("a list of the past", grow, "came to version 11 after 12", |api| {
        if let ApiOutcome::Listed { version, .. } = &mut api.operations[4].outcome {
            *version = 11;
        }
    });
    planted("a watch goes back", grow, "came after 12", |api| api.watches[0].events.swap(1, 2));
    let lists = "lists equal the watch's replay";
    planted("a list misses one", lists, "is missing from the list", |api| {
        listed(&mut api.operations[4]).remove(0);
    });
    planted("a list has one that is gone", lists, "was not told", |api| {
        listed(&mut api.operations[14]).push(service("s", "us", 20, "10.0.0.9", "TCP 30009"));
    });
    planted("a list has an old version", lists, "listed at version 10", |api| {
        *listed(&mut api.operations[4]) = vec![config("a", "ua", 10, "1.1"), config("b", "ub", 11, "2.1")];
    });
}

#[test]
fn bugs_of_watches_are_found() {
    let watches = "API watches deliver everything";
    planted("a watch skips an update", watches, "default/a of version 12 never came", |api| {
        api.watches[0].events.remove(2);
    });
    planted("a watch skips a creation", watches, "default/u of version 23 never came", |api| {
        api.watches[1].events.remove(2);
    });
    planted("a watch skips a deletion", watches, "the deletion of UID ub, below version 17", |api| {
        api.watches[0].events.remove(4);
    });
    planted("a watch skips the deletion of what it began with", watches, "deletion of UID us", |api| {
        api.watches[1].events.remove(1);
    });
    planted("a watch skips what a list shows", watches, "default/z of version 22 never came", |api| {
        listed(&mut api.operations[14]).push(service("z", "uz", 22, "10.0.0.9", "TCP 30009"));
    });
    planted("a watch skips what another one tells", watches, "default/b of version 16 never came", |api| {
        let mut other = api.watches[0].clone();
        other.events.remove(4);
        api.watches.push(other);
    });
    planted("a watch falls silent", watches, "it did not reach the end, and got to 14", |api| {
        api.watches[0].events.truncate(4);
        api.watches[0].reached = 14;
    });
    planted("a watch falls silent after it began anew", watches, "it did not reach the end", |api| {
        api.watches.push(ApiWatch { from: 33, reached: 33, ..api.watches[0].clone() });
        api.watches[2].events.clear();
    });
    planted("a silent watch has bookmarks", watches, "default/chaos-end of version 41 never came", |api| {
        api.watches[0].events.truncate(8);
    });
}

#[test]
fn a_watch_that_begins_anew_need_not_tell_the_end_twice() {
    let mut history = good();
    let anew = ApiWatch { from: 14, ..history.api.watches[0].clone() };
    history.api.watches[0].events.truncate(4);
    history.api.watches[0].reached = 14;
    let initial = vec![history.api.watches[0].events[3].object.clone(), config("b", "ub", 11, "2.1")];
    let events = anew.events[4..].to_vec();
    history.api.watches.push(ApiWatch { initial, events, ..anew });
    assert_eq!(by("API watches deliver everything", &history), Vec::<String>::new());
}

#[test]
fn bugs_of_names_addresses_and_leaders_are_found() {
    let names = "names and UIDs are given once";
    planted("a UID is given twice", names, "UID ua belongs to", |api| {
        changed(&mut api.operations[1]).uid = "ua".into();
    });
    planted(
        "a UID is given to a name's next object",
        names,
        "was given to configmaps default/b twice",
        |api| {
            changed(&mut api.operations[8]).uid = "ub".into();
        },
    );
    planted("a name is given twice", names, "nobody deleted UID ub", |api| {
        api.operations.remove(6);
    });
    planted("a name is given twice after it was free once", names, "nobody deleted UID ub2", |api| {
        api.operations.push(create(21, &config("b", "ub3", 50, "2.3")));
    });
    planted("a name is added while it is there", names, "was added, and it was there", |api| {
        api.watches[0].events.remove(4);
    });
    planted("what is not there is changed", names, "it was not there", |api| {
        api.watches[0].events.remove(0);
    });
    let addresses = "addresses and ports are given once";
    planted("an address is given twice", addresses, "10.0.0.1 was given to services default/t", |api| {
        api.watches[1].events[0].object.addresses = vec!["10.0.0.1".into()];
    });
    planted("a node port is given twice", addresses, "TCP 30001 was given to services default/t", |api| {
        api.watches[1].events[0].object.node_ports = vec!["TCP 30001".into()];
    });
    planted("a list shows an address twice", addresses, "as listed at version 24", |api| {
        listed(&mut api.operations[14])[0].addresses = vec!["10.0.0.1".into()];
    });
    let deposed = "no deposed leader writes";
    planted("a deposed leader writes", deposed, "landed at version 33, and epoch 2 began at 32", |api| {
        api.operations[18].fence = Some(fence(1));
    });
    planted("a deposed leader's write lands that nobody heard of", deposed, "landed at version 33", |api| {
        api.operations[18].fence = Some(fence(1));
        api.operations[18].outcome = ApiOutcome::Unknown("timeout".into());
    });
    planted("an epoch is given twice", deposed, "was given to clients 1 and 2", |api| {
        api.operations[17].fence = Some(fence(1));
    });
}
