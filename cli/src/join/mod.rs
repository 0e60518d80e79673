//! `trireme join`: a machine becomes a master of a cluster that runs.
//!
//! ```text
//!   token create ──► hash in the store        join ──token──► any API server ──► authorities, members
//!                                              └─► a master: learner, then voter, by itself
//! ```
//!
//! Everything but the start of the server may be done again: what is there already stays.

mod document;
mod gate;
mod pinned;
mod progress;
pub(crate) mod token;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use clap::Args;
use http::{Request, StatusCode};
use http_body_util::Empty;

pub(crate) use document::Facts;
pub(crate) use gate::{Doorkeeper, FindPeers};
pub(crate) use progress::show;

use crate::exit::ConfigContext;
use crate::pki::{Pki, write_private, write_public};
use crate::{probe, server};
use document::Admission;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// A balancer may send one call to a master that is just going.
const TRIES: u32 = 5;
const RETRY: Duration = Duration::from_secs(1);

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Any API server of the cluster, or the balancer before them: https://HOST:PORT
    server: String,
    /// What `trireme token create` printed
    #[arg(long, env = "TRIREME_JOIN_TOKEN", hide_env_values = true)]
    token: String,
    /// Name of the dead master in whose place this one comes
    #[arg(long, value_name = "NAME")]
    replace: Option<String>,
    /// Bring certificates and settings, and leave the start to a service: `trireme server` with the
    /// same flags
    #[arg(long)]
    prepare_only: bool,
    #[command(flatten)]
    master: server::Options,
}

pub(crate) fn run(mut options: Options) -> Result<()> {
    let address = pinned::address(&options.server).config()?;
    options.master.settle_addresses().config()?;
    let data_dir = options.master.data_dir().to_owned();
    let pki_dir = options.master.pki_dir();
    if Pki::is_complete(&pki_dir) && Facts::read(&data_dir)?.is_some() {
        eprintln!("{} has been prepared before: going on", data_dir.display());
    } else {
        let (bearer, pin) = options
            .token
            .rsplit_once('.')
            .filter(|(bearer, _)| bearer.contains('.'))
            .context("--token: what `trireme token create` printed is expected, ID.SECRET.HASH")
            .config()?;
        eprintln!("asking {address} for the authorities of the cluster");
        let admission = crate::small_runtime()?.block_on(ask(&address, bearer, pin))?;
        let facts = Facts { replaces: options.replace.clone(), ..admission.cluster_facts.clone() };
        server::private_dir(&data_dir)?;
        keep_authorities(&pki_dir, &admission).config()?;
        facts.keep(&data_dir)?;
        eprintln!("this machine has the authorities of {}", admission.cluster);
    }
    if options.prepare_only {
        println!("prepared; start it with:\n{}", options.master.command_line());
        return Ok(());
    }
    server::run(options.master)
}

async fn ask(address: &str, bearer: &str, pin: &str) -> Result<Admission> {
    let tls = pinned::client_config(pin)?;
    let mut tried = 0;
    loop {
        tried += 1;
        let request = Request::post(trireme_apiserver::JOIN_PATH)
            .header("authorization", format!("Bearer {bearer}"))
            .body(Empty::<Bytes>::new())?;
        match probe::send(&tls, address, request, ANSWER_TIMEOUT).await {
            Ok((StatusCode::OK, body)) => {
                return serde_json::from_slice(&body).context("the answer is not understood here");
            }
            Ok((StatusCode::UNAUTHORIZED, _)) => {
                return Err(anyhow::anyhow!(
                    "the token is wrong or has run out: make another with `trireme token create`"
                ))
                .config();
            }
            Ok((StatusCode::NOT_FOUND, _)) => bail!("{address} takes no machines in"),
            Ok((status, body)) if tried >= TRIES => {
                bail!("{address} answers {status}: {}", String::from_utf8_lossy(&body));
            }
            Err(error) if tried >= TRIES => return Err(error).context("ask for the authorities"),
            Ok((status, _)) => eprintln!("{address} answers {status}; asking again"),
            Err(error) => eprintln!("{error:#}; asking again"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Writes the authorities, keys for this user alone. Those of another cluster are not overwritten.
fn keep_authorities(dir: &Path, admission: &Admission) -> Result<()> {
    server::private_dir(dir)?;
    for name in Pki::files() {
        let path = dir.join(name);
        let text = admission.authorities.get(*name).with_context(|| format!("the answer lacks {name}"))?;
        match std::fs::read_to_string(&path) {
            Ok(found) if found == *text => continue,
            Ok(_) => bail!("{} is there and is another cluster's: move the folder away", path.display()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        }
        match name.ends_with(".key") {
            true => write_private(&path, text.as_bytes())?,
            false => write_public(&path, text.as_bytes())?,
        }
    }
    Ok(())
}
