//! What leaders write carries their fence: every change of every controller and of the scheduler,
//! over a workload that has them all at work. And when leadership moves.

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use support::Cluster;
use tokio_util::sync::CancellationToken;
use trireme_api::{Object, Value, value};
use trireme_client::resource::*;
use trireme_client::{
    Client, DeleteOptions, Error, InformerFactory, List, PatchKind, Request, Response, Transport, WatchStream,
};
use trireme_controllers::runtime::{Election, LeaseTiming, Witness, is_fenced};
use trireme_store::TxnRequest;

/// One change that was asked for.
#[derive(Clone, Debug)]
struct Change {
    user: String,
    method: String,
    path: String,
    fence: Option<String>,
}

type Changes = Arc<Mutex<Vec<Change>>>;

struct Recording {
    user: String,
    inner: Arc<dyn Transport>,
    changes: Changes,
}

#[async_trait]
impl Transport for Recording {
    async fn send(&self, request: Request) -> Result<Response, Error> {
        if request.method != http::Method::GET {
            let fence = request.headers.iter().find(|(name, _)| *name == "trireme-fence");
            self.changes.lock().push(Change {
                user: self.user.clone(),
                method: request.method.to_string(),
                path: request.path.clone(),
                fence: fence.map(|(_, value)| value.clone()),
            });
        }
        self.inner.send(request).await
    }

    async fn list(&self, path: &str) -> Result<List, Error> {
        self.inner.list(path).await
    }

    async fn watch(&self, path: &str) -> Result<WatchStream, Error> {
        self.inner.watch(path).await
    }
}

fn object(api_version: &str, kind: &str, name: &str, more: Value) -> Object {
    let mut object = value!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}});
    for (key, value) in more.members() {
        object.make(&[]).insert(key.clone(), value.clone());
    }
    Object(object)
}

/// A pod template; one that asks for too much finds no node.
fn template(app: &str, cpu: &str) -> Value {
    value!({
        "metadata": {"labels": {"app": app}},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}],
        },
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_of_a_leader_carries_its_fence() {
    let changes = Changes::default();
    let recorded = changes.clone();
    let cluster = Cluster::whole_through(Arc::new(move |user, inner| {
        Arc::new(Recording { user: user.to_owned(), inner, changes: recorded.clone() })
    }))
    .await;
    let c = &cluster.client;
    let ns = "work";
    c.create(&NAMESPACES, "", &object("v1", "Namespace", ns, Value::Null)).await.unwrap();
    cluster.until("its account", async || c.get(&SERVICE_ACCOUNTS, ns, "default").await.is_ok()).await;
    let deployment = |name: &str, cpu: &str| {
        object(
            "apps/v1",
            "Deployment",
            name,
            value!({"spec": {
                "replicas": 2,
                "selector": {"matchLabels": {"app": name}},
                "template": template(name, cpu),
            }}),
        )
    };
    let service = value!({"spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}});
    let controller =
        value!({"spec": {"replicas": 1, "selector": {"app": "old"}, "template": template("old", "1m")}});
    c.create(&SERVICES, ns, &object("v1", "Service", "web", service)).await.unwrap();
    c.create(&DEPLOYMENTS, ns, &deployment("web", "1m")).await.unwrap();
    c.create(&DEPLOYMENTS, ns, &deployment("huge", "1000")).await.unwrap();
    c.create(&REPLICATION_CONTROLLERS, ns, &object("v1", "ReplicationController", "old", controller))
        .await
        .unwrap();
    let ready = async || {
        let web = c.get(&DEPLOYMENTS, ns, "web").await.unwrap();
        web.status()["readyReplicas"].as_i64() == Some(2)
            && web.status()["updatedReplicas"].as_i64() == Some(2)
            && web.status()["observedGeneration"].as_i64() == Some(web.generation())
    };
    cluster.until("the deployment is ready", ready).await;
    let image = value!({"spec": {"template": {"metadata": {"annotations": {"again": "1"}}}}});
    c.patch(&DEPLOYMENTS, ns, "web", "", PatchKind::Merge, &image).await.unwrap();
    cluster
        .until("it has rolled over", async || {
            ready().await && cluster.list(&REPLICA_SETS, ns, "app=web").await.len() == 2
        })
        .await;
    let told =
        async |reason: &str| cluster.list(&CORE_EVENTS, ns, "").await.iter().any(|e| e["reason"] == *reason);
    cluster
        .until("events", async || {
            told("FailedScheduling").await && told("Scheduled").await && told("ScalingReplicaSet").await
        })
        .await;
    let claim =
        value!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}});
    c.create(&PERSISTENT_VOLUME_CLAIMS, ns, &object("v1", "PersistentVolumeClaim", "data", claim))
        .await
        .unwrap();
    cluster
        .until("the claim is protected", async || {
            let claim = c.get(&PERSISTENT_VOLUME_CLAIMS, ns, "data").await.unwrap();
            !claim.metadata()["finalizers"].items().is_empty()
        })
        .await;
    // The collector's work, and then the namespace's.
    c.delete(&DEPLOYMENTS, ns, "huge", &DeleteOptions::default()).await.unwrap();
    cluster
        .until("its pods are collected", async || cluster.list(&PODS, ns, "app=huge").await.is_empty())
        .await;
    c.delete(&NAMESPACES, "", ns, &DeleteOptions::default()).await.unwrap();
    cluster
        .until(
            "the namespace goes",
            async || matches!(c.get(&NAMESPACES, "", ns).await, Err(e) if e.is_not_found()),
        )
        .await;

    let epoch = |lease: &'static str| async move {
        let lease = c.get(&LEASES, "kube-system", lease).await.unwrap();
        format!("kube-system/{}={}", lease.name(), lease.annotation("trireme.io/fence-epoch").unwrap())
    };
    let (controllers, scheduler) = (epoch("kube-controller-manager").await, epoch("kube-scheduler").await);
    let all = changes.lock().clone();
    let mut writers = BTreeSet::new();
    for change in &all {
        // A candidate is no leader yet: its Lease is a compare-and-swap of its own.
        let own = match change.user.as_str() {
            "system:kube-scheduler" => "kube-scheduler",
            "system:kube-controller-manager" => "kube-controller-manager",
            _ => "",
        };
        if !own.is_empty()
            && (change.path.ends_with(&format!("/leases/{own}"))
                || change.path.ends_with("kube-system/leases"))
        {
            continue;
        }
        let expected = if own == "kube-scheduler" { &scheduler } else { &controllers };
        assert_eq!(change.fence.as_ref(), Some(expected), "{change:?}");
        let name = change.user.rsplit(':').next().unwrap_or_default();
        let what = change.path.rsplit('/').next().unwrap_or_default();
        writers.insert(format!("{name} {} {}", change.method, if what == "events" { "event" } else { "" }));
    }
    // The workload had them all at work: otherwise this test would say little.
    for writer in [
        "deployment-controller POST ",
        "deployment-controller PUT ",
        "deployment-controller POST event",
        "replicaset-controller POST ",
        "replicaset-controller DELETE ",
        "replication-controller POST ",
        "service-account-controller POST ",
        "root-ca-cert-publisher POST ",
        "endpoint-controller POST ",
        "endpointslice-controller POST ",
        "generic-garbage-collector DELETE ",
        "namespace-controller DELETE ",
        "namespace-controller PUT ",
        "pvc-protection-controller PUT ",
        "kube-scheduler POST ",
        "kube-scheduler POST event",
        "kube-scheduler PATCH ",
    ] {
        assert!(writers.contains(writer), "{writer:?} is not among {writers:#?}");
    }
}

/// A witness that says what it is told.
#[derive(Default)]
struct Told {
    gone: Mutex<BTreeSet<String>>,
    leads: AtomicBool,
}

impl Witness for Told {
    fn is_gone(&self, identity: &str) -> bool {
        self.gone.lock().contains(identity)
    }
    fn led_for(&self) -> Option<Duration> {
        // Long enough to ask for Leases.
        self.leads.load(Ordering::Relaxed).then_some(Duration::from_secs(3600))
    }
}

/// A candidate for the Lease `default/l`, whose work is to count those that run at once.
struct Candidate {
    witness: Arc<Told>,
    stop: CancellationToken,
    running: tokio::task::JoinHandle<()>,
}

fn candidate(cluster: &Cluster, identity: &str, working: &Arc<Mutex<Vec<String>>>) -> Candidate {
    let (witness, stop) = (Arc::new(Told::default()), CancellationToken::new());
    let client: Client = cluster.client.clone();
    let informers = InformerFactory::new(client.clone(), stop.clone());
    // Nothing in these tests is to happen by the Lease's running out.
    let timing = LeaseTiming {
        takeover_after: Duration::from_secs(3600),
        keep_at_least: Duration::ZERO,
        renew_every: Duration::from_millis(200),
        ..LeaseTiming::witnessed()
    };
    let election = Election::new(client, &informers, "default", "l", identity)
        .timing(timing)
        .witness(Some(witness.clone()));
    let (name, working, ended) = (identity.to_owned(), working.clone(), stop.clone());
    let running = tokio::spawn(async move {
        let _informers = informers;
        election
            .run(ended, move |leadership| {
                let (name, working) = (name.clone(), working.clone());
                async move {
                    working.lock().push(name.clone());
                    leadership.stop.cancelled().await;
                    working.lock().retain(|other| *other != name);
                }
            })
            .await;
    });
    Candidate { witness, stop, running }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_follows_the_store_and_leaves_the_dead() {
    let cluster = Cluster::bare().await;
    let working = Arc::new(Mutex::new(Vec::new()));
    let lease = async || cluster.client.get(&LEASES, "default", "l").await.ok();
    let leads = async |identity: &str| {
        let holder = lease().await.is_some_and(|l| l.spec()["holderIdentity"] == *identity);
        holder && *working.lock() == [identity.to_owned()]
    };
    let transitions = async || lease().await.unwrap().spec()["leaseTransitions"].as_i64().unwrap();
    let (a, b) = (candidate(&cluster, "a", &working), candidate(&cluster, "b", &working));
    // Free, and nobody leads the store: whoever comes first, and the other leaves it alone.
    cluster.until("one leads", async || working.lock().len() == 1).await;
    let (first, second) = if working.lock()[0] == "a" { (a, b) } else { (b, a) };
    let (one, two) = if working.lock()[0] == "a" { ("a", "b") } else { ("b", "a") };
    cluster.until("the Lease says so", async || leads(one).await).await;

    // The store is led beside the other candidate: it asks, and is given the Lease.
    second.witness.leads.store(true, Ordering::Relaxed);
    cluster.until("the Lease is handed over", async || leads(two).await).await;
    assert_eq!(transitions().await, 1);
    let held = lease().await.unwrap();
    assert!(held.spec()["preferredHolder"].is_null() && held.spec()["strategy"].is_null(), "{held:?}");

    // Its process dies: not even the Lease is given up.
    second.running.abort();
    second.stop.cancel();
    working.lock().clear();
    first.witness.gone.lock().insert(two.to_owned());
    cluster.until("it is taken from the dead", async || leads(one).await).await;
    assert_eq!(transitions().await, 2);

    // Taken away by hand: who held it stops, and stays out while the other is alive.
    let someone = value!({"spec": {"holderIdentity": "someone"}});
    cluster.client.patch(&LEASES, "default", "l", "", PatchKind::Merge, &someone).await.unwrap();
    cluster.until("the work ends", async || working.lock().is_empty()).await;
    cluster.client.delete(&LEASES, "default", "l", &DeleteOptions::default()).await.unwrap();
    cluster.until("a Lease that is gone is made anew", async || leads(one).await).await;
    first.stop.cancel();
    first.running.await.unwrap();
    assert_eq!(lease().await.unwrap().spec()["holderIdentity"].str_or_empty(), "", "given up in order");
    assert!(working.lock().is_empty());
}

/// The store forgets epochs where there are too many scopes, and a state from before begins with
/// higher ones: the holder is fenced although nobody has taken its Lease.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_whose_epoch_is_void_leads_under_a_new_one() {
    let cluster = Cluster::bare().await;
    let stop = CancellationToken::new();
    let informers = InformerFactory::new(cluster.client.clone(), stop.clone());
    let timing = LeaseTiming { takeover_after: Duration::from_secs(3600), ..LeaseTiming::default() };
    let election = Election::new(cluster.client.clone(), &informers, "default", "l", "a").timing(timing);
    let (client, written) = (cluster.client.clone(), Arc::new(Mutex::new(Vec::new())));
    let (terms, ended) = (written.clone(), stop.clone());
    let running = tokio::spawn(async move {
        let _informers = informers;
        election
            .run(ended, move |leadership| {
                let (client, terms) = (client.fenced(leadership.fence), terms.clone());
                async move {
                    let term = terms.lock().len();
                    terms.lock().push(0);
                    let made = object("v1", "ConfigMap", "", value!({"metadata": {"generateName": "by-"}}));
                    while !leadership.stop.is_cancelled() {
                        match client.create(&CONFIG_MAPS, "default", &made).await {
                            Ok(_) => terms.lock()[term] += 1,
                            Err(error) if is_fenced(&error) => leadership.stop.cancel(),
                            Err(error) => panic!("{error}"),
                        }
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
            })
            .await;
    });
    let writes_in = |term: usize| written.lock().get(term).is_some_and(|writes| *writes > 0);
    cluster.until("it leads and writes", async || writes_in(0)).await;
    let raise = TxnRequest { raise_fences: vec!["default/l".into()], ..TxnRequest::default() };
    cluster.kv.txn(raise).await.unwrap();
    cluster.until("it leads and writes again", async || writes_in(1)).await;
    stop.cancel();
    running.await.unwrap();
}
