//! Selectors: which objects a list, a watch or a controller means.
//!
//! [`LabelSelector`] reads the query form (`a=b,c!=d,e in (x,y),!f,g>1`) and the object form
//! (`matchLabels`, `matchExpressions`); [`FieldSelector`] reads `metadata.name=x,spec.nodeName!=y`.
//! The texts of their errors are what clients see.

mod field;
mod label;
mod label_object;
mod label_parse;
mod syntax;

pub use field::{FieldSelector, FieldSelectorError, FieldTerm, escape_value};
pub use label::{LabelSelector, Operator, Requirement};
pub use label_object::{SelectorError, validate};
pub use label_parse::LabelSelectorError;
pub use syntax::{label_value_errors, qualified_name_errors};
