//! The cluster that objects are written to.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::Args;
use trireme_api::codec::json;
use trireme_store::{Compare, KeyRange, Kv, Op, PutRequest, RangeRequest, Revision, TxnRequest};

use super::PREFIX;
use super::judge::{ServiceRange, Taken};
use super::report::Report;
use crate::exit::ConfigContext;
use crate::pki::Pki;
use crate::store_client::StoreClient;
use crate::up::{Layout, PKI_DIR, absolute};

/// Objects in one transaction, at most: each may bring keys beside it, and a transaction has 128
/// operations.
const BATCH_KEYS: usize = 60;
/// Bytes in one transaction, about; the store takes 1.5 MiB.
const BATCH_BYTES: usize = 512 * 1024;
const PAGE_KEYS: i64 = 5_000;

#[derive(Args, Debug)]
pub(super) struct Options {
    /// Folder of a cluster that `up` started: where to write
    #[arg(long, default_value = ".trireme")]
    dir: PathBuf,
    /// Masters of another cluster: NAME=STORE_HOST:PORT/API_HOST:PORT,…
    #[arg(long, value_delimiter = ',', requires = "pki_dir", value_name = "NAME=STORE/API")]
    members: Vec<String>,
    /// The authorities of that cluster
    #[arg(long)]
    pki_dir: Option<PathBuf>,
}

pub(super) struct Target {
    pub kv: Arc<dyn Kv>,
}

/// What is to go into the next transaction, and what was in the target before.
pub(super) struct Batch {
    existing: HashMap<String, i64>,
    taken: Vec<Taken>,
    bytes: usize,
}

impl Batch {
    pub(super) fn new(existing: HashMap<String, i64>) -> Self {
        Self { existing, taken: Vec::new(), bytes: 0 }
    }
}

impl Target {
    pub(super) fn connect(options: &Options) -> Result<Self> {
        let (pki_dir, stores) = options.stores().config()?;
        if !pki_dir.join("ca.crt").exists() {
            bail!("{} holds no authorities of a cluster", pki_dir.display());
        }
        let pki = Pki::open_or_create(&pki_dir)?;
        let store = pki.store_client();
        store.ensure()?;
        Ok(Self { kv: StoreClient::new(pki.store_ca.certificate_pem(), &store.files, stores)?.kv })
    }

    /// Every key there is, with its revision.
    pub(super) async fn keys(&self) -> Result<HashMap<String, i64>> {
        let mut found = HashMap::new();
        let mut range = KeyRange::prefix(PREFIX);
        let mut revision = Revision(0);
        loop {
            let request = RangeRequest {
                keys_only: true,
                limit: PAGE_KEYS,
                revision,
                ..RangeRequest::new(range.clone())
            };
            let page = self.kv.range(request).await.context("the target does not answer")?;
            revision = if revision.0 == 0 { page.revision } else { revision };
            let Some(last) = page.kvs.last() else { return Ok(found) };
            range.start = [&last.key[..], &[0]].concat().into();
            for kv in &page.kvs {
                found.insert(String::from_utf8_lossy(&kv.key).into_owned(), kv.mod_revision.0);
            }
            if !page.more {
                return Ok(found);
            }
        }
    }

    /// Whether the key has this value.
    pub(super) async fn has(&self, key: &str, value: &[u8]) -> Result<bool> {
        let answer = self.kv.range(RangeRequest::new(KeyRange::key(key.to_owned()))).await?;
        Ok(answer.kvs.first().is_some_and(|kv| kv.value[..] == *value))
    }

    /// Why an address or port that a Service holds is another's in the target. What the same Service
    /// holds there already is not written again.
    pub(super) async fn free(
        &self,
        existing: &HashMap<String, i64>,
        taken: &mut Taken,
    ) -> Result<Option<String>> {
        let mut missing = Vec::new();
        for (key, value) in std::mem::take(&mut taken.beside) {
            if existing.contains_key(&key) {
                let answer = self.kv.range(RangeRequest::new(KeyRange::key(key.clone()))).await?;
                if let Some(kv) = answer.kvs.first() {
                    if holder(&kv.value) != holder(&value) {
                        let (held, by) = (key.rsplit('/').next().unwrap_or_default(), holder(&kv.value));
                        return Ok(Some(format!("{held}, which it holds, is held by {by} in the target")));
                    }
                    continue;
                }
            }
            missing.push((key, value));
        }
        taken.beside = missing;
        Ok(None)
    }

    /// Where the target's Services have their addresses.
    pub(super) async fn service_range(&self) -> Result<Option<ServiceRange>> {
        let key = format!("{PREFIX}servicecidrs/kubernetes");
        let answer = self.kv.range(RangeRequest::new(KeyRange::key(key))).await?;
        let Some(kv) = answer.kvs.first() else { return Ok(None) };
        let object = json::parse(&kv.value).context("the target's ServiceCIDR")?.value;
        Ok(object["spec"]["cidrs"].items().first().and_then(|cidr| ServiceRange::parse(cidr.str_or_empty())))
    }

    /// Adds an object to the batch, and writes the batch when it is full.
    pub(super) async fn put(&self, batch: &mut Batch, taken: Taken, report: &mut Report) -> Result<()> {
        let beside: usize = taken.beside.iter().map(|(key, value)| key.len() + value.len()).sum();
        let bytes = taken.key.len() + taken.value.len() + beside;
        let keys: usize = batch.taken.iter().map(|taken| 1 + taken.beside.len()).sum();
        let full = batch.bytes + bytes > BATCH_BYTES || keys + 1 + taken.beside.len() > BATCH_KEYS;
        if full {
            self.flush(batch, report).await?;
        }
        batch.bytes += bytes;
        batch.taken.push(taken);
        Ok(())
    }

    /// Writes the batch, if nothing in it has changed in the target; else each object by itself.
    pub(super) async fn flush(&self, batch: &mut Batch, report: &mut Report) -> Result<()> {
        let taken = std::mem::take(&mut batch.taken);
        batch.bytes = 0;
        if taken.is_empty() {
            return Ok(());
        }
        if self.write(&batch.existing, &taken).await? {
            taken.iter().for_each(|taken| report.taken(&taken.resource));
            return Ok(());
        }
        for taken in taken {
            let one = std::slice::from_ref(&taken);
            // Controllers make some objects as soon as there is a namespace for them: those are
            // replaced by what the source had.
            if self.write(&batch.existing, one).await? || taken.made_everywhere && self.force(one).await? {
                report.taken(&taken.resource);
            } else {
                let suffix = taken.key.strip_prefix(PREFIX).unwrap_or(&taken.key);
                let why = "somebody else wrote it, or took its address or port, in the target meanwhile";
                report.refused(&taken.resource, suffix, why.to_owned());
            }
        }
        Ok(())
    }

    async fn write(&self, existing: &HashMap<String, i64>, taken: &[Taken]) -> Result<bool> {
        let mut request = puts(taken);
        for taken in taken {
            let at = |key: &str| Revision(existing.get(key).copied().unwrap_or(0));
            request.compare.push(Compare::mod_revision(taken.key.clone(), at(&taken.key)));
            for (key, _) in &taken.beside {
                request.compare.push(Compare::mod_revision(key.clone(), Revision(0)));
            }
        }
        Ok(self.kv.txn(request).await.context("writing to the target")?.succeeded)
    }

    async fn force(&self, taken: &[Taken]) -> Result<bool> {
        Ok(self.kv.txn(puts(taken)).await.context("writing to the target")?.succeeded)
    }
}

/// The Service, `namespace/name`, that an address's object or a port's record names.
fn holder(stored: &[u8]) -> String {
    let Ok(address) = json::parse(stored) else { return String::from_utf8_lossy(stored).into_owned() };
    let parent = &address.value["spec"]["parentRef"];
    format!("{}/{}", parent["namespace"].str_or_empty(), parent["name"].str_or_empty())
}

fn puts(taken: &[Taken]) -> TxnRequest {
    let mut request = TxnRequest::default();
    for taken in taken {
        request.success.push(Op::Put(PutRequest::new(taken.key.clone(), taken.value.clone())));
        for (key, value) in &taken.beside {
            request.success.push(Op::Put(PutRequest::new(key.clone(), value.clone())));
        }
    }
    request
}

impl Options {
    /// The authorities, and the masters' stores.
    fn stores(&self) -> Result<(PathBuf, Vec<String>)> {
        if let Some(pki_dir) = &self.pki_dir {
            let store = |text: &String| Some(text.split_once('=')?.1.split_once('/')?.0.to_owned());
            let stores: Option<Vec<String>> = self.members.iter().map(store).collect();
            let stores = stores.filter(|stores| !stores.is_empty());
            let stores = stores.context("--members: NAME=STORE_HOST:PORT/API_HOST:PORT is expected")?;
            return Ok((pki_dir.clone(), stores));
        }
        let dir = absolute(&self.dir)?;
        let Some(layout) = Layout::read(&dir)? else {
            bail!(
                "no cluster was started in {}: start one with `trireme up`, or give --members",
                dir.display()
            );
        };
        Ok((dir.join(PKI_DIR), layout.masters().into_iter().map(|master| master.client).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_holds_an_address_or_a_port_is_read() {
        let address = br#"{"kind":"IPAddress","spec":{"parentRef":{"name":"s","namespace":"a"}}}"#;
        assert_eq!((holder(address), holder(b"a/s")), ("a/s".to_owned(), "a/s".to_owned()));
    }
}
