//! Objects on their way, sorted by their age, on the disk: a cluster may have more than memory.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use anyhow::{Context, Result};
use trireme_bolt::{Sorted, Sorter};

use super::judge::Taken;

/// A directory that only its owner can read, since there are Secrets in it; removed when dropped.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(super) struct Spool {
    sorter: Sorter,
    count: u64,
    scratch: Scratch,
}

impl Spool {
    pub(super) fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("trireme-import-{}", uuid::Uuid::new_v4()));
        DirBuilder::new().mode(0o700).create(&path).with_context(|| path.display().to_string())?;
        Ok(Self { sorter: Sorter::new(&path), count: 0, scratch: Scratch(path) })
    }

    pub(super) fn push(&mut self, create_revision: i64, taken: &Taken) -> Result<()> {
        let mut record = create_revision.to_be_bytes().to_vec();
        record.push(u8::from(taken.made_everywhere));
        let parts = [taken.resource.as_bytes(), taken.key.as_bytes(), &taken.value];
        let beside = taken.beside.iter().flat_map(|(key, value)| [key.as_bytes(), value]);
        for part in parts.into_iter().chain(beside) {
            record.extend_from_slice(&(part.len() as u32).to_be_bytes());
            record.extend_from_slice(part);
        }
        self.count += 1;
        Ok(self.sorter.push(record)?)
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn sorted(self) -> Result<ByAge> {
        Ok(ByAge { sorted: self.sorter.sorted()?, _scratch: self.scratch })
    }
}

/// The oldest first.
pub(super) struct ByAge {
    sorted: Sorted,
    _scratch: Scratch,
}

impl ByAge {
    pub(super) fn next(&mut self) -> Result<Option<Taken>> {
        let Some(record) = self.sorted.next()? else { return Ok(None) };
        decode(&record).map(Some).context("a spooled object came back damaged")
    }
}

fn decode(record: &[u8]) -> Option<Taken> {
    let (made_everywhere, mut rest) = record.get(8..)?.split_first()?;
    let mut part = || -> Option<Vec<u8>> {
        let (len, tail) = rest.split_first_chunk::<4>()?;
        let (part, tail) = tail.split_at_checked(u32::from_be_bytes(*len) as usize)?;
        rest = tail;
        Some(part.to_vec())
    };
    let text = |part: Vec<u8>| String::from_utf8(part).ok();
    let mut taken = Taken {
        resource: text(part()?)?,
        key: text(part()?)?,
        value: part()?,
        made_everywhere: *made_everywhere != 0,
        beside: Vec::new(),
    };
    while let Some(key) = part() {
        taken.beside.push((text(key)?, part()?));
    }
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out_by_age() {
        let taken = |key: &str, beside: &[(&str, &str)]| Taken {
            resource: "services".into(),
            key: key.into(),
            value: vec![0, 1, 255],
            made_everywhere: key.len() > 1,
            beside: beside.iter().map(|(k, v)| ((*k).to_owned(), v.as_bytes().to_vec())).collect(),
        };
        let (young, old) = (taken("y", &[("p", "o"), ("q", "")]), taken("old", &[]));
        let mut spool = Spool::new().unwrap();
        let path = spool.scratch.0.clone();
        spool.push(300, &young).unwrap();
        spool.push(2, &old).unwrap();
        assert_eq!(spool.count(), 2);
        let mut sorted = spool.sorted().unwrap();
        assert_eq!(sorted.next().unwrap(), Some(old));
        assert_eq!(sorted.next().unwrap(), Some(young));
        assert_eq!(sorted.next().unwrap(), None);
        drop(sorted);
        assert!(!path.exists());
    }
}
