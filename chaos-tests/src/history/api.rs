//! What is asked of the API, and what it answers: of each object what checkers look at.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Moment, Tick};

/// One object at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiObject {
    /// `configmaps`, `services`, `pods`.
    pub resource: String,
    /// `<namespace>/<name>`.
    pub name: String,
    pub uid: String,
    /// Its resource version.
    pub version: i64,
    /// What the traffic wrote into it; no two writes of a run write the same. Of a pod how it stands.
    pub value: String,
    /// Addresses that it was given and that nobody else may have.
    pub addresses: Vec<String>,
    /// Likewise ports of the nodes, with their protocol.
    pub node_ports: Vec<String>,
}

impl ApiObject {
    pub fn id(&self) -> ApiId {
        ApiId { resource: self.resource.clone(), name: self.name.clone() }
    }
}

/// Which object.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ApiId {
    pub resource: String,
    pub name: String,
}

impl fmt::Display for ApiId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.resource, self.name)
    }
}

/// "The leader of `lease` in this term".
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ApiFence {
    pub lease: String,
    pub epoch: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ApiCall {
    Create {
        id: ApiId,
        value: String,
    },
    /// Of the object as it was at `base`.
    Update {
        id: ApiId,
        value: String,
        base: i64,
    },
    Delete {
        id: ApiId,
        /// Only the object of this UID.
        uid: String,
    },
    /// Linearizable.
    Get {
        id: ApiId,
    },
    /// Linearizable, of everything that the traffic has of a resource, in one page or several.
    List {
        resource: String,
        paged: bool,
    },
    /// Of the pod of this UID.
    Evict {
        id: ApiId,
        uid: String,
    },
    /// A Lease was taken, which began a term.
    Lead,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ApiOutcome {
    /// Created, updated or deleted: the object as it was answered.
    Changed(ApiObject),
    Found(ApiObject),
    /// There is no such object.
    Absent,
    Listed {
        version: i64,
        objects: Vec<ApiObject>,
    },
    Refused(String),
    Unknown(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiOperation {
    pub client: u32,
    pub begin: Tick,
    pub end: Tick,
    /// The term that the call belongs to.
    pub fence: Option<ApiFence>,
    pub call: ApiCall,
    pub outcome: ApiOutcome,
}

/// A program that a user has run against the API, as a whole: what it asked is its own affair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    pub begin: Moment,
    pub end: Moment,
    pub line: String,
    pub outcome: CommandOutcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CommandOutcome {
    Done,
    /// With what the server said.
    Refused(String),
    /// It did not hear from the server, or not in time.
    Unknown(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ApiChange {
    Added,
    Modified,
    Deleted,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiEvent {
    pub tick: Tick,
    pub change: ApiChange,
    pub object: ApiObject,
}

/// A list and the watch that goes on from it, resumed as often as need be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiWatch {
    pub watcher: u32,
    pub resource: String,
    /// The list's resource version, and what it had.
    pub from: i64,
    pub initial: Vec<ApiObject>,
    pub events: Vec<ApiEvent>,
    /// Everything up to here was delivered.
    pub reached: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiHistory {
    pub operations: Vec<ApiOperation>,
    pub watches: Vec<ApiWatch>,
}
