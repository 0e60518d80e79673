//! Gives every node a range of pod addresses.

mod plan;

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use trireme_api::value;
use trireme_client::resource::NODES;
use trireme_client::{Client, Informer, PatchKind};

use crate::manager::Context;
use crate::runtime::{Controller, Failure, Next, Reconciled, Recorder, Running, WorkQueue};
use plan::Range;

const NAME: &str = "node-ipam-controller";
const ACCOUNT: &str = "node-controller";

struct Ipam {
    client: Client,
    nodes: Informer,
    recorder: Recorder,
    range: Option<Range>,
    /// What was given to whom, the cache may not show it yet.
    given: Mutex<HashMap<String, u32>>,
}

pub(crate) fn start(context: &Context) -> Running {
    let nodes = context.informers.informer(&NODES);
    let queue = WorkQueue::new();
    let subscription = nodes.on_change({
        let queue = queue.clone();
        move |change| queue.add(change.object().name())
    });
    let options = &context.options.node;
    let range = Range::parse(&options.pod_cidr, options.pod_cidr_mask_bits);
    if range.is_none() && !options.pod_cidr.is_empty() {
        tracing::error!(
            cidr = options.pod_cidr,
            "not an IPv4 range that holds nodes' ranges: nodes get none"
        );
    }
    let controller = Ipam {
        client: context.client(ACCOUNT),
        nodes,
        recorder: context.recorder(ACCOUNT),
        range,
        given: Mutex::default(),
    };
    // One worker: two would give out the same range.
    Running { controller: Arc::new(controller), queue, workers: 1, subscriptions: vec![subscription] }
}

#[async_trait]
impl Controller for Ipam {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn reconcile(&self, key: &str) -> Reconciled {
        let Some(range) = self.range else { return Ok(Next::Done) };
        let Some(node) = self.nodes.store().get(key) else {
            self.given.lock().remove(key);
            return Ok(Next::Done);
        };
        let known = node.spec()["podCIDR"].str_or_empty();
        if !known.is_empty() || node.deletion_timestamp().is_some() {
            if let Some(index) = range.index_of(known) {
                self.given.lock().insert(key.to_owned(), index);
            }
            return Ok(Next::Done);
        }
        let index = {
            let mut given = self.given.lock();
            let used = self.nodes.store().list();
            let used = used.iter().filter_map(|n| range.index_of(n.spec()["podCIDR"].str_or_empty()));
            let used = used.chain(given.iter().filter(|(name, _)| *name != key).map(|(_, i)| *i)).collect();
            match given.get(key).copied().or_else(|| range.free(&used)) {
                Some(index) => {
                    given.insert(key.to_owned(), index);
                    index
                }
                None => {
                    let message = format!("Node {key} gets no pod addresses: {range} is used up");
                    let warning = crate::runtime::EventKind::Warning;
                    self.recorder.event(&node, "v1", "Node", warning, "CIDRNotAvailable", message.clone());
                    return Err(Failure::NotYet(message));
                }
            }
        };
        let cidr = range.cidr(index);
        let patch = value!({"metadata": {"uid": node.uid()}, "spec": {"podCIDR": cidr, "podCIDRs": [cidr]}});
        match self.client.patch(&NODES, "", key, "", PatchKind::Merge, &patch).await {
            Err(e) if !e.is_not_found() => Err(e.into()),
            _ => Ok(Next::Done),
        }
    }
}
