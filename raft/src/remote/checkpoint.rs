//! Fetching a member's whole state.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use trireme_store::{SNAPSHOT_FILE, SnapshotMeta};

use super::{ChangeError, Remote, ext};
use crate::etcd::pb::trireme::v1::store_client::StoreClient;

impl Remote {
    /// Fetches the state of one of the members into the new directory `dir`, as a snapshot that is
    /// still to be verified. `progress` is told of bytes: so far, and in all.
    pub async fn checkpoint(
        &self,
        dir: &Path,
        progress: &(dyn Fn(u64, u64) + Send + Sync),
    ) -> Result<SnapshotMeta, ChangeError> {
        let mut refused = Vec::new();
        for (address, channel) in &self.0.endpoints {
            match StoreClient::new(channel.clone()).checkpoint(ext::CheckpointRequest {}).await {
                Ok(answer) => {
                    let received = receive(answer.into_inner(), dir, progress).await;
                    return received.map_err(|why| ChangeError(format!("{address}: {why}")));
                }
                Err(status) => refused.push(format!("{address}: {}", status.message())),
            }
        }
        Err(ChangeError(refused.join("; ")))
    }
}

async fn receive(
    mut pieces: tonic::Streaming<ext::CheckpointPiece>,
    dir: &Path,
    progress: &(dyn Fn(u64, u64) + Send + Sync),
) -> Result<SnapshotMeta, String> {
    let told = |error: std::io::Error| format!("{}: {error}", dir.display());
    let cut = || "the member sent less than it said".to_owned();
    let first = pieces.message().await.map_err(|status| status.message().to_owned())?.ok_or_else(cut)?;
    let meta = SnapshotMeta::decode(first.description.clone()).map_err(|error| error.to_string())?;
    std::fs::create_dir(dir).map_err(told)?;
    let total = meta.files.iter().map(|file| file.len).sum();
    let (mut done, mut data) = (0, bytes::Bytes::new());
    for file in &meta.files {
        // Names were checked when the description was read: they are plain.
        let mut out = File::create_new(dir.join(&file.name)).map_err(told)?;
        let mut left = file.len;
        while left > 0 {
            if data.is_empty() {
                let piece = pieces.message().await.map_err(|status| status.message().to_owned())?;
                data = piece.ok_or_else(cut)?.data;
                continue;
            }
            let part = data.split_to(data.len().min(usize::try_from(left).unwrap_or(usize::MAX)));
            out.write_all(&part).map_err(told)?;
            left -= part.len() as u64;
            done += part.len() as u64;
            progress(done, total);
        }
    }
    std::fs::write(dir.join(SNAPSHOT_FILE), &first.description).map_err(told)?;
    Ok(meta)
}
