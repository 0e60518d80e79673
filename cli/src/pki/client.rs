//! `trireme pki client`: a certificate for a client of the store, limited to what it needs.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Args;
use trireme_raft::etcd::access::Grant;

use super::{Pki, write_public};
use crate::exit::ConfigContext;
use crate::up::absolute;

/// What the authority's certificate is called beside the client's.
const AUTHORITY_FILE: &str = "store-ca.crt";

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Folder of the cluster's authorities, as `trireme pki --dir` made it
    #[arg(long)]
    dir: PathBuf,
    /// The client's name, in its certificate and in the names of its files
    #[arg(long)]
    name: String,
    /// Keys that it may use: those that begin with this. May be given several times; without it,
    /// every key
    #[arg(long, value_name = "PREFIX")]
    prefix: Vec<String>,
    /// It may read these keys, and change none
    #[arg(long)]
    read_only: bool,
    /// Folder for NAME.crt, NAME.key and the authority's certificate
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    check_name(&options.name).config()?;
    let grants = grants(options).config()?;
    let dir = absolute(&options.dir)?;
    // A mistyped folder must not become a new cluster's.
    let there = dir.join(AUTHORITY_FILE).exists();
    ensure_config(there, || format!("{} holds no authorities: trireme pki --dir makes them", dir.display()))?;
    let pki = Pki::open_or_create(&dir).config()?;
    let out = absolute(&options.out)?;
    std::fs::create_dir_all(&out).with_context(|| format!("create {}", out.display()))?;
    let certificate = pki.limited_store_client(&out, &options.name, grants);
    let issued = certificate.ensure()?;
    write_public(&out.join(AUTHORITY_FILE), pki.store_ca.certificate_pem().as_bytes())?;
    let (verb, file) = (if issued { "issued" } else { "kept" }, certificate.files.cert_path.display());
    println!("{verb} {file}: {}", may_do(options));
    println!(
        "etcdctl --cacert {} --cert {file} --key {} …",
        out.join(AUTHORITY_FILE).display(),
        certificate.files.key_path.display()
    );
    Ok(())
}

fn ensure_config(holds: bool, message: impl FnOnce() -> String) -> Result<()> {
    let checked = if holds { Ok(()) } else { Err(anyhow::anyhow!(message())) };
    checked.config()
}

/// It becomes the name of files.
fn check_name(name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    ensure!(
        name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(plain) && name.len() <= 64,
        "--name {name:?}: at most 64 letters, digits, \"-\", \"_\" and \".\", beginning with a letter or a digit"
    );
    ensure!(name != "store-ca", "--name {name:?} is the authority's");
    Ok(())
}

fn grants(options: &Options) -> Result<Vec<Grant>> {
    ensure!(
        options.prefix.iter().all(|prefix| !prefix.is_empty()),
        "--prefix is empty: leave it out for every key"
    );
    let write = !options.read_only;
    let grant = |prefix: &str| Grant { prefix: prefix.to_owned().into(), write };
    Ok(match (options.prefix.is_empty(), options.read_only) {
        (false, _) => options.prefix.iter().map(|prefix| grant(prefix)).collect(),
        (true, true) => vec![grant("")],
        (true, false) => Vec::new(),
    })
}

fn may_do(options: &Options) -> String {
    let keys = match &options.prefix[..] {
        [] => "every key".to_owned(),
        prefixes => format!("keys that begin with {}", prefixes.join(" or ")),
    };
    match (options.read_only, options.prefix.is_empty()) {
        (true, _) => format!("it may read {keys}"),
        (false, false) => format!("it may read and write {keys}"),
        (false, true) => {
            "it may do everything: without --prefix and --read-only nothing limits it".to_owned()
        }
    }
}
