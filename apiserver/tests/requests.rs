//! Requests over real TLS: who gets in, what is written, what is refused.

mod support;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use support::{Connection, Pki, Running, memory_store};

const NS: &str = "/api/v1/namespaces/default";

fn config_map(name: &str) -> String {
    format!(r#"{{"kind":"ConfigMap","apiVersion":"v1","metadata":{{"name":"{name}"}},"data":{{"k":"v"}}}}"#)
}

#[tokio::test(flavor = "multi_thread")]
async fn only_those_who_are_known_get_past_health_and_version() {
    let t = Running::start().await;
    for path in ["/healthz", "/livez", "/readyz", "/version"] {
        assert_eq!(t.request_as(None, "GET", path, "", &[]).await.unwrap().status, 200, "{path}");
    }
    for path in ["/api", "/apis", "/metrics", "/api/v1/pods", "/openapi/v2"] {
        let answer = t.request_as(None, "GET", path, "", &[]).await.unwrap();
        assert_eq!(answer.status, 403, "{path}");
        assert!(answer.text.contains("system:anonymous"), "{}", answer.text);
    }
    let stranger = Pki::new().unwrap();
    let answer = t.request_as(Some(&stranger.admin), "GET", "/healthz", "", &[]).await.unwrap();
    assert_eq!(answer.status, 401, "a certificate of another CA is refused in words");
    let answer =
        t.request_as(None, "GET", "/healthz", "", &[("authorization", "Bearer x.y.z")]).await.unwrap();
    assert_eq!(answer.status, 401);
    let user = t.pki.issue("jane", Some("dev"), &[], true).unwrap();
    let answer = t.request_as(Some(&user), "GET", "/api/v1/nodes", "", &[]).await.unwrap();
    assert_eq!(
        answer.json()["message"],
        "nodes is forbidden: User \"jane\" cannot list resource \"nodes\" in API group \"\" at the cluster scope"
    );
    assert_eq!(t.request_as(Some(&user), "GET", "/api", "", &[]).await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_judged_for_each_request_of_a_connection() {
    let t = Running::start().await;
    let stranger = Pki::new().unwrap();
    let mut of_another = t.connect(Some(&stranger.admin)).await.unwrap();
    let soon = UNIX_EPOCH.elapsed().unwrap() + Duration::from_secs(2);
    let early = t.pki.issue_from(soon, "admin", Some("system:masters"), &[], true).unwrap();
    let mut too_early = t.connect(Some(&early)).await.unwrap();
    let ask = async |on: &mut Connection| {
        on.ready().await.unwrap();
        let request = http::Request::get("/api/v1/nodes").header("host", "localhost");
        let answer = on.send_request(request.body(Default::default()).unwrap()).await.unwrap();
        let status = answer.status().as_u16();
        // The next request goes when this answer is read.
        http_body_util::BodyExt::collect(answer.into_body()).await.unwrap();
        status
    };
    assert_eq!(ask(&mut of_another).await, 401);
    assert_eq!(ask(&mut too_early).await, 401);
    support::eventually("the certificate's time", async || (ask(&mut too_early).await == 200).then_some(()))
        .await;
    // Its authority is one of the cluster's, and is not any more.
    let both = format!("{}{}", t.pki.ca_pem, stranger.ca_pem);
    for (authorities, status) in [(both, 200), (t.pki.ca_pem.clone(), 401)] {
        t.server.reload_tls(&t.pki.material(authorities)).unwrap();
        assert_eq!(ask(&mut of_another).await, status);
        assert_eq!(ask(&mut too_early).await, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_token_works_until_its_account_is_gone() {
    let t = Running::start().await;
    let path = format!("{NS}/serviceaccounts");
    assert_eq!(t.request("POST", &path, r#"{"metadata":{"name":"robot"}}"#).await.status, 201);
    let answer = t
        .request(
            "POST",
            &format!("{path}/robot/token"),
            r#"{"kind":"TokenRequest","apiVersion":"authentication.k8s.io/v1","spec":{}}"#,
        )
        .await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    let token = answer.json()["status"]["token"].as_str().unwrap().to_owned();
    let header = format!("Bearer {token}");
    let ask = async || {
        let review = r#"{"kind":"SelfSubjectReview","apiVersion":"authentication.k8s.io/v1"}"#;
        let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
        t.request_as(None, "POST", path, review, &[("authorization", &header)]).await.unwrap()
    };
    let answer = ask().await;
    assert_eq!(
        answer.json()["status"]["userInfo"]["username"],
        "system:serviceaccount:default:robot",
        "{}",
        answer.text
    );
    let forged = format!("{}x", &header[..header.len() - 1]);
    assert_eq!(
        t.request_as(None, "GET", "/api", "", &[("authorization", &forged)]).await.unwrap().status,
        401
    );
    assert_eq!(t.request("DELETE", &format!("{path}/robot"), "").await.status, 200);
    support::eventually("the token's end", async || (ask().await.status == 401).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_named_and_the_server_stays_up() {
    let t = Running::start().await;
    let path = format!("{NS}/configmaps");
    for (body, code, words) in [
        ("{", 400, "json parse error"),
        ("", 400, "unexpected end of JSON input"),
        (r#"{"kind":"Nope","apiVersion":"v1"}"#, 400, "no kind \"Nope\" is registered"),
        (
            r#"{"kind":"Secret","apiVersion":"v1","metadata":{"name":"a"}}"#,
            400,
            "cannot be handled as a ConfigMap",
        ),
        (r#"{"metadata":{"name":"a","namespace":"other"}}"#, 400, "does not match the namespace"),
        (r#"{"metadata":{"name":"A b"}}"#, 422, "metadata.name"),
    ] {
        let answer = t.request("POST", &path, body).await;
        assert_eq!(answer.status, code, "{body}: {}", answer.text);
        assert!(answer.json()["message"].as_str().unwrap().contains(words), "{body}: {}", answer.text);
    }
    let large = format!(r#"{{"data":{{"k":"{}"}}}}"#, "x".repeat(3 * 1024 * 1024));
    assert_eq!(t.request("POST", &path, &large).await.status, 413);
    let unknown = r#"{"metadata":{"name":"a"},"dataa":{}}"#;
    let strict = t.request("POST", &format!("{path}?fieldValidation=Strict"), unknown).await;
    assert!(strict.text.contains("unknown field \\\"dataa\\\""), "{}", strict.text);
    let warned = t.request("POST", &path, unknown).await;
    assert_eq!(warned.status, 201);
    assert_eq!(warned.headers["warning"], "299 - \"unknown field \\\"dataa\\\"\"");
    assert_eq!(t.request("GET", "/readyz", "").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_write_conflicts_and_an_empty_one_keeps_its_revision() {
    let t = Running::start().await;
    let path = format!("{NS}/configmaps");
    let first = t.request("POST", &path, &config_map("a")).await.json();
    let same = t.request("PUT", &format!("{path}/a"), &first.to_string()).await.json();
    assert_eq!(same["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    let mut changed = first.clone();
    changed["data"]["k"] = "w".into();
    let second = t.request("PUT", &format!("{path}/a"), &changed.to_string()).await;
    assert_eq!(second.status, 200, "{}", second.text);
    let stale = t.request("PUT", &format!("{path}/a"), &changed.to_string()).await;
    assert_eq!((stale.status, stale.json()["reason"].as_str().unwrap()), (409, "Conflict"));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_on_one_store_never_give_out_one_address_or_port_twice() {
    let kv = Arc::new(memory_store().unwrap());
    let pki = Arc::new(Pki::new().unwrap());
    let one = Arc::new(Running::start_on(kv.clone(), pki.clone()).await);
    let two = Arc::new(Running::start_on(kv, pki).await);
    let jobs: Vec<_> = (0..40)
        .map(|i| {
            let t = if i % 2 == 0 { one.clone() } else { two.clone() };
            tokio::spawn(async move {
                let body = format!(
                    r#"{{"metadata":{{"name":"s{i}"}},"spec":{{"type":"NodePort","ports":[{{"port":80}}]}}}}"#
                );
                let answer = t.request("POST", &format!("{NS}/services"), &body).await;
                assert_eq!(answer.status, 201, "{}", answer.text);
                let spec = &answer.json()["spec"];
                (
                    spec["clusterIP"].as_str().unwrap().to_owned(),
                    spec["ports"][0]["nodePort"].as_u64().unwrap(),
                )
            })
        })
        .collect();
    let (mut addresses, mut ports) = (HashSet::new(), HashSet::new());
    for job in jobs {
        let (address, port) = job.await.unwrap();
        assert!(addresses.insert(address.clone()), "{address} was given out twice");
        assert!(ports.insert(port), "{port} was given out twice");
    }
    let taken = addresses.iter().next().unwrap();
    let body = format!(
        r#"{{"metadata":{{"name":"again"}},"spec":{{"clusterIP":"{taken}","ports":[{{"port":80}}]}}}}"#
    );
    let answer = one.request("POST", &format!("{NS}/services"), &body).await;
    assert!(answer.status == 422 && answer.text.contains("already allocated"), "{}", answer.text);
    // What a deletion gives back can be had again.
    for i in 0..40 {
        assert_eq!(two.request("DELETE", &format!("{NS}/services/s{i}"), "").await.status, 200);
    }
    let answer = one.request("POST", &format!("{NS}/services"), &body).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_made_in_a_namespace_that_is_going() {
    let t = Running::start().await;
    assert_eq!(t.request("POST", "/api/v1/namespaces", r#"{"metadata":{"name":"n"}}"#).await.status, 201);
    assert_eq!(t.request("POST", "/api/v1/namespaces/n/configmaps", &config_map("a")).await.status, 201);
    assert_eq!(t.request("DELETE", "/api/v1/namespaces/n", "").await.status, 200);
    let answer = t.request("POST", "/api/v1/namespaces/n/configmaps", &config_map("b")).await;
    assert_eq!(answer.status, 403);
    assert_eq!(answer.json()["details"]["causes"][0]["reason"], "NamespaceTerminating");
    // Its controller takes the finalizer away once it is empty, and it goes.
    assert_eq!(t.request("DELETE", "/api/v1/namespaces/n/configmaps/a", "").await.status, 200);
    let finalize =
        r#"{"kind":"Namespace","apiVersion":"v1","metadata":{"name":"n"},"spec":{"finalizers":[]}}"#;
    assert_eq!(t.request("PUT", "/api/v1/namespaces/n/finalize", finalize).await.status, 200);
    assert_eq!(t.request("GET", "/api/v1/namespaces/n", "").await.status, 404);
    assert_eq!(t.request("POST", "/api/v1/namespaces/n/configmaps", &config_map("c")).await.status, 404);
    assert_eq!(t.request("DELETE", "/api/v1/namespaces/kube-system", "").await.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_namespace_that_is_deleted_is_made_again() {
    let t = Running::start().await;
    let path = "/api/v1/namespaces/kube-node-lease";
    let uid = t.request("GET", path, "").await.json()["metadata"]["uid"].clone();
    assert_eq!(t.request("DELETE", path, "").await.status, 200);
    let finalize = r#"{"kind":"Namespace","apiVersion":"v1","metadata":{"name":"kube-node-lease"},"spec":{"finalizers":[]}}"#;
    assert_eq!(t.request("PUT", &format!("{path}/finalize"), finalize).await.status, 200);
    support::eventually("another", async || {
        let answer = t.request("GET", path, "").await;
        (answer.status == 200 && answer.json()["metadata"]["uid"] != uid).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_lost_its_lease_cannot_write() {
    let t = Running::start().await;
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";
    let lease = |holder: &str| {
        format!(
            r#"{{"kind":"Lease","apiVersion":"coordination.k8s.io/v1","metadata":{{"name":"l"}},"spec":{{"holderIdentity":"{holder}"}}}}"#
        )
    };
    let epoch = |answer: &support::Answer| {
        answer.json()["metadata"]["annotations"]["trireme.io/fence-epoch"]
            .as_str()
            .unwrap_or("none")
            .to_owned()
    };
    assert_eq!(t.request("POST", leases, &lease("one")).await.status, 201);
    let read = t.request("GET", &format!("{leases}/l"), "").await;
    assert_eq!(epoch(&read), "1");
    let write = async |name: &str, epoch: &str| {
        let fence = format!("kube-system/l={epoch}");
        let headers = [("trireme-fence", fence.as_str())];
        t.request_as(Some(&t.pki.admin), "POST", &format!("{NS}/configmaps"), &config_map(name), &headers)
            .await
            .unwrap()
    };
    assert_eq!(write("a", "1").await.status, 201);
    let patch = r#"{"spec":{"holderIdentity":"two"}}"#;
    let headers = [("content-type", "application/merge-patch+json")];
    let taken =
        t.request_as(Some(&t.pki.admin), "PATCH", &format!("{leases}/l"), patch, &headers).await.unwrap();
    assert_eq!(taken.status, 200, "{}", taken.text);
    let refused = write("b", "1").await;
    assert_eq!(
        (refused.status, refused.json()["details"]["causes"][0]["reason"].as_str().unwrap()),
        (409, "LeaderFenced")
    );
    assert_eq!(write("b", "2").await.status, 201);
    // A lease that is deleted and made again does not start over.
    assert_eq!(t.request("DELETE", &format!("{leases}/l"), "").await.status, 200);
    assert_eq!(t.request("POST", leases, &lease("three")).await.status, 201);
    assert_eq!(write("c", "2").await.status, 409);
    assert_eq!(epoch(&t.request("GET", &format!("{leases}/l"), "").await), "4");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_reaches_its_own_and_what_its_pods_name() {
    let t = Running::start().await;
    assert_eq!(
        t.request("POST", &format!("{NS}/serviceaccounts"), r#"{"metadata":{"name":"default"}}"#)
            .await
            .status,
        201
    );
    let secret = |name: &str| format!(r#"{{"metadata":{{"name":"{name}"}},"stringData":{{"k":"v"}}}}"#);
    for name in ["mine", "other"] {
        assert_eq!(t.request("POST", &format!("{NS}/secrets"), &secret(name)).await.status, 201);
    }
    let pod = r#"{"metadata":{"name":"p"},"spec":{"nodeName":"n1","containers":[{"name":"c","image":"i","envFrom":[{"secretRef":{"name":"mine"}}]}]}}"#;
    assert_eq!(t.request("POST", &format!("{NS}/pods"), pod).await.status, 201);
    let node = t.pki.issue("system:node:n1", Some("system:nodes"), &[], true).unwrap();
    let merge = [("content-type", "application/merge-patch+json")];
    let ask = async |method: &str, path: &str, body: &str| {
        let headers = if method == "PATCH" { &merge[..] } else { &[] };
        t.request_as(Some(&node), method, path, body, headers).await.unwrap().status
    };
    let named = |name: &str| format!(r#"{{"metadata":{{"name":"{name}"}}}}"#);
    assert_eq!(ask("POST", "/api/v1/nodes", &named("n1")).await, 201);
    assert_eq!(ask("POST", "/api/v1/nodes", &named("n2")).await, 403);
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    assert_eq!(ask("POST", leases, &named("n1")).await, 201);
    assert_eq!(ask("POST", leases, &named("n2")).await, 403);
    assert_eq!(ask("GET", &format!("{NS}/secrets/mine"), "").await, 200);
    assert_eq!(ask("GET", &format!("{NS}/secrets/other"), "").await, 403);
    assert_eq!(ask("GET", &format!("{NS}/secrets"), "").await, 403);
    assert_eq!(ask("PATCH", &format!("{NS}/pods/p/status"), r#"{"status":{"phase":"Running"}}"#).await, 200);
    let event = r#"{"metadata":{"name":"e"},"involvedObject":{"kind":"Pod","namespace":"default","name":"p"},"reason":"Started","message":"m","type":"Normal"}"#;
    assert_eq!(ask("POST", &format!("{NS}/events"), event).await, 201);
    assert_eq!(ask("GET", "/api/v1/services", "").await, 200);
    assert_eq!(ask("DELETE", &format!("{NS}/secrets/mine"), "").await, 403);
    let other =
        r#"{"metadata":{"name":"q"},"spec":{"nodeName":"n2","containers":[{"name":"c","image":"i"}]}}"#;
    assert_eq!(t.request("POST", &format!("{NS}/pods"), other).await.status, 201);
    for (path, code) in [
        ("/api/v1/pods", 403),
        ("/api/v1/pods?watch=1&timeoutSeconds=1", 403),
        ("/api/v1/pods?fieldSelector=spec.nodeName%3Dn1", 200),
        ("/api/v1/pods?watch=1&timeoutSeconds=1&fieldSelector=spec.nodeName%3Dn1", 200),
        ("/api/v1/pods?fieldSelector=spec.nodeName%3Dn2", 403),
        ("/api/v1/pods?fieldSelector=spec.nodeName!%3Dn1", 403),
        ("/api/v1/namespaces/default/pods/p", 200),
        ("/api/v1/namespaces/default/pods/q", 403),
        ("/api/v1/nodes", 403),
        ("/api/v1/nodes?fieldSelector=metadata.name%3Dn1", 200),
        ("/api/v1/nodes?fieldSelector=metadata.name%3Dn2", 403),
        ("/api/v1/nodes/n1", 200),
        ("/api/v1/nodes/n2", 403),
    ] {
        assert_eq!(ask("GET", path, "").await, code, "{path}");
    }
    assert_eq!(ask("GET", "/api/v1/componentstatuses", "").await, 403);
    assert_eq!(t.request("GET", "/api/v1/componentstatuses", "").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_selected_by_the_names_of_their_version() {
    let t = Running::start().await;
    let event = r#"{"metadata":{"name":"e"},"involvedObject":{"kind":"Pod","namespace":"default","name":"p"},"reason":"Started","message":"m","type":"Normal","reportingComponent":"kubelet"}"#;
    assert_eq!(t.request("POST", &format!("{NS}/events"), event).await.status, 201);
    let new = "/apis/events.k8s.io/v1/namespaces/default/events";
    for (path, field, found) in [
        (new, "regarding.kind%3DPod,regarding.name%3Dp,reportingController%3Dkubelet", Some(1)),
        (new, "regarding.name%3Dq", Some(0)),
        (new, "involvedObject.name%3Dp", None),
        ("/api/v1/namespaces/default/events", "involvedObject.name%3Dp", Some(1)),
        ("/api/v1/namespaces/default/events", "regarding.name%3Dp", None),
    ] {
        let answer = t.request("GET", &format!("{path}?fieldSelector={field}"), "").await;
        let items = answer.json()["items"].as_array().map(Vec::len);
        assert_eq!(
            (answer.status == 200, items),
            (found.is_some(), found),
            "{path} {field}: {}",
            answer.text
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_is_told_that_this_is_https() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let t = Running::start().await;
    let mut stream = tokio::net::TcpStream::connect(t.address).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.0 400 Bad Request\r\n"), "{answer}");
    assert!(answer.ends_with("Client sent an HTTP request to an HTTPS server.\n"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn evictions_keep_to_a_budget_whose_status_nobody_fills() {
    let t = Running::start().await;
    let account = r#"{"metadata":{"name":"default"}}"#;
    assert_eq!(t.request("POST", &format!("{NS}/serviceaccounts"), account).await.status, 201);
    let budget =
        r#"{"metadata":{"name":"b"},"spec":{"minAvailable":1,"selector":{"matchLabels":{"a":"b"}}}}"#;
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    assert_eq!(t.request("POST", budgets, budget).await.status, 201);
    let merge = [("content-type", "application/merge-patch+json")];
    for name in ["p", "q"] {
        let pod = format!(
            r#"{{"metadata":{{"name":"{name}","labels":{{"a":"b"}}}},"spec":{{"nodeName":"n","containers":[{{"name":"c","image":"i"}}]}}}}"#
        );
        assert_eq!(t.request("POST", &format!("{NS}/pods"), &pod).await.status, 201);
        let ready = r#"{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}"#;
        let path = format!("{NS}/pods/{name}/status");
        let answer = t.request_as(Some(&t.pki.admin), "PATCH", &path, ready, &merge).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    let evict = async |name: &str| {
        let body =
            format!(r#"{{"kind":"Eviction","apiVersion":"policy/v1","metadata":{{"name":"{name}"}}}}"#);
        t.request("POST", &format!("{NS}/pods/{name}/eviction"), &body).await
    };
    let first = evict("p").await;
    assert_eq!(first.status, 201, "{}", first.text);
    let second = evict("q").await;
    assert_eq!(second.status, 429, "{}", second.text);
    assert!(second.text.contains("needs 1 healthy pods and has 1 currently"), "{}", second.text);
}
