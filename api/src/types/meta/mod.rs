//! `meta/v1`.

pub mod label_selector;
pub mod object_meta;
pub mod plain;
