//! The archive of one cluster: objects that are written once.

use std::io::Read;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};

use crate::entry::{self, RawEntry};
use crate::error::Error;
use crate::key::Key;
use crate::location::Location;
use crate::names::{LogName, Name, cluster_dir, parse_cluster_dir};
use crate::seal;

/// Of an object with log entries, unpacked: above what any archiver collects.
const LOG_BYTES_MAX: u64 = 1 << 30;

/// One cluster's backup. Cheap to clone.
#[derive(Clone)]
pub struct Archive {
    pub(crate) storage: Arc<dyn ObjectStore>,
    pub(crate) key: Key,
    cluster: String,
    location: String,
}

/// An object that is there.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub name: Name,
    pub bytes: u64,
    pub modified_ms: i64,
}

impl Archive {
    /// Opens the backup at `location`, for reading. Where several clusters' lie there,
    /// [`Location::cluster`] has to name one.
    pub async fn open(location: &Location, key: Key) -> Result<Self, Error> {
        Self::open_in(location.connect(false)?, location, key).await
    }

    /// For looking at names alone, where the key is not at hand: what is sealed stays so.
    pub async fn look(location: &Location) -> Result<Self, Error> {
        Self::open(location, Key::from_bytes([0; 32])).await
    }

    pub(crate) async fn open_in(
        storage: Arc<dyn ObjectStore>,
        location: &Location,
        key: Key,
    ) -> Result<Self, Error> {
        let mut clusters = Self::clusters(&*storage).await?;
        if let Some(wanted) = &location.cluster {
            clusters.retain(|cluster| cluster == wanted);
        }
        let location = location.to_string();
        match clusters.len() {
            0 => Err(Error::Empty { location }),
            1 => Ok(Self { storage, key, cluster: clusters.remove(0), location }),
            _ => Err(Error::SeveralClusters { location, clusters }),
        }
    }

    /// The backup of `cluster` at `location`, for writing too; a folder is made where there is none.
    pub fn of_cluster(location: &Location, key: Key, cluster: u64) -> Result<Self, Error> {
        Ok(Self::over(location.connect(true)?, key, cluster, &location.to_string()))
    }

    /// An archive over any storage.
    pub fn over(storage: Arc<dyn ObjectStore>, key: Key, cluster: u64, location: &str) -> Self {
        Self { storage, key, cluster: format!("{cluster:016x}"), location: location.into() }
    }

    async fn clusters(storage: &dyn ObjectStore) -> Result<Vec<String>, Error> {
        let listed = storage.list_with_delimiter(None).await?;
        let dirs = listed.common_prefixes.iter().filter_map(|dir| parse_cluster_dir(dir.as_ref()));
        Ok(dirs.map(str::to_owned).collect())
    }

    /// The id of the cluster, 16 hexadecimal digits.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    pub fn location(&self) -> &str {
        &self.location
    }

    /// What an object is sealed under and called in messages.
    pub(crate) fn full(&self, path: &str) -> String {
        format!("{}/{path}", cluster_dir(&self.cluster))
    }

    fn object(&self, path: &str) -> ObjectPath {
        ObjectPath::from(self.full(path))
    }

    /// Everything that is there, sorted by name.
    pub(crate) async fn list(&self) -> Result<Vec<Object>, Error> {
        let dir = ObjectPath::from(cluster_dir(&self.cluster));
        let prefix = format!("{dir}/");
        let found: Vec<_> = self.storage.list(Some(&dir)).try_collect().await?;
        let mut objects: Vec<Object> = found
            .into_iter()
            .filter_map(|meta| {
                let name = Name::parse(meta.location.as_ref().strip_prefix(&prefix)?)?;
                let modified_ms = meta.last_modified.timestamp_millis();
                Some(Object { name, bytes: meta.size, modified_ms })
            })
            .collect();
        objects.sort_by_cached_key(|object| object.name.path());
        Ok(objects)
    }

    /// Writes an object unless there is one of its name; whether it was written.
    pub(crate) async fn put_new(&self, path: &str, sealed: Bytes) -> Result<bool, Error> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.storage.put_opts(&self.object(path), sealed.into(), options).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) async fn put(&self, path: &str, sealed: impl Into<Bytes>) -> Result<(), Error> {
        self.storage.put(&self.object(path), sealed.into().into()).await?;
        Ok(())
    }

    /// The object as it lies there, sealed.
    pub(crate) async fn get(&self, path: &str) -> Result<Bytes, Error> {
        match self.storage.get(&self.object(path)).await {
            Ok(found) => Ok(found.bytes().await?),
            Err(object_store::Error::NotFound { .. }) => Err(Error::Missing { object: self.full(path) }),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes an object; one that is not there is no error.
    pub(crate) async fn remove(&self, path: &str) -> Result<(), Error> {
        match self.storage.delete(&self.object(path)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes entries under `name`. An object of that name holds the same; one that lies there
    /// damaged (the power failed at a file system that promised too much) is replaced.
    pub(crate) async fn put_log(&self, name: &LogName, encoded: Vec<u8>, level: i32) -> Result<u64, Error> {
        let (path, key, full) = (name.path(), self.key.clone(), self.full(&name.path()));
        let sealed = tokio::task::spawn_blocking(move || {
            let packed = zstd::bulk::compress(&encoded, level)?;
            seal::seal(Some(&key), &full, &packed)
        });
        let sealed = Bytes::from(sealed.await.map_err(|_| Error::Stopped)?.map_err(Error::io(&path))?);
        let bytes = sealed.len() as u64;
        if !self.put_new(&path, sealed.clone()).await? {
            match self.get(&path).await {
                Ok(there) if self.open_log(name, &there).is_ok() => {}
                Err(error @ Error::Storage(_)) => return Err(error),
                _ => self.put(&path, sealed).await?,
            }
        }
        Ok(bytes)
    }

    /// The entries of an object that was read. Blocks: it decrypts and unpacks.
    pub(crate) fn open_log(&self, name: &LogName, sealed: &[u8]) -> Result<Vec<RawEntry>, Error> {
        let full = self.full(&name.path());
        let packed = seal::open(Some(&self.key), &full, sealed)?;
        let mut encoded = Vec::new();
        zstd::stream::read::Decoder::new(&packed[..])
            .and_then(|decoder| decoder.take(LOG_BYTES_MAX).read_to_end(&mut encoded))
            .map_err(|error| Error::damaged(&full, error))?;
        let entries = entry::decode(encoded.into(), name.first).map_err(|why| Error::damaged(&full, why))?;
        let complete =
            entries.last().is_some_and(|last| (last.at.index, last.at.term) == (name.last, name.last_term));
        if !complete {
            return Err(Error::damaged(&full, "it does not hold what its name says"));
        }
        Ok(entries)
    }
}
