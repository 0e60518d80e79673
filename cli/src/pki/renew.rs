//! Certificates are looked at every hour and issued again in time, without a restart.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Identity, LeafFile, Pki};

const CHECK_EVERY: Duration = Duration::from_secs(3600);

type Certificate = Box<dyn for<'a> Fn(&'a Pki) -> LeafFile<'a> + Send + Sync>;
type AfterRenewal = Box<dyn Fn() + Send + Sync>;

/// What to keep fresh, and whom to tell.
pub(crate) struct Renewer {
    pki: Arc<Pki>,
    items: Vec<(Certificate, Arc<Identity>)>,
    after: Vec<AfterRenewal>,
}

impl Renewer {
    pub(crate) fn new(pki: Arc<Pki>) -> Renewer {
        Renewer { pki, items: Vec::new(), after: Vec::new() }
    }

    /// Issues the certificate if need be, and keeps it fresh from now on.
    pub(crate) fn keep(
        &mut self,
        certificate: impl for<'a> Fn(&'a Pki) -> LeafFile<'a> + Send + Sync + 'static,
    ) -> anyhow::Result<(Arc<Identity>, PathBuf, PathBuf)> {
        let file = certificate(&self.pki);
        file.ensure()?;
        let identity = Identity::load(&file.cert_path, &file.key_path)?;
        let paths = (file.cert_path.clone(), file.key_path.clone());
        self.items.push((Box::new(certificate), identity.clone()));
        Ok((identity, paths.0, paths.1))
    }

    /// Called after any certificate was issued again, for those who hold a copy of their own.
    pub(crate) fn after(&mut self, hook: impl Fn() + Send + Sync + 'static) {
        self.after.push(Box::new(hook));
    }

    /// Checks now and says whether any certificate was renewed.
    pub(crate) fn check(&self) -> bool {
        let mut any = false;
        for (certificate, identity) in &self.items {
            let file = certificate(&self.pki);
            match file.ensure().and_then(|issued| {
                if issued {
                    identity.reload()?;
                }
                Ok(issued)
            }) {
                Ok(true) => {
                    any = true;
                    tracing::info!(path = %file.cert_path.display(), "certificate renewed");
                }
                Ok(false) => {}
                Err(error) => {
                    tracing::error!(path = %file.cert_path.display(), error = format!("{error:#}"), "certificate not renewed");
                }
            }
        }
        if any {
            self.after.iter().for_each(|hook| hook());
        }
        any
    }

    /// Checks every hour until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let renewer = Arc::new(self);
        while stop.run_until_cancelled(tokio::time::sleep(CHECK_EVERY)).await.is_some() {
            let renewer = renewer.clone();
            if tokio::task::spawn_blocking(move || renewer.check()).await.is_err() {
                tracing::error!("the check of certificates panicked");
            }
        }
    }
}
