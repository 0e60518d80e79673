//! What a client's certificate lets it do.
//!
//! A certificate of the store's authority lets its holder do everything, unless it names limits: one
//! or more alternative names of the form `trireme:store?prefix=<prefix>&access=read`, each of which
//! lets it read, or read and write (`access=write`, and without `access`), the keys that begin with
//! the prefix (percent-encoded; without one, every key). What is limited may
//!
//! - read, write and watch keys and ranges that lie within one of its prefixes;
//! - grant leases, if it may write at all, and use those that were granted to its name (the
//!   certificate's common name), and no others;
//! - ask how members stand, and nothing else of them: no compaction, no hashes, no change of members.
//!
//! A limit that is not understood lets its holder do nothing.

use std::sync::Arc;

use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use tonic::{Request, Status};
use trireme_store::{KeyRange, LeaseId, Op, PutRequest, TxnRequest};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

use super::pb::etcdserverpb as pb;

/// What alternative names of ours begin with.
const SCHEME: &str = "trireme:";
const STORE: &str = "trireme:store";
/// Left as they are in a prefix.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Bits of a lease's id that are drawn; those above tell to whom it was granted.
const LEASE_DRAWN_BITS: u32 = 32;

/// What those whose certificate is limited may call; the handlers look at the keys.
const LIMITED_MAY_CALL: [&str; 19] = [
    "/etcdserverpb.KV/Range",
    "/etcdserverpb.KV/RangeStream",
    "/etcdserverpb.KV/Put",
    "/etcdserverpb.KV/DeleteRange",
    "/etcdserverpb.KV/Txn",
    "/etcdserverpb.Watch/Watch",
    "/etcdserverpb.Lease/LeaseGrant",
    "/etcdserverpb.Lease/LeaseRevoke",
    "/etcdserverpb.Lease/LeaseKeepAlive",
    "/etcdserverpb.Lease/LeaseTimeToLive",
    "/etcdserverpb.Lease/LeaseLeases",
    "/etcdserverpb.Maintenance/Status",
    "/etcdserverpb.Cluster/MemberList",
    "/trireme.v1.Store/Status",
    // By which a monitor needs no certificate that opens keys.
    "/metrics",
    "/health",
    "/livez",
    "/readyz",
    "/version",
];
/// Services of which they may call everything: none of them shows or changes a key.
const LIMITED_MAY_CALL_ALL: [&str; 4] = [
    "/etcdserverpb.Auth/",
    "/grpc.health.v1.Health/",
    "/grpc.reflection.v1.ServerReflection/",
    "/grpc.reflection.v1alpha.ServerReflection/",
];

/// One limit: the keys, and what may be done with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Every key that begins with it; empty means every key.
    pub prefix: Bytes,
    /// Without it they can only be read.
    pub write: bool,
}

impl Grant {
    /// As an alternative name (a URI) of a certificate.
    pub fn to_uri(&self) -> String {
        let access = if self.write { "write" } else { "read" };
        if self.prefix.is_empty() {
            return format!("{STORE}?access={access}");
        }
        format!("{STORE}?prefix={}&access={access}", percent_encode(&self.prefix, PLAIN))
    }

    fn parse(uri: &str) -> Option<Self> {
        let parameters = uri.strip_prefix(STORE)?.strip_prefix('?')?;
        let (mut prefix, mut write) = (None, None);
        for parameter in parameters.split('&') {
            match parameter.split_once('=')? {
                ("prefix", value) if prefix.is_none() => {
                    let decoded: Vec<u8> = percent_decode_str(value).collect();
                    prefix = Some(Bytes::from(decoded)).filter(|prefix| !prefix.is_empty());
                    // An empty one is more likely a mistake than a wish for everything.
                    prefix.as_ref()?;
                }
                ("access", "read") if write.is_none() => write = Some(false),
                ("access", "write") if write.is_none() => write = Some(true),
                _ => return None,
            }
        }
        Some(Self { prefix: prefix.unwrap_or_default(), write: write.unwrap_or(true) })
    }

    fn covers(&self, range: &KeyRange) -> bool {
        if self.prefix.is_empty() {
            return true;
        }
        let all = KeyRange::prefix(self.prefix.clone());
        if range.end.is_empty() {
            return range.start.starts_with(&self.prefix);
        }
        let unbounded = |end: &[u8]| end == [0];
        let end_within = unbounded(&all.end) || !unbounded(&range.end) && range.end <= all.end;
        range.start >= all.start && end_within
    }
}

/// What the holder of a certificate may do. Cheap to clone: it goes with every request.
#[derive(Clone, Debug)]
pub(super) struct Access(Option<Arc<Limits>>);

#[derive(Debug)]
struct Limits {
    grants: Vec<Grant>,
    /// Of the holder's name; the ids of its leases begin with it.
    tag: u32,
}

impl Access {
    fn nothing() -> Self {
        Self(Some(Arc::new(Limits { grants: Vec::new(), tag: 0 })))
    }

    /// Reads it out of a certificate, which was verified.
    pub(super) fn of_certificate(der: Option<&[u8]>) -> Self {
        let Some((_, certificate)) = der.and_then(|der| x509_parser::parse_x509_certificate(der).ok()) else {
            return Self::nothing();
        };
        Self::read(&certificate).unwrap_or_else(|| {
            tracing::warn!(subject = %certificate.subject(), "a certificate's limits are not understood");
            Self::nothing()
        })
    }

    fn read(certificate: &X509Certificate<'_>) -> Option<Self> {
        let mut grants = Vec::new();
        for name in certificate.subject_alternative_name().ok()?.map_or(&[][..], |n| &n.value.general_names) {
            if let GeneralName::URI(uri) = name
                && uri.get(..SCHEME.len()).is_some_and(|scheme| scheme.eq_ignore_ascii_case(SCHEME))
            {
                grants.push(Grant::parse(uri)?);
            }
        }
        if grants.is_empty() {
            return Some(Self(None));
        }
        let name = certificate.subject().iter_common_name().next()?.as_str().ok()?;
        Some(Self(Some(Arc::new(Limits { grants, tag: lease_tag(name) }))))
    }

    /// Of the connection on which a request came.
    pub(super) fn of<T>(request: &Request<T>) -> Self {
        request.extensions().get::<Self>().cloned().unwrap_or_else(Self::nothing)
    }

    /// Whether the method at `path` may be called at all.
    pub(super) fn may_call(&self, path: &str) -> bool {
        self.0.is_none()
            || LIMITED_MAY_CALL.contains(&path)
            || LIMITED_MAY_CALL_ALL.iter().any(|service| path.starts_with(service))
    }

    pub(super) fn may_read(&self, range: &KeyRange) -> Result<(), Status> {
        self.grants(|grant| grant.covers(range))
    }

    pub(super) fn may_write(&self, range: &KeyRange) -> Result<(), Status> {
        self.grants(|grant| grant.write && grant.covers(range))
    }

    fn grants(&self, covers: impl Fn(&Grant) -> bool) -> Result<(), Status> {
        match &self.0 {
            None => Ok(()),
            Some(limits) if limits.grants.iter().any(covers) => Ok(()),
            Some(_) => Err(denied()),
        }
    }

    pub(super) fn may_put(&self, put: &PutRequest) -> Result<(), Status> {
        self.may_write(&KeyRange::key(put.key.clone()))?;
        if put.lease == LeaseId(0) { Ok(()) } else { self.may_use_lease(put.lease) }
    }

    /// Every compare and every operation of both branches.
    pub(super) fn may_txn(&self, txn: &TxnRequest) -> Result<(), Status> {
        if self.0.is_none() {
            return Ok(());
        }
        for compare in &txn.compare {
            self.may_read(&compare.range)?;
        }
        for op in txn.success.iter().chain(&txn.failure) {
            match op {
                Op::Range(range) => self.may_read(&range.range)?,
                Op::Put(put) => self.may_put(put)?,
                Op::Delete(delete) => self.may_write(&delete.range)?,
                Op::Txn(nested) => self.may_txn(nested)?,
            }
        }
        Ok(())
    }

    /// Whether leases can be granted to it: those who cannot write have no use for one.
    pub(super) fn may_grant_lease(&self) -> Result<(), Status> {
        self.grants(|grant| grant.write)
    }

    /// A limited client's lease is known by its id: nobody has to keep, and agree on, whose it is.
    pub(super) fn may_use_lease(&self, id: LeaseId) -> Result<(), Status> {
        self.may_grant_lease()?;
        match &self.0 {
            Some(limits) if id.0 >> LEASE_DRAWN_BITS != i64::from(limits.tag) => Err(denied()),
            _ => Ok(()),
        }
    }

    /// An id for a lease that is granted to it, where it must be one of its own.
    pub(super) fn draw_lease(&self) -> Option<LeaseId> {
        let limits = self.0.as_ref()?;
        let drawn = i64::from(rand::random::<u32>().max(1));
        Some(LeaseId(i64::from(limits.tag) << LEASE_DRAWN_BITS | drawn))
    }
}

/// 31 bits: ids are positive.
fn lease_tag(name: &str) -> u32 {
    (xxhash_rust::xxh3::xxh3_64(name.as_bytes()) >> 33) as u32
}

/// In etcd's words.
pub(super) fn denied() -> Status {
    Status::permission_denied("etcdserver: permission denied")
}

/// The answer to a watch that may not be made, as etcd's clients look for it.
pub(super) fn denied_watch(header: pb::ResponseHeader) -> pb::WatchResponse {
    pb::WatchResponse {
        header: Some(header),
        watch_id: -1,
        created: true,
        canceled: true,
        cancel_reason: "rpc error: code = PermissionDenied desc = etcdserver: permission denied".to_owned(),
        ..pb::WatchResponse::default()
    }
}

#[cfg(test)]
#[path = "access_test.rs"]
mod tests;
