//! `admissionregistration.k8s.io/v1`: webhooks and policies. What their CEL expressions compile to
//! is checked where CEL is evaluated.

pub mod policy;
pub mod rules;
pub mod webhook;
