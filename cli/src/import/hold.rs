//! Keeps controllers and scheduler from acting while objects are written: the importer holds the
//! Leases by which they lead. Taking one raises its fence, so that what a controller had under way
//! does not land either.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use trireme_api::codec::json;
use trireme_api::{Value, load, normal, schema, value};
use trireme_client::clock::{Clock, rfc3339_micro};
use trireme_store::{
    Compare, Error, Fence, KeyRange, Kv, Op, PutRequest, RangeRequest, Revision, TxnRequest,
};

const NAMESPACE: &str = "kube-system";
const LEASES: [&str; 2] = ["kube-controller-manager", "kube-scheduler"];
const HOLDER: &str = "trireme-import";
/// Those who wait for a Lease take it when it does not change for 1.7 seconds.
const RENEW_EVERY: Duration = Duration::from_millis(300);
/// Leaders renew theirs all the time: a take-over may lose to that.
const TAKE_ATTEMPTS_MAX: u32 = 50;
const RETRY: Duration = Duration::from_millis(20);
/// Where the store's fence is shown.
const EPOCH_ANNOTATION: &str = "trireme.io/fence-epoch";

pub(super) struct Hold {
    kv: Arc<dyn Kv>,
    stop: CancellationToken,
    lost: watch::Receiver<Option<String>>,
    renewing: tokio::task::JoinHandle<()>,
}

impl Hold {
    pub(super) async fn take(kv: Arc<dyn Kv>) -> Result<Self> {
        for name in LEASES {
            set_holder(&*kv, name, HOLDER).await?;
        }
        let (stop, (lost, watch)) = (CancellationToken::new(), watch::channel(None));
        let renewing = tokio::spawn(renew(kv.clone(), stop.clone(), lost));
        Ok(Self { kv, stop, lost: watch, renewing })
    }

    /// An error once another has taken a Lease.
    pub(super) fn check(&self) -> Result<()> {
        match &*self.lost.borrow() {
            None => Ok(()),
            Some(why) => bail!("the controllers could not be held back any longer: {why}"),
        }
    }

    /// Lets them lead again.
    pub(super) async fn release(self) {
        self.stop.cancel();
        let _ = self.renewing.await;
        for name in LEASES {
            if let Err(error) = set_holder(&*self.kv, name, "").await {
                tracing::warn!(
                    lease = name,
                    error = format!("{error:#}"),
                    "a Lease was not given back; it runs out"
                );
            }
        }
    }
}

async fn renew(kv: Arc<dyn Kv>, stop: CancellationToken, lost: watch::Sender<Option<String>>) {
    while stop.run_until_cancelled(tokio::time::sleep(RENEW_EVERY)).await.is_some() {
        for name in LEASES {
            if let Err(error) = renew_one(&*kv, name).await {
                lost.send_replace(Some(format!("{error:#}")));
                return;
            }
        }
    }
}

fn key(name: &str) -> String {
    format!("/registry/leases/{NAMESPACE}/{name}")
}

async fn read(kv: &dyn Kv, name: &str) -> Result<(Value, Revision)> {
    let answer = kv.range(RangeRequest::new(KeyRange::key(key(name)))).await?;
    match answer.kvs.first() {
        Some(kv) => Ok((json::parse(&kv.value).context("a Lease")?.value, kv.mod_revision)),
        None => Ok((Value::default(), Revision(0))),
    }
}

fn encode(lease: &mut Value) -> Vec<u8> {
    let schema = schema::builtin();
    if let Some(message) = schema.find("coordination/v1.Lease") {
        normal::normalize(schema, message, lease);
    }
    load::store_bytes(lease)
}

fn now() -> String {
    rfc3339_micro(Clock::system().now())
}

async fn set_holder(kv: &dyn Kv, name: &str, holder: &str) -> Result<()> {
    let scope = format!("{NAMESPACE}/{name}");
    let mut epoch = None;
    for _ in 0..TAKE_ATTEMPTS_MAX {
        let (mut lease, revision) = read(kv, name).await?;
        if holder.is_empty() && lease["spec"]["holderIdentity"] != *HOLDER {
            return Ok(());
        }
        if revision.0 == 0 {
            lease = value!({
                "kind": "Lease", "apiVersion": "coordination.k8s.io/v1",
                "metadata": {
                    "name": name, "namespace": NAMESPACE,
                    "uid": uuid::Uuid::new_v4().to_string(), "creationTimestamp": now().as_str(),
                },
                "spec": {},
            });
        }
        let shown = lease["metadata"]["annotations"][EPOCH_ANNOTATION].as_str();
        let known = epoch.or_else(|| shown.and_then(|shown| shown.parse().ok())).unwrap_or(0);
        lease.make(&["metadata", "annotations"]).insert(EPOCH_ANNOTATION, (known + 1).to_string());
        let spec = lease.make(&["spec"]);
        spec.set("holderIdentity", holder);
        spec.set("leaseDurationSeconds", 2);
        spec.set("renewTime", now());
        let request = TxnRequest {
            compare: vec![Compare::mod_revision(key(name), revision)],
            success: vec![Op::Put(PutRequest::new(key(name), encode(&mut lease)))],
            fences: vec![Fence { scope: scope.clone(), epoch: known }],
            raise_fences: vec![scope.clone()],
            ..TxnRequest::default()
        };
        match kv.txn(request).await {
            Ok(answer) if answer.succeeded => return Ok(()),
            Ok(_) => {}
            Err(Error::Fenced { current, .. }) => epoch = Some(current),
            Err(error) => return Err(error).context("holding the controllers back"),
        }
        tokio::time::sleep(RETRY).await;
    }
    bail!("the Lease {scope} changes too quickly")
}

async fn renew_one(kv: &dyn Kv, name: &str) -> Result<()> {
    let (mut lease, revision) = read(kv, name).await?;
    if lease["spec"]["holderIdentity"] != *HOLDER {
        bail!("{} leads by {name}", lease["spec"]["holderIdentity"].str_or_empty());
    }
    lease.make(&["spec"]).set("renewTime", now());
    let request = TxnRequest {
        compare: vec![Compare::mod_revision(key(name), revision)],
        success: vec![Op::Put(PutRequest::new(key(name), encode(&mut lease)))],
        ..TxnRequest::default()
    };
    // Somebody else's write in between: the next round sees whose it was.
    kv.txn(request).await.context("holding the controllers back")?;
    Ok(())
}
