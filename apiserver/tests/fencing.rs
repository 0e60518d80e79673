//! A leader that was deposed cannot write, by any verb: each of its requests is refused as a whole,
//! and leaves no trace. The same requests under the newest epoch all succeed, so what is refused is
//! the epoch.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use support::{Pki, Running, memory_store};
use trireme_store::{KeyRange, Kv, RangeRequest};

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";
const NS: &str = "/api/v1/namespaces/default";
const APPS: &str = "/apis/apps/v1/namespaces/default";
/// What API servers write on their own.
const OWN: &[&str] = &["/registry/masterleases/", "compact_rev_key"];

fn lease(holder: &str) -> String {
    format!(
        r#"{{"kind":"Lease","apiVersion":"coordination.k8s.io/v1","metadata":{{"name":"l"}},"spec":{{"holderIdentity":"{holder}"}}}}"#
    )
}

struct Request {
    method: &'static str,
    path: String,
    content_type: &'static str,
    body: String,
}

fn request(method: &'static str, path: String, content_type: &'static str, body: &str) -> Request {
    Request { method, path, content_type, body: body.to_owned() }
}

fn pod(name: &str, node: &str) -> String {
    let node = if node.is_empty() { String::new() } else { format!(r#""nodeName":"{node}","#) };
    format!(
        r#"{{"metadata":{{"name":"{name}","labels":{{"app":"{name}"}}}},"spec":{{{node}"terminationGracePeriodSeconds":0,"containers":[{{"name":"c","image":"i"}}]}}}}"#
    )
}

/// What must be there for the requests to make sense.
fn world() -> Vec<(String, String)> {
    let deployment = r#"{"metadata":{"name":"d"},"spec":{"replicas":1,"selector":{"matchLabels":{"app":"d"}},"template":{"metadata":{"labels":{"app":"d"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}}"#;
    let budget =
        r#"{"metadata":{"name":"b"},"spec":{"minAvailable":0,"selector":{"matchLabels":{"app":"p3"}}}}"#;
    let service =
        |name: &str| format!(r#"{{"metadata":{{"name":"{name}"}},"spec":{{"ports":[{{"port":80}}]}}}}"#);
    let finalized = r#"{"metadata":{"name":"held","finalizers":["example.com/f"]}}"#;
    vec![
        (format!("{NS}/serviceaccounts"), r#"{"metadata":{"name":"default"}}"#.into()),
        (
            format!("{NS}/configmaps"),
            r#"{"metadata":{"name":"a","labels":{"x":"y"}},"data":{"k":"v"}}"#.into(),
        ),
        (format!("{NS}/configmaps"), r#"{"metadata":{"name":"b","labels":{"x":"y"}}}"#.into()),
        (format!("{NS}/configmaps"), finalized.into()),
        (format!("{APPS}/deployments"), deployment.into()),
        (format!("{NS}/services"), service("s1")),
        (format!("{NS}/services"), service("s2")),
        (format!("{NS}/pods"), pod("p1", "")),
        (format!("{NS}/pods"), pod("p2", "")),
        (format!("{NS}/pods"), pod("p3", "n1")),
        (format!("{NS}/pods"), pod("p4", "n1")),
        ("/apis/policy/v1/namespaces/default/poddisruptionbudgets".into(), budget.into()),
        ("/api/v1/nodes".into(), r#"{"metadata":{"name":"n1"}}"#.into()),
        ("/api/v1/namespaces".into(), r#"{"metadata":{"name":"going"}}"#.into()),
        ("/api/v1/namespaces".into(), r#"{"metadata":{"name":"gone"}}"#.into()),
    ]
}

/// Every way to write, in an order in which all succeed.
fn requests() -> Vec<Request> {
    let json = "application/json";
    let (merge, strategic) = ("application/merge-patch+json", "application/strategic-merge-patch+json");
    let apply = "application/apply-patch+yaml";
    let bind = |name: &str| {
        format!(
            r#"{{"kind":"Binding","apiVersion":"v1","metadata":{{"name":"{name}"}},"target":{{"kind":"Node","name":"n1"}}}}"#
        )
    };
    let scale = r#"{"kind":"Scale","apiVersion":"autoscaling/v1","metadata":{"name":"d","namespace":"default"},"spec":{"replicas":2}}"#;
    let running = r#"{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}"#;
    let node_port = r#"{"metadata":{"name":"s3"},"spec":{"type":"NodePort","ports":[{"port":80}]}}"#;
    let event = r#"{"metadata":{"name":"e"},"involvedObject":{"kind":"Pod","namespace":"default","name":"p1"},"reason":"R"}"#;
    let applied = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"applied"},"data":{"k":"v"}}"#;
    let applied_again =
        r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"applied"},"data":{"k":"w"}}"#;
    let finalized =
        r#"{"kind":"Namespace","apiVersion":"v1","metadata":{"name":"going"},"spec":{"finalizers":[]}}"#;
    let eviction =
        r#"{"kind":"Eviction","apiVersion":"policy/v1","metadata":{"name":"p3","namespace":"default"}}"#;
    vec![
        request("POST", format!("{NS}/configmaps"), json, r#"{"metadata":{"name":"c"}}"#),
        request("POST", format!("{NS}/configmaps"), json, r#"{"metadata":{"generateName":"g-"}}"#),
        request("POST", format!("{NS}/events"), json, event),
        request("POST", format!("{NS}/services"), json, node_port),
        request("PUT", format!("{NS}/configmaps/a"), json, r#"{"metadata":{"name":"a"},"data":{"k":"w"}}"#),
        request("PATCH", format!("{NS}/configmaps/b"), merge, r#"{"data":{"k":"x"}}"#),
        request(
            "PATCH",
            format!("{NS}/configmaps/b"),
            "application/json-patch+json",
            r#"[{"op":"add","path":"/data/j","value":"y"}]"#,
        ),
        request("PATCH", format!("{APPS}/deployments/d"), strategic, r#"{"spec":{"paused":true}}"#),
        request("PATCH", format!("{NS}/configmaps/applied?fieldManager=m"), apply, applied),
        request("PATCH", format!("{NS}/configmaps/applied?fieldManager=m"), apply, applied_again),
        request("PUT", format!("{APPS}/deployments/d/scale"), json, scale),
        request("PATCH", format!("{APPS}/deployments/d/scale"), merge, r#"{"spec":{"replicas":3}}"#),
        request(
            "PATCH",
            format!("{APPS}/deployments/d/status"),
            merge,
            r#"{"status":{"observedGeneration":1}}"#,
        ),
        request("POST", format!("{NS}/pods/p1/binding"), json, &bind("p1")),
        request("POST", format!("{NS}/bindings"), json, &bind("p2")),
        request("PATCH", format!("{NS}/pods/p3/status"), strategic, running),
        request("POST", format!("{NS}/pods/p3/eviction"), json, eviction),
        request("PATCH", "/api/v1/nodes/n1/status".into(), strategic, r#"{"status":{"phase":"Running"}}"#),
        request(
            "PATCH",
            "/api/v1/nodes/n1".into(),
            merge,
            r#"{"spec":{"podCIDR":"10.0.0.0/24","podCIDRs":["10.0.0.0/24"]}}"#,
        ),
        request("DELETE", format!("{NS}/pods/p4"), json, ""),
        request("DELETE", format!("{NS}/services/s1"), json, ""),
        request(
            "PATCH",
            format!("{NS}/services/s2"),
            merge,
            r#"{"spec":{"type":"ExternalName","externalName":"example.com","clusterIP":null,"clusterIPs":null}}"#,
        ),
        request("DELETE", format!("{NS}/configmaps/held"), json, ""),
        request("PATCH", format!("{NS}/configmaps/held"), merge, r#"{"metadata":{"finalizers":null}}"#),
        request("DELETE", format!("{NS}/configmaps?labelSelector=x%3Dy"), json, ""),
        request("DELETE", "/api/v1/namespaces/gone".into(), json, ""),
        request("PUT", "/api/v1/namespaces/going/finalize".into(), json, finalized),
        request("PUT", format!("{LEASES}/made-by-put"), json, r#"{"metadata":{"name":"made-by-put"}}"#),
        // Its own Lease as well: neither kept nor thrown away by who has lost it.
        request(
            "PATCH",
            format!("{LEASES}/l"),
            merge,
            r#"{"spec":{"renewTime":"2026-01-01T00:00:00.000000Z"}}"#,
        ),
    ]
}

async fn stored(kv: &dyn Kv) -> BTreeMap<Bytes, Bytes> {
    let mut everything = KeyRange::prefix("/");
    everything.end = Bytes::from_static(&[0xff]);
    let answer = kv.range(RangeRequest::new(everything)).await.expect("a range");
    let own = |key: &[u8]| OWN.iter().any(|own| key.starts_with(own.as_bytes()));
    answer.kvs.into_iter().filter(|kv| !own(&kv.key)).map(|kv| (kv.key, kv.value)).collect()
}

async fn send(t: &Running, r: &Request, epoch: u64) -> support::Answer {
    let fence = format!("kube-system/l={epoch}");
    let headers = [("trireme-fence", fence.as_str()), ("content-type", r.content_type)];
    t.request_as(Some(&t.pki.admin), r.method, &r.path, &r.body, &headers).await.expect("an answer")
}

fn assert_fenced(answer: &support::Answer, what: &str) {
    assert_eq!(answer.status, 409, "{what}: {}", answer.text);
    let status = answer.json();
    assert_eq!(status["reason"], "Conflict", "{what}");
    assert_eq!(status["details"]["causes"][0]["reason"], "LeaderFenced", "{what}: {}", answer.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_verb_gets_past_a_fence() {
    let kv: Arc<dyn Kv> = Arc::new(memory_store().expect("a store in memory"));
    let t = Running::start_on(kv.clone(), Arc::new(Pki::new().expect("certificates"))).await;
    for (path, body) in world() {
        let answer = t.request("POST", &path, &body).await;
        assert_eq!(answer.status, 201, "{path} {body}: {}", answer.text);
    }
    assert_eq!(t.request("POST", LEASES, &lease("one")).await.status, 201);
    let headers = [("content-type", "application/merge-patch+json")];
    let two = r#"{"spec":{"holderIdentity":"two"}}"#;
    let taken = t.request_as(Some(&t.pki.admin), "PATCH", &format!("{LEASES}/l"), two, &headers).await;
    assert_eq!(taken.expect("an answer").status, 200);

    for r in requests() {
        let what = format!("{} {}", r.method, r.path);
        let before = stored(kv.as_ref()).await;
        // What the request needs must be there for it to be refused for its epoch and nothing else.
        assert_fenced(&send(&t, &r, 1).await, &what);
        let after = stored(kv.as_ref()).await;
        let changed: Vec<_> = after.iter().filter(|(key, value)| before.get(*key) != Some(*value)).collect();
        assert!(changed.is_empty() && after.len() == before.len(), "{what} has changed {changed:?}");
        let answer = send(&t, &r, 2).await;
        assert!((200..300).contains(&answer.status), "{what}: {} {}", answer.status, answer.text);
        assert_ne!(stored(kv.as_ref()).await, before, "{what} changes something");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_moves_a_lease_raises_its_epoch_and_nobody_else() {
    let t = Running::start().await;
    let path = format!("{LEASES}/l");
    let merge = [("content-type", "application/merge-patch+json")];
    let patch = async |body: &str| {
        t.request_as(Some(&t.pki.admin), "PATCH", &path, body, &merge).await.expect("an answer")
    };
    let epoch = async || {
        let lease = t.request("GET", &path, "").await.json();
        lease["metadata"]["annotations"]["trireme.io/fence-epoch"].as_str().map(str::to_owned)
    };
    let writes = async |epoch: u64, name: &str| {
        let map = request(
            "POST",
            format!("{NS}/configmaps"),
            "application/json",
            &format!(r#"{{"metadata":{{"name":"{name}"}}}}"#),
        );
        send(&t, &map, epoch).await.status
    };
    let lying =
        lease("").replace(r#""name":"l""#, r#""name":"l","annotations":{"trireme.io/fence-epoch":"7"}"#);
    assert_eq!(t.request("POST", LEASES, &lying).await.status, 201);
    assert_eq!(epoch().await, None, "nobody holds it, and what a client says of it is not kept");
    assert_eq!(patch(r#"{"spec":{"holderIdentity":"one"}}"#).await.status, 200);
    assert_eq!(epoch().await.as_deref(), Some("1"));
    // Neither a renewal nor another's word about the epoch changes it.
    assert_eq!(patch(r#"{"spec":{"leaseDurationSeconds":9}}"#).await.status, 200);
    assert_eq!(patch(r#"{"metadata":{"annotations":{"trireme.io/fence-epoch":"9"}}}"#).await.status, 200);
    assert_eq!(epoch().await.as_deref(), Some("1"));
    assert_eq!(patch(r#"{"metadata":{"annotations":null}}"#).await.status, 200);
    assert_eq!(epoch().await.as_deref(), Some("1"));
    assert_eq!(writes(1, "a").await, 201);
    // Given up: nobody leads, and who did does not any more.
    assert_eq!(patch(r#"{"spec":{"holderIdentity":""}}"#).await.status, 200);
    assert_eq!(writes(1, "b").await, 409);
    assert_eq!(patch(r#"{"spec":{"holderIdentity":"two"}}"#).await.status, 200);
    assert_eq!(epoch().await.as_deref(), Some("3"));
    assert_eq!(writes(3, "b").await, 201);
    // Deleted, with nobody after it.
    assert_eq!(t.request("DELETE", &path, "").await.status, 200);
    assert_eq!(writes(3, "c").await, 409);
    assert_eq!(t.request("POST", LEASES, &lease("three")).await.status, 201);
    assert_eq!(epoch().await.as_deref(), Some("5"));
    // A deposed holder does not take the Lease back under its old epoch, nor delete it.
    for (method, body) in [("PATCH", r#"{"spec":{"holderIdentity":"two"}}"#), ("DELETE", "")] {
        let content_type = if body.is_empty() { "application/json" } else { merge[0].1 };
        let answer = send(&t, &request(method, path.clone(), content_type, body), 3).await;
        assert_fenced(&answer, method);
    }
    assert_eq!(epoch().await.as_deref(), Some("5"));
    assert_eq!(writes(5, "c").await, 201);
}
