//! Addresses and ports of Services: each is a key of its own in the store, made and removed in
//! the transaction that writes the Service, so that two servers never give out the same one.

mod allocate;
mod range;

pub(crate) use allocate::{allocate, release_ops};
pub(crate) use range::ServiceRange;
