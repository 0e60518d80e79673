//! `metadata.managedFields`: one entry per manager, operation, version and subresource.

use std::collections::BTreeMap;

use super::field_json::FieldsV1Error;
use super::field_set::FieldSet;
use crate::tree::{Map, Value};

/// Update entries past which the oldest are folded into one per version.
pub const UPDATE_MANAGERS_MAX: usize = 10;
const FOLDED_MANAGER: &str = "ancient-changes";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    Apply,
    Update,
}

impl Operation {
    const fn name(self) -> &'static str {
        match self {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        }
    }
}

/// Who owns: what distinguishes entries.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Manager {
    pub(super) name: String,
    pub(super) operation: Operation,
    /// Empty for Apply: an applier has one entry, whatever version it applied in last.
    pub(super) api_version: String,
    pub(super) subresource: String,
}

impl Manager {
    pub(super) fn new(name: &str, operation: Operation, api_version: &str, subresource: &str) -> Manager {
        Manager {
            name: if name.is_empty() { "unknown" } else { name }.to_owned(),
            operation,
            api_version: if operation == Operation::Apply { "" } else { api_version }.to_owned(),
            subresource: subresource.to_owned(),
        }
    }
    /// As conflicts name it.
    pub(super) fn describe(&self) -> String {
        let mut out = format!("{:?}", self.name);
        if !self.subresource.is_empty() {
            out += &format!(" with subresource {:?}", self.subresource);
        }
        if self.operation == Operation::Update {
            out += &format!(" using {}", self.api_version);
        }
        out
    }
}

/// What a manager owns.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Owned {
    pub(super) set: FieldSet,
    /// The version its field names belong to.
    pub(super) api_version: String,
    /// RFC 3339; when the set last changed, absent where that was never told.
    pub(super) time: Option<String>,
}

/// All entries of an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Entries(pub(super) BTreeMap<Manager, Owned>);

/// Why `managedFields` cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntriesError {
    #[error("operation must be `Apply` or `Update`")]
    Operation,
    #[error("apiVersion must not be empty")]
    ApiVersion,
    #[error("missing fieldsType in managed fields entry {0}")]
    NoFieldsType(usize),
    #[error("invalid fieldsType {1:?} in managed fields entry {0}")]
    FieldsType(usize, String),
    #[error("error unmarshalling fields: {0}")]
    Fields(#[from] FieldsV1Error),
}

impl Entries {
    pub(super) fn decode(list: &Value) -> Result<Entries, EntriesError> {
        let mut entries = BTreeMap::new();
        for (i, entry) in list.items().iter().enumerate() {
            let operation = match entry["operation"].str_or_empty() {
                "Apply" => Operation::Apply,
                "Update" => Operation::Update,
                _ => return Err(EntriesError::Operation),
            };
            let api_version = entry["apiVersion"].str_or_empty();
            if api_version.is_empty() {
                return Err(EntriesError::ApiVersion);
            }
            match entry["fieldsType"].str_or_empty() {
                "FieldsV1" => {}
                "" => return Err(EntriesError::NoFieldsType(i)),
                other => return Err(EntriesError::FieldsType(i, other.to_owned())),
            }
            let manager = Manager {
                name: entry["manager"].str_or_empty().to_owned(),
                ..Manager::new("-", operation, api_version, entry["subresource"].str_or_empty())
            };
            let owned = Owned {
                set: FieldSet::from_fields_v1(&entry["fieldsV1"])?,
                api_version: api_version.to_owned(),
                time: entry["time"].as_str().map(str::to_owned),
            };
            entries.insert(manager, owned);
        }
        Ok(Entries(entries))
    }

    /// In upstream's order: appliers first, then by time (absent first), name, version, subresource.
    pub(super) fn encode(&self) -> Value {
        let mut sorted: Vec<(&Manager, &Owned)> = self.0.iter().collect();
        sorted.sort_by_key(|(m, o)| (m.operation, &o.time, &m.name, &o.api_version, &m.subresource));
        let entry = |(manager, owned): (&Manager, &Owned)| {
            let mut map = Map::new();
            if !manager.name.is_empty() {
                map.set("manager", manager.name.as_str());
            }
            map.set("operation", manager.operation.name());
            map.set("apiVersion", owned.api_version.as_str());
            if let Some(time) = &owned.time {
                map.set("time", time.as_str());
            }
            map.set("fieldsType", "FieldsV1");
            map.set("fieldsV1", owned.set.to_fields_v1());
            if !manager.subresource.is_empty() {
                map.set("subresource", manager.subresource.as_str());
            }
            Value::Object(map)
        };
        Value::Array(sorted.into_iter().map(entry).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Folds the oldest Update entries into one `ancient-changes` per version while there are more
    /// than [`UPDATE_MANAGERS_MAX`].
    pub(super) fn cap(&mut self) {
        let mut updaters: Vec<(Option<String>, Manager)> = self
            .0
            .iter()
            .filter(|(m, _)| m.operation == Operation::Update)
            .map(|(m, o)| (o.time.clone(), m.clone()))
            .collect();
        let mut count = updaters.len();
        updaters.sort();
        let mut first_of_version: BTreeMap<String, Manager> = BTreeMap::new();
        for (_, manager) in updaters {
            if count <= UPDATE_MANAGERS_MAX {
                return;
            }
            let version = self.0[&manager].api_version.clone();
            let Some(first) = first_of_version.get(&version) else {
                first_of_version.insert(version, manager);
                continue;
            };
            let bucket = Manager::new(FOLDED_MANAGER, Operation::Update, &version, "");
            if !self.0.contains_key(&bucket)
                && let Some(owned) = self.0.remove(first)
            {
                self.0.insert(bucket.clone(), owned);
            }
            if manager == bucket {
                continue;
            }
            if let (Some(owned), Some(into)) = (self.0.remove(&manager), self.0.get_mut(&bucket)) {
                into.set.union_with(&owned.set);
                into.time = owned.time;
                count -= 1;
            }
        }
    }
}
