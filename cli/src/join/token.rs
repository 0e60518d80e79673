//! `trireme token`: what lets a machine in. A token is kept as a hash, under a lease of the store's
//! that ends it.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use trireme_store::{
    Compare, DeleteRequest, KeyRange, Kv, LeaseId, Op, PutRequest, RangeRequest, Revision, TxnRequest,
};

use super::pinned;
use crate::exit::ConfigContext;
use crate::reach::Reach;

/// Beside the API's keys, which none of its servers serves.
pub(crate) const PREFIX: &str = "/trireme/tokens/";
const ID_BYTES: usize = 4;
const SECRET_BYTES: usize = 16;
const TTL_MIN: Duration = Duration::from_secs(60);
const TTL_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

#[derive(Args, Debug)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Make a token, and print the line with which a new machine joins
    Create {
        #[command(flatten)]
        reach: Reach,
        /// How long it lets machines in: 30m, 24h, 7d
        #[arg(long, default_value = "24h", value_parser = duration)]
        ttl: Duration,
        /// Where the new machine reaches the API, https://HOST:PORT
        #[arg(long, value_name = "URL")]
        server: Option<String>,
    },
    /// Show the tokens that still let machines in, without their secrets
    List {
        #[command(flatten)]
        reach: Reach,
    },
    /// End a token
    Delete {
        /// The token, or its part before the dot
        token: String,
        #[command(flatten)]
        reach: Reach,
    },
}

/// What is kept of a token.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kept {
    /// SHA-256 of the secret, hexadecimal.
    hash: String,
    /// Seconds since the Unix epoch.
    expires: u64,
}

pub(crate) async fn run(options: Options) -> Result<()> {
    match options.command {
        Command::Create { reach, ttl, server } => create(&reach, ttl, server).await,
        Command::List { reach } => list(&reach).await,
        Command::Delete { token, reach } => delete(&reach, &token).await,
    }
}

async fn create(reach: &Reach, ttl: Duration, server: Option<String>) -> Result<()> {
    let reached = reach.reach()?;
    let server = server
        .or(reached.api)
        .context("--server https://HOST:PORT is needed: where the new machine reaches the API")
        .config()?;
    pinned::address(&server).config()?;
    let (id, secret) = (random_hex(ID_BYTES), random_hex(SECRET_BYTES));
    let kept = Kept { hash: hash(&secret), expires: now() + ttl.as_secs() };
    keep(&reached.client.kv, &id, &kept, ttl).await.context("keep the token in the store")?;
    let pin = pinned::pin(reached.pki.ca.certificate_pem())?;
    eprintln!("within {} s, on the new machine (its name and address are yours to choose):", ttl.as_secs());
    println!(
        "trireme join {server} --token {id}.{secret}.{pin} --data-dir /var/lib/trireme --name NAME \
         --advertise-address ADDRESS"
    );
    Ok(())
}

async fn keep(kv: &Arc<dyn Kv>, id: &str, kept: &Kept, ttl: Duration) -> Result<()> {
    let lease = kv.lease_grant(LeaseId(0), i64::try_from(ttl.as_secs())?).await?;
    let key = format!("{PREFIX}{id}");
    let put = PutRequest { lease: lease.id, ..PutRequest::new(key.clone(), serde_json::to_vec(kept)?) };
    let request = TxnRequest {
        compare: vec![Compare::mod_revision(key, Revision(0))],
        success: vec![Op::Put(put)],
        ..TxnRequest::default()
    };
    anyhow::ensure!(kv.txn(request).await?.succeeded, "there is a token with this id: try again");
    Ok(())
}

async fn list(reach: &Reach) -> Result<()> {
    let reached = reach.reach()?;
    let found = reached.client.kv.range(RangeRequest::new(KeyRange::prefix(PREFIX))).await?;
    println!("{:<10}  EXPIRES IN", "TOKEN");
    for kv in found.kvs {
        let Ok(kept) = serde_json::from_slice::<Kept>(&kv.value) else { continue };
        let id = String::from_utf8_lossy(&kv.key[PREFIX.len().min(kv.key.len())..]).into_owned();
        println!("{id:<10}  {} s", kept.expires.saturating_sub(now()));
    }
    Ok(())
}

async fn delete(reach: &Reach, token: &str) -> Result<()> {
    let id = token.split('.').next().unwrap_or(token);
    let reached = reach.reach()?;
    let key = format!("{PREFIX}{id}");
    let delete = Op::Delete(DeleteRequest { range: KeyRange::key(key.clone()), prev_kv: false });
    let request = TxnRequest {
        compare: vec![Compare::mod_revision(key, Revision(0))],
        failure: vec![delete],
        ..TxnRequest::default()
    };
    if reached.client.kv.txn(request).await?.succeeded {
        bail!("there is no token {id:?}");
    }
    println!("token {id} lets nobody in any more");
    Ok(())
}

/// Whether `<id>.<secret>` is a token that lets its bearer in.
pub(super) async fn is_good(kv: &dyn Kv, token: &str) -> Result<bool, trireme_store::Error> {
    let Some((id, secret)) = token.split_once('.') else { return Ok(false) };
    if id.len() != 2 * ID_BYTES || !id.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(false);
    }
    let found = kv.range(RangeRequest::new(KeyRange::key(format!("{PREFIX}{id}")))).await?;
    let Some(kept) = found.kvs.first().and_then(|kv| serde_json::from_slice::<Kept>(&kv.value).ok()) else {
        return Ok(false);
    };
    // Hashes are compared: how long that takes says nothing of the secret.
    Ok(kept.hash == hash(secret) && kept.expires > now())
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?}: a number with s, m, h or d is expected, such as 24h");
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        Some('d') => 24 * 3600,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    let ttl = Duration::from_secs(number.saturating_mul(unit));
    if !(TTL_MIN..=TTL_MAX).contains(&ttl) {
        return Err(format!("{text:?}: between a minute and 30 days is expected"));
    }
    Ok(ttl)
}

fn random_hex(bytes: usize) -> String {
    (0..bytes).map(|_| format!("{:02x}", rand::random::<u8>())).collect()
}

fn hash(secret: &str) -> String {
    hex(&Sha256::digest(secret.as_bytes()))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use trireme_store::engine::Model;
    use trireme_store::{Local, Store};

    use super::*;

    #[tokio::test]
    async fn only_the_whole_token_lets_in_and_only_for_its_time() {
        let kv: Arc<dyn Kv> =
            Arc::new(Local::new(Store::open(Arc::new(Model::new())).unwrap(), Arc::new(|| 0)).unwrap());
        let kept = |expires| Kept { hash: hash("s3cret"), expires };
        keep(&kv, "0a0b0c0d", &kept(now() + 60), TTL_MIN).await.unwrap();
        assert!(is_good(&*kv, "0a0b0c0d.s3cret").await.unwrap());
        for wrong in ["", "0a0b0c0d", "0a0b0c0d.", "0a0b0c0d.S3cret", "0a0b0c0e.s3cret", "../x.s3cret"] {
            assert!(!is_good(&*kv, wrong).await.unwrap(), "{wrong:?}");
        }
        keep(&kv, "0a0b0c0f", &kept(now()), TTL_MIN).await.unwrap();
        assert!(!is_good(&*kv, "0a0b0c0f.s3cret").await.unwrap());
        assert!(keep(&kv, "0a0b0c0d", &kept(0), TTL_MIN).await.is_err(), "one is not replaced");
    }

    #[test]
    fn times_are_read() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("7d"), Ok(Duration::from_secs(604_800)));
        for wrong in ["", "5", "h", "-1h", "1s", "31d", "99999999999999999999d", "1w"] {
            assert!(duration(wrong).is_err(), "{wrong:?}");
        }
    }
}
