//! Where a backup lies: a folder, or a bucket of S3-compatible storage.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::local::LocalFileSystem;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, RetryConfig};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::key::private_file;

/// Of one call, after which the caller hears of it: who archives tells it to those who look.
const RETRIES_MAX: usize = 4;
const RETRY_TIMEOUT: Duration = Duration::from_secs(20);

/// A folder (`/path`, `file:///path`) or a bucket (`s3://bucket/prefix`).
///
/// Credentials and endpoint of a bucket come from the usual `AWS_…` environment variables, or from
/// a file of lines `AWS_…=value` that nobody but its owner can read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Location {
    url: String,
    /// The file with `AWS_…` variables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<PathBuf>,
    /// Which cluster's backup to read, where there are several: 16 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
}

impl FromStr for Location {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |why: &str| {
            Err(Error::Invalid(format!(
                "{text:?}: {why}; /FOLDER, file:///FOLDER or s3://BUCKET/PREFIX is expected"
            )))
        };
        let url = if let Some(path) = text.strip_prefix("file://") {
            path
        } else if let Some(bucket) = text.strip_prefix("s3://") {
            match url::Url::parse(text) {
                Ok(url) if url.host_str().is_none_or(str::is_empty) => return wrong("it names no bucket"),
                Ok(url) if !url.username().is_empty() || url.password().is_some() => {
                    return wrong("credentials do not belong there");
                }
                Ok(url) if url.query().is_some() || url.fragment().is_some() || bucket.contains("//") => {
                    return wrong("a plain prefix is expected after the bucket");
                }
                Ok(_) => text,
                Err(error) => return wrong(&error.to_string()),
            }
        } else if text.contains("://") {
            return wrong("an unknown kind of storage");
        } else {
            text
        };
        if !url.starts_with("s3://") && !url.starts_with('/') {
            return wrong("the folder must be given from the root on");
        }
        Ok(Self { url: url.trim_end_matches('/').into(), credentials: None, cluster: None })
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

impl Location {
    /// Connects to the storage. A folder is made with `make`, and has to exist without.
    pub(crate) fn connect(&self, make: bool) -> Result<Arc<dyn ObjectStore>, Error> {
        match self.url.strip_prefix("s3://") {
            Some(bucket) => self.bucket(bucket),
            None => folder(Path::new(&self.url), make),
        }
    }

    fn bucket(&self, bucket: &str) -> Result<Arc<dyn ObjectStore>, Error> {
        // The connection takes the process's provider; where nothing has installed one yet, it is
        // the one that everything else here uses.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (bucket, prefix) = bucket.split_once('/').unwrap_or((bucket, ""));
        let mut builder = match &self.credentials {
            None => AmazonS3Builder::from_env(),
            Some(path) => from_file(path)?,
        };
        builder = builder.with_bucket_name(bucket).with_retry(RetryConfig {
            max_retries: RETRIES_MAX,
            retry_timeout: RETRY_TIMEOUT,
            ..RetryConfig::default()
        });
        let store = builder.build()?;
        Ok(if prefix.is_empty() { Arc::new(store) } else { Arc::new(PrefixStore::new(store, prefix)) })
    }
}

fn folder(path: &Path, make: bool) -> Result<Arc<dyn ObjectStore>, Error> {
    if make {
        use std::os::unix::fs::DirBuilderExt;
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(Error::io(path.display()))?;
    }
    let store = LocalFileSystem::new_with_prefix(path)?;
    // An object that counts must survive the power: what it makes unnecessary is removed after it.
    Ok(Arc::new(store.with_fsync(true)))
}

fn from_file(path: &Path) -> Result<AmazonS3Builder, Error> {
    let name = path.display();
    let bytes = private_file(path)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| Error::Invalid(format!("{name} is not text")))?;
    let mut builder = AmazonS3Builder::new();
    for (n, line) in text.lines().enumerate() {
        let line = line.trim().trim_start_matches("export ");
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        // The line itself may hold a secret: it is named by its number.
        let wrong = |why: &str| Error::Invalid(format!("{name}, line {}: {why}", n + 1));
        let (variable, value) = line.split_once('=').ok_or_else(|| wrong("AWS_…=value is expected"))?;
        let variable = variable.trim().to_ascii_lowercase();
        let key = AmazonS3ConfigKey::from_str(&variable)
            .ok()
            .filter(|_| variable.starts_with("aws_"))
            .ok_or_else(|| wrong("an unknown variable"))?;
        builder = builder.with_config(key, value.trim().trim_matches(['"', '\'']));
    }
    Ok(builder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_read_and_wrong_ones_named() {
        for good in ["/var/backups", "file:///var/backups/", "s3://bucket", "s3://bucket/a/b"] {
            good.parse::<Location>().unwrap();
        }
        for (bad, why) in [
            ("backups", "from the root"),
            ("gs://bucket", "unknown kind"),
            ("s3://", "s3://BUCKET"),
            ("s3://user:secret@bucket", "credentials"),
            ("s3://bucket?x=1", "plain prefix"),
        ] {
            let message = bad.parse::<Location>().unwrap_err().to_string();
            assert!(message.contains(why), "{bad}: {message}");
        }
    }
}
