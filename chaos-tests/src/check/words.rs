//! How violations speak of operations and keys.

use crate::history::{Call, KeyVersion, Op, Operation, Txn};

/// Operations of a transaction that are named; the rest is counted.
const OPS_SHOWN_MAX: usize = 4;

pub(super) fn operation(operation: &Operation) -> String {
    let what = match &operation.call {
        Call::Range(range) if range.revision > 0 => format!("read {} at {}", range.keys, range.revision),
        Call::Range(range) if range.serializable => format!("serializable read {}", range.keys),
        Call::Range(range) => format!("read {}", range.keys),
        Call::Txn(wanted) => txn(wanted),
        Call::Compact { revision } => format!("compact {revision}"),
        Call::Grant { lease, ttl_s } => format!("grant lease {lease} for {ttl_s} s"),
        Call::Revoke { lease } => format!("revoke lease {lease}"),
        Call::KeepAlive { lease } => format!("keep lease {lease} alive"),
        Call::TimeToLive { lease } => format!("ask for lease {lease}"),
        Call::Barrier => "barrier".to_owned(),
    };
    format!(
        "[{what}] of client {} at ticks {}..{}",
        operation.client, operation.begin.tick.0, operation.end.tick.0
    )
}

fn txn(txn: &Txn) -> String {
    let branch = |ops: &[Op]| {
        let mut named: Vec<String> = ops.iter().take(OPS_SHOWN_MAX).map(op).collect();
        if ops.len() > OPS_SHOWN_MAX {
            named.push(format!("{} more", ops.len() - OPS_SHOWN_MAX));
        }
        named.join(", ")
    };
    match (txn.compare.is_empty(), txn.failure.is_empty()) {
        (true, _) => branch(&txn.success),
        (false, true) => format!("if it holds: {}", branch(&txn.success)),
        (false, false) => format!("if it holds: {}; else: {}", branch(&txn.success), branch(&txn.failure)),
    }
}

fn op(op: &Op) -> String {
    match op {
        Op::Range(range) if range.revision > 0 => format!("read {} at {}", range.keys, range.revision),
        Op::Range(range) => format!("read {}", range.keys),
        Op::Put { key, value, .. } => format!("put {key}={value}"),
        Op::Delete { keys, .. } => format!("delete {keys}"),
    }
}

pub(super) fn version(kv: Option<&KeyVersion>) -> String {
    match kv {
        None => "nothing".to_owned(),
        Some(kv) => format!(
            "{}={} (version {}, created {}, modified {}{})",
            kv.key,
            kv.value,
            kv.version,
            kv.create_revision,
            kv.mod_revision,
            if kv.lease == 0 { String::new() } else { format!(", lease {}", kv.lease) }
        ),
    }
}

/// The first place where two lists of versions differ.
pub(super) fn difference(expected: &[KeyVersion], found: &[KeyVersion]) -> String {
    let n = expected.iter().zip(found).take_while(|(expected, found)| expected == found).count();
    format!("{} where {} should be", version(found.get(n)), version(expected.get(n)))
}
