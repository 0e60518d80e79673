//! What upstream's default admission plugins do to an object, as pure functions of the object and
//! of what was looked up for it. The API server looks up, calls and decides when.

pub mod default_class;
pub mod default_toleration_seconds;
pub mod limit_ranger;
pub mod priority;
pub mod service_account;
pub mod storage_object_in_use_protection;
pub mod taint_nodes_by_condition;

/// Why an object is not admitted: the text after `pods "a" is forbidden: `.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);
