//! Writes of which the store does not say what became of them: whoever asked is told so, and nothing is
//! done a second time.

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use support::{Pki, Running, Troubled};

const PATH: &str = "/api/v1/namespaces/default/configmaps";

fn config_map(name: &str, version: &str) -> String {
    format!(
        r#"{{"kind":"ConfigMap","apiVersion":"v1","metadata":{{"name":"{name}","resourceVersion":"{version}"}},"data":{{"k":"v{version}"}}}}"#
    )
}

/// Its resource version.
async fn created(t: &Running, name: &str) -> String {
    let made = t.request("POST", PATH, &config_map(name, "")).await;
    assert_eq!(made.status, 201, "{}", made.text);
    // The cache has it by then: what is changed next is what the cache has.
    assert_eq!(t.request("GET", PATH, "").await.status, 200);
    let object: serde_json::Value = serde_json::from_str(&made.text).expect("JSON");
    object["metadata"]["resourceVersion"].as_str().expect("a version").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_have_been_done_is_not_done_again() {
    let kv = Arc::new(Troubled::new().expect("a store in memory"));
    let t = Running::start_on(kv.clone(), Arc::new(Pki::new().expect("certificates"))).await;
    let lose = || kv.loses_answer.store(true, Ordering::SeqCst);

    let version = created(&t, "updated").await;
    lose();
    let sent = t.request("PUT", &format!("{PATH}/updated"), &config_map("updated", &version)).await;
    assert_eq!(sent.status, 504, "a conflict with itself: {}", sent.text);
    let found = t.request("GET", &format!("{PATH}/updated"), "").await;
    assert!(found.text.contains(&format!("\"k\":\"v{version}\"")), "{}", found.text);

    created(&t, "patched").await;
    let append = r#"[{"op":"add","path":"/metadata/finalizers","value":["example.test/a"]}]"#;
    let patch = [("content-type", "application/json-patch+json")];
    let patched = format!("{PATH}/patched");
    assert_eq!(
        t.request_as(Some(&t.pki.admin), "PATCH", &patched, append, &patch).await.expect("an answer").status,
        200
    );
    assert_eq!(t.request("GET", PATH, "").await.status, 200);
    let append = r#"[{"op":"add","path":"/metadata/finalizers/-","value":"example.test/b"}]"#;
    lose();
    let sent = t.request_as(Some(&t.pki.admin), "PATCH", &patched, append, &patch).await.expect("an answer");
    assert_eq!(sent.status, 504, "{}", sent.text);
    let found = t.request("GET", &patched, "").await.text;
    let found: serde_json::Value = serde_json::from_str(&found).expect("JSON");
    let finalizers = serde_json::json!(["example.test/a", "example.test/b"]);
    assert_eq!(found["metadata"]["finalizers"], finalizers, "it was done twice, or not at all");

    created(&t, "deleted").await;
    lose();
    let sent = t.request("DELETE", &format!("{PATH}/deleted"), "").await;
    assert_eq!(sent.status, 504, "{}", sent.text);
    assert_eq!(t.request("GET", &format!("{PATH}/deleted"), "").await.status, 404);
}
