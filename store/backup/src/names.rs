//! Names of objects. They carry what a reader must know to choose, so that choosing is one listing;
//! an object is sealed under its name, so that the name is as good as what is in it.
//!
//! ```text
//!   trireme-<cluster>/log/<first>-<last>-<term before>-<last term>-<revision>-<time>
//!   trireme-<cluster>/base/<index>-<term>-<revision>-<time>-<maker>/part-<n>
//!   trireme-<cluster>/base/<index>-<term>-<revision>-<time>-<maker>/MANIFEST
//!   trireme-<cluster>/check/<the base's name>.ok | .bad
//! ```
//!
//! Numbers that order are 20 digits long. Revision and time are those after the last entry; zero
//! where the archiver did not know them.

const CLUSTER: &str = "trireme-";

/// What a name in the archive says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Log(LogName),
    Part { base: BaseName, n: u32 },
    Manifest(BaseName),
    Check { base: BaseName, good: bool },
}

/// Committed entries `first..=last`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LogName {
    pub first: u64,
    pub last: u64,
    /// Of the entry before `first`: what the object continues.
    pub term_before: u64,
    pub last_term: u64,
    pub revision: i64,
    pub time_ms: i64,
}

/// A snapshot of the state after the entry at `index`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct BaseName {
    pub index: u64,
    pub term: u64,
    pub revision: i64,
    pub time_ms: i64,
    /// Drawn at random: two that are made at one position do not mix.
    pub maker: u32,
}

/// The folder of a cluster in the storage.
pub(crate) fn cluster_dir(cluster: &str) -> String {
    format!("{CLUSTER}{cluster}")
}

pub(crate) fn parse_cluster_dir(dir: &str) -> Option<&str> {
    let id = dir.strip_prefix(CLUSTER)?;
    (id.len() == 16 && id.bytes().all(|b| b.is_ascii_hexdigit())).then_some(id)
}

impl LogName {
    pub(crate) fn path(&self) -> String {
        let Self { first, last, term_before, last_term, revision, time_ms } = self;
        format!("log/{first:020}-{last:020}-{term_before}-{last_term}-{revision}-{time_ms}")
    }

    fn parse(text: &str) -> Option<Self> {
        let [first, last, term_before, last_term, revision, time_ms] = numbers(text)?;
        let name = Self {
            first,
            last,
            term_before,
            last_term,
            revision: i64::try_from(revision).ok()?,
            time_ms: i64::try_from(time_ms).ok()?,
        };
        (name.first <= name.last).then_some(name)
    }
}

impl BaseName {
    fn stem(&self) -> String {
        let Self { index, term, revision, time_ms, maker } = self;
        format!("{index:020}-{term}-{revision}-{time_ms}-{maker}")
    }

    pub(crate) fn part(&self, n: u32) -> String {
        format!("base/{}/part-{n:05}", self.stem())
    }

    pub(crate) fn manifest(&self) -> String {
        format!("base/{}/MANIFEST", self.stem())
    }

    pub(crate) fn check(&self, good: bool) -> String {
        format!("check/{}.{}", self.stem(), if good { "ok" } else { "bad" })
    }

    fn parse(text: &str) -> Option<Self> {
        let [index, term, revision, time_ms, maker] = numbers(text)?;
        Some(Self {
            index,
            term,
            revision: i64::try_from(revision).ok()?,
            time_ms: i64::try_from(time_ms).ok()?,
            maker: u32::try_from(maker).ok()?,
        })
    }

    /// Raft's order: a later term wins over a higher index.
    pub(crate) fn order(&self) -> (u64, u64, u32) {
        (self.term, self.index, self.maker)
    }
}

impl Name {
    /// `path` is relative to the cluster's folder. `None` for what is not of this archive.
    pub(crate) fn parse(path: &str) -> Option<Self> {
        let name = match path.split('/').collect::<Vec<_>>()[..] {
            ["log", name] => Self::Log(LogName::parse(name)?),
            ["base", base, "MANIFEST"] => Self::Manifest(BaseName::parse(base)?),
            ["base", base, part] => {
                let n = part.strip_prefix("part-")?.parse().ok()?;
                Self::Part { base: BaseName::parse(base)?, n }
            }
            ["check", check] => {
                let (base, verdict) = check.rsplit_once('.')?;
                let good = match verdict {
                    "ok" => true,
                    "bad" => false,
                    _ => return None,
                };
                Self::Check { base: BaseName::parse(base)?, good }
            }
            _ => return None,
        };
        // One name for one thing: what was written otherwise was not written here.
        (name.path() == path).then_some(name)
    }

    pub(crate) fn path(&self) -> String {
        match self {
            Self::Log(log) => log.path(),
            Self::Part { base, n } => base.part(*n),
            Self::Manifest(base) => base.manifest(),
            Self::Check { base, good } => base.check(*good),
        }
    }
}

fn numbers<const N: usize>(text: &str) -> Option<[u64; N]> {
    let mut parts = text.split('-');
    let mut numbers = [0; N];
    for number in &mut numbers {
        *number = parts.next()?.parse().ok()?;
    }
    parts.next().is_none().then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_strangers_refused() {
        let log = LogName { first: 7, last: 9, term_before: 1, last_term: 2, revision: 5, time_ms: 1_700 };
        let base = BaseName { index: 6, term: 1, revision: 4, time_ms: 1_600, maker: 77 };
        for name in [
            Name::Log(log.clone()),
            Name::Manifest(base.clone()),
            Name::Part { base: base.clone(), n: 3 },
            Name::Check { base, good: false },
        ] {
            assert_eq!(Name::parse(&name.path()), Some(name));
        }
        for stranger in ["log/7-9-1-2-5-1700", "log/x", "base/1/part-1", "README", "log/a/b"] {
            assert_eq!(Name::parse(stranger), None, "{stranger}");
        }
        assert_eq!(Name::parse(&log.path().replacen("log", "logs", 1)), None);
    }
}
