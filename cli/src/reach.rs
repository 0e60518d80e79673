//! How operators' commands reach the masters' stores.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::exit::ConfigContext;
use crate::pki::Pki;
use crate::store_client::StoreClient;
use crate::up::{KUBECONFIG_FILE, Layout, PKI_DIR, absolute};

#[derive(Args, Clone, Debug)]
pub(crate) struct Reach {
    /// Folder of a cluster that `up` started
    #[arg(long, default_value = ".trireme")]
    dir: PathBuf,
    /// Stores of another cluster's masters: HOST:PORT,…
    #[arg(long, value_delimiter = ',', requires = "pki_dir", value_name = "HOST:PORT")]
    endpoints: Vec<String>,
    /// The authorities of that cluster
    #[arg(long, requires = "endpoints")]
    pki_dir: Option<PathBuf>,
}

/// A cluster, and a client of its stores.
pub(crate) struct Reached {
    pub client: StoreClient,
    pub pki: Pki,
    /// Where its API is reached, if it is one that `up` started.
    pub api: Option<String>,
    /// Its administrator's kubeconfig, if `up` started it.
    pub kubeconfig: Option<PathBuf>,
}

struct Found {
    pki_dir: PathBuf,
    endpoints: Vec<String>,
    api: Option<String>,
    kubeconfig: Option<PathBuf>,
}

impl Reach {
    /// Makes the client; it connects when it is first used.
    pub(crate) fn reach(&self) -> Result<Reached> {
        let Found { pki_dir, endpoints, api, kubeconfig } = self.find().config()?;
        // Opening makes what is missing, and these authorities would be nobody's.
        if !pki_dir.join("ca.crt").exists() {
            bail!("{} holds no authorities of a cluster", pki_dir.display());
        }
        let pki = Pki::open_or_create(&pki_dir)?;
        let store = pki.store_client();
        store.ensure()?;
        let client = StoreClient::new(pki.store_ca.certificate_pem(), &store.files, endpoints)?;
        Ok(Reached { client, pki, api, kubeconfig })
    }

    /// The flags that say the same to another of these commands.
    pub(crate) fn arguments(&self) -> Result<Vec<OsString>> {
        let Some(pki_dir) = &self.pki_dir else {
            return Ok(vec!["--dir".into(), absolute(&self.dir)?.into_os_string()]);
        };
        let pki_dir = absolute(pki_dir)?.into_os_string();
        Ok(vec!["--pki-dir".into(), pki_dir, "--endpoints".into(), self.endpoints.join(",").into()])
    }

    fn find(&self) -> Result<Found> {
        if let Some(pki_dir) = &self.pki_dir {
            let endpoints = self.endpoints.clone();
            return Ok(Found { pki_dir: pki_dir.clone(), endpoints, api: None, kubeconfig: None });
        }
        let dir = absolute(&self.dir)?;
        let layout = Layout::read(&dir)?.with_context(|| {
            format!(
                "no cluster was started in {}: give --dir, or --pki-dir and --endpoints of another one",
                dir.display()
            )
        })?;
        let endpoints = layout.masters().into_iter().map(|master| master.client).collect();
        Ok(Found {
            pki_dir: dir.join(PKI_DIR),
            endpoints,
            api: Some(format!("https://{}", layout.balancer())),
            kubeconfig: Some(dir.join(KUBECONFIG_FILE)),
        })
    }
}
