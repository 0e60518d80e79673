//! The `kubernetes` Service and its endpoints: one per API server that runs.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use trireme_api::{Value, value};
use trireme_store::{Compare, KeyRange, LeaseId, Op, PutRequest, RangeRequest, Revision, TxnRequest};

use super::write::{ensure, ensure_with};
use crate::registry::storage::Extra;
use crate::server::Core;
use crate::status::Result;
use crate::{clock, limits};

const NAME: &str = "kubernetes";
const NAMESPACE: &str = "default";
/// One key per running server, each on a lease of its own.
const LEASES: &str = "/registry/masterleases/";
/// How often a server renews its key and looks at the others'.
const INTERVAL: Duration = Duration::from_secs(5);

pub(super) async fn service(core: &Core) -> Result<()> {
    let address = core.service_range.first().to_string();
    let key = format!("/registry/ipaddresses/{address}");
    let object = value!({
        "kind": "IPAddress", "apiVersion": "networking.k8s.io/v1",
        "metadata": {
            "name": address.as_str(), "uid": uuid::Uuid::new_v4().to_string(), "creationTimestamp": clock::now(),
            "labels": {
                "ipaddress.kubernetes.io/ip-family": "IPv4",
                "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
            },
        },
        "spec": {"parentRef": {"name": NAME, "namespace": NAMESPACE, "resource": "services"}},
    });
    let extra = Extra {
        compare: vec![Compare::mod_revision(key.clone(), Revision(0))],
        ops: vec![Op::Put(PutRequest::new(key, crate::wire::store_bytes(&object)))],
    };
    let port = i64::from(core.advertise.port());
    ensure_with(core, "", "services", NAMESPACE, NAME, extra, |old| {
        old.is_none().then(|| {
            value!({
                "kind": "Service", "apiVersion": "v1",
                "metadata": {"labels": {"component": "apiserver", "provider": "kubernetes"}},
                "spec": {
                    "type": "ClusterIP", "clusterIP": address.as_str(), "clusterIPs": [address.as_str()],
                    "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "sessionAffinity": "None",
                    "internalTrafficPolicy": "Cluster",
                    "ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": port}],
                },
                "status": {"loadBalancer": {}},
            })
        })
    })
    .await
}

/// Keeps this server's address in the endpoints, and takes out those whose lease ended.
pub(super) async fn keep_endpoints(core: Arc<Core>) {
    if core.advertise.ip().is_loopback() || core.advertise.ip().is_unspecified() {
        tracing::warn!(
            address = %core.advertise,
            "the advertised address cannot be an endpoint: the kubernetes Service has none from this server"
        );
        return;
    }
    let mut lease: Option<LeaseId> = None;
    let mut phase = core.phase.subscribe();
    loop {
        if let Err(error) = round(&core, &mut lease).await {
            tracing::warn!(error = error.message, "keeping the kubernetes endpoints failed; trying again");
        }
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            _ = phase.wait_for(|p| *p >= crate::server::listener::Phase::Draining) => break,
        }
    }
    if let Some(lease) = lease
        && core.kv.lease_revoke(lease).await.is_ok()
        && let Err(error) = publish(&core).await
    {
        tracing::debug!(error = error.message, "taking this server out of the kubernetes endpoints failed");
    }
}

async fn round(core: &Core, lease: &mut Option<LeaseId>) -> Result<()> {
    let kept = match *lease {
        Some(id) => core.kv.lease_keep_alive(id).await.is_ok_and(|ttl| ttl > 0),
        None => false,
    };
    if !kept {
        let granted = core.kv.lease_grant(LeaseId(0), limits::ENDPOINT_LEASE_TTL_S).await?.id;
        let mut put = PutRequest::new(format!("{LEASES}{}", core.advertise), core.identity.clone());
        put.lease = granted;
        core.kv.txn(TxnRequest { success: vec![Op::Put(put)], ..TxnRequest::default() }).await?;
        *lease = Some(granted);
    }
    publish(core).await
}

/// Writes the endpoints of the servers whose leases hold.
async fn publish(core: &Core) -> Result<()> {
    let answer = core.kv.range(RangeRequest::new(KeyRange::prefix(LEASES))).await?;
    // Servers by port: those that share one are one subset.
    let mut by_port: BTreeMap<u16, Vec<IpAddr>> = BTreeMap::new();
    for kv in &answer.kvs {
        let address = std::str::from_utf8(&kv.key)
            .ok()
            .and_then(|k| k.strip_prefix(LEASES)?.parse::<SocketAddr>().ok());
        if let Some(address) = address {
            by_port.entry(address.port()).or_default().push(address.ip());
        }
    }
    let subsets: Vec<Value> = by_port
        .iter()
        .map(|(port, addresses)| {
            let addresses: Vec<Value> = addresses.iter().map(|a| value!({"ip": a.to_string()})).collect();
            let mut subset = value!({"ports": [{"name": "https", "port": *port, "protocol": "TCP"}]});
            subset.make(&[]).set("addresses", addresses);
            subset
        })
        .collect();
    ensure(core, "", "endpoints", NAMESPACE, NAME, |old| {
        let mut new = old.cloned().unwrap_or_else(|| {
            value!({
                "kind": "Endpoints", "apiVersion": "v1",
                "metadata": {"labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
            })
        });
        new.make(&[]).set("subsets", subsets.clone());
        crate::wire::normalize(trireme_api::kinds::find("", "v1", "endpoints")?.1, &mut new);
        (old != Some(&new)).then_some(new)
    })
    .await?;
    for (i, (port, addresses)) in by_port.iter().enumerate() {
        let name = if i == 0 { NAME.to_owned() } else { format!("{NAME}-{port}") };
        slice(core, &name, *port, addresses).await?;
    }
    Ok(())
}

async fn slice(core: &Core, name: &str, port: u16, addresses: &[IpAddr]) -> Result<()> {
    let endpoints: Vec<Value> = addresses
        .iter()
        .map(|a| value!({"addresses": [a.to_string()], "conditions": {"ready": true}}))
        .collect();
    ensure(core, "discovery.k8s.io", "endpointslices", NAMESPACE, name, |old| {
        let mut new = old.cloned().unwrap_or_else(|| {
            value!({
                "kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1",
                "metadata": {"labels": {"kubernetes.io/service-name": NAME}},
                "addressType": if addresses.iter().all(IpAddr::is_ipv4) { "IPv4" } else { "IPv6" },
            })
        });
        let map = new.make(&[]);
        map.set("endpoints", endpoints.clone());
        map.set("ports", value!([{"name": "https", "port": port, "protocol": "TCP"}]));
        crate::wire::normalize(
            trireme_api::kinds::find("discovery.k8s.io", "v1", "endpointslices")?.1,
            &mut new,
        );
        (old != Some(&new)).then_some(new)
    })
    .await
}
