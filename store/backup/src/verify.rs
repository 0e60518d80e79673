//! Reading everything in an archive, and restoring each base up to the next, which must come out
//! alike.

use std::path::Path;

use futures::{StreamExt, stream};

use crate::archive::Archive;
use crate::error::Error;
use crate::materialize::{Phase, Progress};

/// What is done first; `done` and `total` of its progress are objects.
pub const READING: &str = "reading the log";
/// Objects that are fetched ahead.
const FETCH_AHEAD: usize = 4;

/// What a verification found.
#[derive(Debug, Default)]
pub struct Verified {
    pub bases: usize,
    pub log_objects: usize,
    /// Log entries that were applied.
    pub entries: u64,
    /// States made from a base and the log, whose hash was compared with that of the next base.
    pub compared: usize,
    /// What is wrong, an object each where it is one's.
    pub problems: Vec<Error>,
}

impl Archive {
    /// Reads and checks every object, and restores every base with the log after it, in the new
    /// directory `scratch`, which is removed again. Goes on after what it finds.
    pub async fn verify(
        &self,
        scratch: &Path,
        progress: &(dyn Fn(&str, Progress) + Send + Sync),
    ) -> Result<Verified, Error> {
        let points = self.points().await?;
        let mut found =
            Verified { bases: points.bases.len(), log_objects: points.logs.len(), ..Verified::default() };
        if points.bases.is_empty() {
            return Err(Error::Empty { location: self.full("") });
        }
        let total = points.logs.len() as u64;
        let mut fetched = stream::iter(points.logs.clone())
            .map(|log| async move { (self.get(&log.path()).await, log) })
            .buffered(FETCH_AHEAD);
        let mut done = 0;
        while let Some((sealed, log)) = fetched.next().await {
            let (archive, name) = (self.clone(), log.clone());
            let opened = async {
                let sealed = sealed?;
                let opening = move || archive.open_log(&log, &sealed).map(drop);
                tokio::task::spawn_blocking(opening).await.map_err(|_| Error::Stopped)?
            };
            match opened.await {
                Ok(()) => {}
                Err(error @ Error::Storage(_)) => return Err(error),
                // Merged since it was listed; what holds its entries now is read when bases are restored.
                Err(Error::Missing { .. }) if self.points().await?.covers(&name) => {}
                Err(error) => found.problems.push(error),
            }
            done += 1;
            progress(READING, Progress { phase: Phase::Log, done, total });
        }
        drop(fetched);
        for (n, base) in points.bases.iter().enumerate() {
            let what = format!("restoring base {} of {}", n + 1, points.bases.len());
            let tell = |told| progress(&what, told);
            let next = points.bases.get(n + 1);
            let end = points.chain(&base.name, u64::MAX).last().map_or(base.index, |log| log.last);
            let until = next.map(|next| next.index).filter(|index| *index <= end).unwrap_or(end);
            let dir = scratch.join(format!("base-{n}"));
            let made = self.materialize_index(&points, &base.name, until, &dir, &tell).await;
            let _ = std::fs::remove_dir_all(&dir);
            match made {
                Ok(applied) => {
                    found.entries += until - base.index;
                    let alike = next.filter(|next| {
                        next.index == until && Some(next.term) == applied.position.map(|p| p.term)
                    });
                    let Some(next) = alike else { continue };
                    found.compared += 1;
                    match self.manifest(&next.name).await {
                        Ok(manifest) if manifest.hash == format!("{:032x}", applied.hash) => {}
                        Ok(manifest) => found.problems.push(Error::OtherHash {
                            what: format!("{} and the log after it", base.name.manifest()),
                            found: applied.hash,
                            expected: u128::from_str_radix(&manifest.hash, 16).unwrap_or_default(),
                        }),
                        // Told of when it is restored itself.
                        Err(_) => {}
                    }
                }
                Err(error @ (Error::Storage(_) | Error::Io { .. } | Error::Stopped)) => return Err(error),
                Err(error) => found.problems.push(error),
            }
        }
        let mut told = std::collections::HashSet::new();
        found.problems.retain(|problem| told.insert(problem.to_string()));
        for gap in &points.gaps {
            found.problems.push(Error::Gap {
                first: gap.first_index,
                last: gap.last_index,
                because: "nothing there covers them".into(),
            });
        }
        Ok(found)
    }
}
