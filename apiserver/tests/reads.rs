//! Lists and watches, over TLS and in-process.

mod support;

use bytes::Bytes;
use futures::StreamExt;
use http_body_util::{BodyExt, Full};
use support::Running;
use trireme_apiserver::{Identity, WatchEvent};

const PATH: &str = "/api/v1/namespaces/default/configmaps";

async fn make(t: &Running, name: &str) -> String {
    let body = format!(r#"{{"metadata":{{"name":"{name}","labels":{{"n":"{name}"}}}},"data":{{"k":"v"}}}}"#);
    let answer = t.request("POST", PATH, &body).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    answer.json()["metadata"]["resourceVersion"].as_str().unwrap().to_owned()
}

fn names(list: &serde_json::Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|i| i["metadata"]["name"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_of_one_moment_whatever_is_written_between() {
    let t = Running::start().await;
    for name in ["a", "b", "c", "d"] {
        make(&t, name).await;
    }
    let first = t.request("GET", &format!("{PATH}?limit=2"), "").await.json();
    assert_eq!((names(&first), &first["metadata"]["remainingItemCount"]), (vec!["a", "b"], &2.into()));
    assert_eq!(t.request("DELETE", &format!("{PATH}/c"), "").await.status, 200);
    make(&t, "ca").await;
    let token = first["metadata"]["continue"].as_str().unwrap();
    let second = t.request("GET", &format!("{PATH}?limit=2&continue={token}"), "").await.json();
    assert_eq!(names(&second), ["c", "d"]);
    assert_eq!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    assert!(second["metadata"]["continue"].is_null());
    let now = t.request("GET", PATH, "").await.json();
    assert_eq!(names(&now), ["a", "b", "ca", "d"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_shows_what_enters_and_leaves_its_selection() {
    let t = Running::start().await;
    let from = make(&t, "a").await;
    make(&t, "b").await;
    let patch = |labels: &str| format!(r#"{{"metadata":{{"labels":{labels}}}}}"#);
    let headers = [("content-type", "application/merge-patch+json")];
    for labels in [r#"{"x":"1"}"#, r#"{"y":"1"}"#, r#"{"x":null}"#] {
        let answer = t
            .request_as(Some(&t.pki.admin), "PATCH", &format!("{PATH}/b"), &patch(labels), &headers)
            .await
            .unwrap();
        assert_eq!(answer.status, 200);
    }
    let answer = t
        .request(
            "GET",
            &format!("{PATH}?watch=1&timeoutSeconds=1&resourceVersion={from}&labelSelector=x"),
            "",
        )
        .await;
    let events: Vec<serde_json::Value> =
        answer.text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let kinds: Vec<&str> = events.iter().map(|e| e["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["ADDED", "MODIFIED", "DELETED"], "{}", answer.text);
    // It shows what the object was, at the revision at which it left.
    assert_eq!(events[2]["object"]["metadata"]["labels"]["x"], "1");
    let revision = |i: usize| {
        events[i]["object"]["metadata"]["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap()
    };
    assert!(revision(2) > revision(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_from_before_the_server_knew_is_told_to_list_again() {
    let kv = std::sync::Arc::new(support::memory_store().unwrap());
    let pki = std::sync::Arc::new(support::Pki::new().unwrap());
    let first = Running::start_on(kv.clone(), pki.clone()).await;
    make(&first, "a").await;
    let second = Running::start_on(kv, pki).await;
    let old = second.request("GET", &format!("{PATH}?watch=1&timeoutSeconds=1&resourceVersion=1"), "").await;
    assert!(
        old.text.contains("\"code\":410") && old.text.contains("too old resource version: 1 ("),
        "{}",
        old.text
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_initial_list_in_a_watch_ends_with_its_bookmark() {
    let t = Running::start().await;
    make(&t, "a").await;
    make(&t, "b").await;
    let query = "watch=1&timeoutSeconds=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let answer = t.request("GET", &format!("{PATH}?{query}"), "").await;
    let lines: Vec<&str> = answer.text.lines().collect();
    assert!(lines[0].contains("ADDED") && lines[1].contains("ADDED"), "{}", answer.text);
    assert!(
        lines[2].contains("BOOKMARK") && lines[2].contains("k8s.io/initial-events-end"),
        "{}",
        answer.text
    );
    assert!(lines.last().unwrap().contains("BOOKMARK"), "the deadline's bookmark: {}", answer.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn components_of_the_process_share_the_caches_objects() {
    let t = Running::start().await;
    make(&t, "a").await;
    let admin = Identity::user("system:admin", ["system:masters"]);
    let list = t.server.list(PATH, &admin).await.unwrap();
    assert_eq!(list.items[0].name(), "a");
    let path = format!("{PATH}?resourceVersion={}&allowWatchBookmarks=true", list.resource_version);
    let mut watch = t.server.watch(&path, &admin).await.unwrap();
    make(&t, "b").await;
    let Some(Ok(WatchEvent::Added(seen))) = watch.next().await else { panic!("an ADDED event") };
    assert_eq!(seen.name(), "b");
    let again = t.server.list(PATH, &admin).await.unwrap();
    assert!(std::sync::Arc::ptr_eq(&seen, &again.items[1]), "one tree per object and revision");
    let nobody = Identity::user("nobody", Vec::<String>::new());
    assert_eq!(t.server.list(PATH, &nobody).await.unwrap_err().code, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_list_is_compressed_for_those_who_can_read_it() {
    let t = Running::start().await;
    for i in 0..3 {
        let body = format!(r#"{{"metadata":{{"name":"l{i}"}},"data":{{"k":"{}"}}}}"#, "x".repeat(100_000));
        assert_eq!(t.request("POST", PATH, &body).await.status, 201);
    }
    let plain = t.request("GET", PATH, "").await;
    assert!(plain.headers.get("content-encoding").is_none() && plain.text.len() > 300_000);
    let headers = [("accept-encoding", "gzip")];
    let packed = t.request_as(Some(&t.pki.admin), "GET", PATH, "", &headers).await.unwrap();
    assert_eq!(packed.headers["content-encoding"], "gzip");
    assert!(packed.text.len() < 30_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_ends_its_watches_between_events() {
    let t = Running::start().await;
    let mut sender = t.connect(Some(&t.pki.admin)).await.unwrap();
    let request = http::Request::get(format!("{PATH}?watch=1&resourceVersion=0&allowWatchBookmarks=true"))
        .header("host", "localhost")
        .body(Full::new(Bytes::new()))
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    let stopping = tokio::spawn({
        let server = t.server.clone();
        async move { server.shutdown().await }
    });
    support::eventually("a failing readyz", async || (!t.server.is_ready()).then_some(())).await;
    let body = tokio::time::timeout(support::DEADLINE, response.into_body().collect())
        .await
        .expect("the watch ends");
    let text = String::from_utf8(body.expect("and ends well").to_bytes().to_vec()).unwrap();
    assert!(text.lines().last().unwrap().contains("BOOKMARK"), "{text}");
    stopping.await.unwrap();
}
