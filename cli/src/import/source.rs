//! Where objects come from: a file, or an etcd that runs.

use std::collections::{HashSet, VecDeque};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::Bytes;
use trireme_bolt::etcd::LiveKeys;
use trireme_raft::{Certificates, Remote, RemoteConfig, Tls};
use trireme_store::{KeyRange, Kv, RangeRequest, Revision};

use super::EtcdOptions;
use crate::exit::ConfigContext;

/// Objects in one answer of a running etcd; values are up to 1.5 MiB each.
const PAGE_KEYS: i64 = 200;

/// A live key of the source.
pub(super) struct Found {
    pub key: Bytes,
    pub value: Bytes,
    pub create_revision: i64,
}

/// All live keys under a prefix, once.
pub(super) enum Reader<'f> {
    File(Box<LiveKeys<'f, File>>),
    Etcd(Pages),
}

/// A running etcd, read in pages at one revision.
pub(super) struct Pages {
    kv: Arc<dyn Kv>,
    range: KeyRange,
    revision: Revision,
    total: u64,
    page: VecDeque<Found>,
    more: bool,
}

impl<'f> Reader<'f> {
    pub(super) fn file(live: LiveKeys<'f, File>) -> Self {
        Self::File(Box::new(live))
    }

    /// The newest revision is found out here, and everything is read at it.
    pub(super) async fn connect(options: &EtcdOptions, prefix: &str) -> Result<Reader<'static>> {
        let read = |path: &Option<std::path::PathBuf>| -> Result<Vec<u8>> {
            let path: &Path = path.as_deref().context("--cacert, --cert and --key are needed")?;
            std::fs::read(path).with_context(|| path.display().to_string())
        };
        let certificates = Certificates {
            ca_pem: read(&options.cacert).config()?,
            cert_pem: read(&options.cert).config()?,
            key_pem: read(&options.key).config()?,
        };
        let tls = Tls::new(&certificates).context("certificates of the source").config()?;
        let plain = |e: &String| e.trim_start_matches("https://").trim_end_matches('/').to_owned();
        let endpoints = options.endpoints.iter().map(plain).collect();
        let config = RemoteConfig { endpoints, tls: tls.client() };
        let kv: Arc<dyn Kv> = Arc::new(Remote::connect(config).context("--endpoints").config()?);
        let range = KeyRange::prefix(prefix.to_owned());
        let counted = kv.range(RangeRequest { count_only: true, ..RangeRequest::new(range.clone()) }).await;
        let counted = counted.context("the source does not answer")?;
        println!("{}: revision {}", options.endpoints.join(","), counted.revision);
        let total = u64::try_from(counted.count).unwrap_or(0);
        let page = VecDeque::new();
        Ok(Reader::Etcd(Pages { kv, range, revision: counted.revision, total, page, more: true }))
    }

    /// How many there are.
    pub(super) fn total(&self) -> u64 {
        match self {
            Self::File(live) => live.count() as u64,
            Self::Etcd(pages) => pages.total,
        }
    }

    /// What follows `prefix` in the names of keys.
    pub(super) async fn names(&self, prefix: &str) -> Result<HashSet<String>> {
        let name =
            |key: &[u8]| Some(String::from_utf8_lossy(key.strip_prefix(prefix.as_bytes())?).into_owned());
        match self {
            Self::File(live) => Ok(live.keys().filter_map(name).collect()),
            Self::Etcd(pages) => {
                let request = RangeRequest {
                    keys_only: true,
                    revision: pages.revision,
                    ..RangeRequest::new(KeyRange::prefix(prefix.to_owned()))
                };
                let answer = pages.kv.range(request).await.context("the source")?;
                Ok(answer.kvs.iter().filter_map(|kv| name(&kv.key)).collect())
            }
        }
    }

    pub(super) async fn next(&mut self) -> Result<Option<Found>> {
        match self {
            Self::File(live) => Ok(live.next()?.map(|kv| Found {
                key: kv.key,
                value: kv.value,
                create_revision: kv.create_revision,
            })),
            Self::Etcd(pages) => pages.next().await,
        }
    }
}

impl Pages {
    async fn next(&mut self) -> Result<Option<Found>> {
        if self.page.is_empty() && self.more {
            let request = RangeRequest {
                limit: PAGE_KEYS,
                revision: self.revision,
                ..RangeRequest::new(self.range.clone())
            };
            let answer = self.kv.range(request).await.with_context(|| {
                format!(
                    "reading the source at revision {}: if it was compacted meanwhile, try again or take a \
                     snapshot file of it",
                    self.revision
                )
            })?;
            self.more = answer.more;
            if let Some(last) = answer.kvs.last() {
                self.range.start = [&last.key[..], &[0]].concat().into();
            }
            self.page.extend(answer.kvs.into_iter().map(|kv| Found {
                key: kv.key,
                value: kv.value,
                create_revision: kv.create_revision.0,
            }));
        }
        Ok(self.page.pop_front())
    }
}
