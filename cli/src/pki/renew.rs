//! Certificates are looked at every hour and issued again in time, without a restart.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Files, LeafFile, Pki};

const CHECK_EVERY: Duration = Duration::from_secs(3600);

type Certificate = Box<dyn for<'a> Fn(&'a Pki) -> LeafFile<'a> + Send + Sync>;
type AfterRenewal = Box<dyn Fn() + Send + Sync>;

/// What to keep fresh, and whom to tell.
pub(crate) struct Renewer {
    pki: Arc<Pki>,
    items: Vec<Certificate>,
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
    ) -> anyhow::Result<Files> {
        let file = certificate(&self.pki);
        file.ensure()?;
        let files = file.files.clone();
        self.items.push(Box::new(certificate));
        Ok(files)
    }

    /// Called after any certificate was issued again: those who hold a copy read it anew.
    pub(crate) fn after(&mut self, hook: impl Fn() + Send + Sync + 'static) {
        self.after.push(Box::new(hook));
    }

    /// Checks now and says whether any certificate was renewed.
    pub(crate) fn check(&self) -> bool {
        let mut any = false;
        for certificate in &self.items {
            let file = certificate(&self.pki);
            let path = file.files.cert_path.display();
            match file.ensure() {
                Ok(true) => {
                    any = true;
                    tracing::info!(%path, "certificate renewed");
                }
                Ok(false) => {}
                Err(error) => tracing::error!(%path, error = format!("{error:#}"), "certificate not renewed"),
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
