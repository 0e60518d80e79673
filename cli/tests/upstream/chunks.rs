//! Lists in chunks, at old revisions, and watches from them, until they are compacted.

use serde_json::{Value, json};
use trireme_api::Object;
use trireme_client::resource;

use super::{etcdctl, masters_live, names, object, runtime, store, text_of, upstream};
use crate::support::eventually;

/// Both ways of upstream: Secrets come from the store each time, ConfigMaps from its watch cache
/// where that may be.
#[test]
fn lists_come_in_chunks_of_one_revision_until_it_is_compacted() {
    let _live = masters_live();
    let Some(server) = upstream() else { return };
    server.kubectl_ok(&["create", "namespace", "chunks"]);
    let client = server.client();
    let made: Vec<String> = (0..25).map(|i| format!("item-{i:02}")).collect();
    let mut old = Vec::new();
    for kind in [&resource::CONFIG_MAPS, &resource::SECRETS] {
        runtime().block_on(async {
            for name in &made {
                client
                    .create(kind, "chunks", &Object(object(kind, "chunks", name).into()))
                    .await
                    .expect("created");
            }
        });
        let collection = format!("/api/v1/namespaces/chunks/{}", kind.plural);
        let first = server.json(&format!("{collection}?limit=10"));
        assert_eq!(names(&first), made[..10]);
        assert_eq!(first["metadata"]["remainingItemCount"], 15);
        let revision = text_of(&first, "/metadata/resourceVersion").to_owned();
        let at = format!("limit=100&resourceVersion={revision}&resourceVersionMatch=Exact");

        // What comes and goes meanwhile is not seen by those who go on.
        let file = format!("{}-later.json", kind.plural);
        let later = object(kind, "chunks", "a-later-one").to_string();
        server.kubectl_ok(&["create", "-f", &server.file(&file, &later)]);
        server.kubectl_ok(&["-n", "chunks", "delete", &kind.plural, "item-20"]);
        let mut found = names(&first).into_iter().map(str::to_owned).collect::<Vec<_>>();
        let mut next = text_of(&first, "/metadata/continue").to_owned();
        while !next.is_empty() {
            let page = server.json(&format!("{collection}?limit=10&continue={next}"));
            assert_eq!(text_of(&page, "/metadata/resourceVersion"), revision);
            found.extend(names(&page).into_iter().map(str::to_owned));
            next = page["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
        }
        assert_eq!(found, made);
        assert_eq!(names(&server.json(&format!("{collection}?{at}"))), made);
        let now = server.json(&collection);
        assert_eq!(names(&now).len(), 25);
        assert_eq!(names(&now)[0], "a-later-one");

        // A watch from that revision shows just that, and one that goes on after the first the rest.
        let shown = |events: &[Value]| -> Vec<(String, String)> {
            let of = |event: &Value| {
                (text_of(event, "/type").to_owned(), text_of(event, "/object/metadata/name").to_owned())
            };
            events.iter().filter(|event| event["object"]["metadata"]["name"] != "default").map(of).collect()
        };
        let since = server.watched(&collection, &revision, 2);
        let (added, deleted) =
            (("ADDED".into(), "a-later-one".into()), ("DELETED".into(), "item-20".to_owned()));
        assert_eq!(shown(&since), [added, deleted.clone()]);
        let resumed = server.watched(&collection, text_of(&since[0], "/object/metadata/resourceVersion"), 2);
        assert_eq!(shown(&resumed), [deleted]);
        let token = text_of(&first, "/metadata/continue").to_owned();
        old.push((collection, at, token, revision));
    }

    for (collection, at, token, revision) in &old {
        eventually("the revision to be compacted", || match server.get(&format!("{collection}?{at}")) {
            Ok(_) => Err(format!("revision {revision} can still be read")),
            // Of a revision that a request asks for.
            Err(refusal) if refusal.contains("Expired") => Ok(()),
            Err(refusal) => panic!("{refusal}"),
        });
        let refusal = server.get(&format!("{collection}?limit=10&continue={token}")).unwrap_err();
        assert!(refusal.contains("Expired"), "{refusal}");
    }
    let (secrets, _, _, revision) = &old[1];
    // What comes behind the compacted revision can be told, as etcd has it, and it may be the next
    // one; a watch from a revision earlier cannot.
    let earlier = revision.parse::<u64>().expect("a revision") - 1;
    let ended = server.watched(secrets, &earlier.to_string(), 10);
    assert_eq!(ended.len(), 1, "{ended:?}");
    assert_eq!((&ended[0]["type"], &ended[0]["object"]["code"]), (&json!("ERROR"), &json!(410)), "{ended:?}");
    // By upstream: the masters do so every five minutes, and both keep the same key.
    let rounds: Value =
        serde_json::from_str(&etcdctl(store(), 1, &["get", "compact_rev_key", "-w", "json"])).expect("JSON");
    assert!(rounds.pointer("/kvs/0/version").and_then(Value::as_i64) >= Some(2), "{rounds}");
}
