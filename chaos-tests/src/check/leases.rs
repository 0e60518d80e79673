//! Leases end when their time is up, by the clock of who holds them, and not before.
//!
//! A member that grants or renews a lease does so after it was asked: the time runs from the beginning
//! of the call at the earliest. That a lease has ended is known at the latest when somebody was told.

use std::collections::BTreeMap;

use super::Found;
use super::judged::Judged;
use super::replay::Cause;
use crate::history::{Answer, Call, History, Moment, Outcome, Refusal};

/// Members' clocks may run faster than the clients' by one part in this many, and leases end sooner by
/// as much: simulated worlds let clocks drift by 5 percent.
const DRIFT_PART: u64 = 16;
const NS_PER_S: u64 = 1_000_000_000;

#[derive(Default)]
struct Lease {
    /// When it was granted or renewed at the earliest, and for how long: nanoseconds.
    renewals: Vec<(Moment, u64)>,
    granted_ttl_s: Option<i64>,
    /// The first moment at which somebody may have begun to revoke it.
    revoked: Option<Moment>,
    /// When it was known to have ended, and how.
    gone: Option<(Moment, String)>,
}

fn gather(history: &History) -> BTreeMap<i64, Lease> {
    let mut leases: BTreeMap<i64, Lease> = BTreeMap::new();
    for operation in &history.operations {
        let (id, answer) = match &operation.call {
            Call::Grant { lease, .. }
            | Call::Revoke { lease }
            | Call::KeepAlive { lease }
            | Call::TimeToLive { lease } => (*lease, &operation.outcome),
            _ => continue,
        };
        let lease = leases.entry(id).or_default();
        if matches!(operation.call, Call::Revoke { .. }) && !matches!(answer, Outcome::Refused(_)) {
            let first = lease.revoked.get_or_insert(operation.begin);
            *first = (*first).min(operation.begin);
        }
        let gone = match answer {
            Outcome::Done(Answer::Granted { ttl_s, .. }) => {
                lease.granted_ttl_s = Some(*ttl_s);
                lease.renewals.push((operation.begin, ttl_ns(*ttl_s)));
                false
            }
            Outcome::Done(Answer::KeptAlive { ttl_s }) => {
                lease.renewals.push((operation.begin, ttl_ns(*ttl_s)));
                false
            }
            Outcome::Done(Answer::TimeToLive { ttl_s, .. }) => *ttl_s < 0,
            Outcome::Refused(Refusal::LeaseNotFound) => true,
            _ => false,
        };
        if gone {
            let what = super::words::operation(operation);
            gone_at(lease, operation.end, format!("{what} was told so"));
        }
    }
    leases
}

fn ttl_ns(ttl_s: i64) -> u64 {
    u64::try_from(ttl_s).unwrap_or(0).saturating_mul(NS_PER_S)
}

fn gone_at(lease: &mut Lease, at: Moment, how: String) {
    if lease.gone.as_ref().is_none_or(|(before, _)| at < *before) {
        lease.gone = Some((at, how));
    }
}

/// No lease ends before its time, counted from the last renewal that was acknowledged, unless somebody
/// revokes it; and what has ended is not renewed.
pub(super) fn never_end_early(&Found { history, replay, .. }: &Found<'_>) -> Judged {
    let mut leases = gather(history);
    for (revision, cause) in &replay.causes {
        if let (Cause::Expired { lease, sure: true }, Some(at)) = (cause, replay.first_seen.get(revision)) {
            gone_at(leases.entry(*lease).or_default(), *at, format!("its keys went at revision {revision}"));
        }
    }
    let mut judged = Judged::default();
    for (id, lease) in &leases {
        let Some((at, how)) = &lease.gone else { continue };
        // One whose grant is not known may never have been there.
        if lease.granted_ttl_s.is_none() || lease.revoked.is_some_and(|revoked| revoked < *at) {
            continue;
        }
        judged.look_at(lease.renewals.len());
        for (begin, ttl_ns) in &lease.renewals {
            if begin.tick > at.tick {
                judged.say(format!("lease {id} had ended ({how}), and was renewed at tick {}", begin.tick.0));
                continue;
            }
            let lived = at.ns.saturating_sub(begin.ns);
            if lived < ttl_ns - ttl_ns / DRIFT_PART {
                judged.say(format!(
                    "lease {id} ended {} ms after tick {}, which gave it {} ms: {how}",
                    lived / 1_000_000,
                    begin.tick.0,
                    ttl_ns / 1_000_000
                ));
            }
        }
    }
    judged
}

/// A lease has the time that it was granted, at least what was asked for, and never more left than that.
pub(super) fn have_the_time_they_were_given(history: &History) -> Judged {
    let leases = gather(history);
    let mut judged = Judged::default();
    for operation in &history.operations {
        let what = match (&operation.call, &operation.outcome) {
            (Call::Grant { ttl_s: asked, .. }, Outcome::Done(Answer::Granted { ttl_s, .. })) => {
                (ttl_s < asked).then(|| format!("{ttl_s} s were granted"))
            }
            (Call::TimeToLive { lease }, Outcome::Done(Answer::TimeToLive { ttl_s, granted_ttl_s, .. }))
                if *ttl_s >= 0 =>
            {
                let granted = leases.get(lease).and_then(|lease| lease.granted_ttl_s);
                if ttl_s > granted_ttl_s {
                    Some(format!("{ttl_s} s of {granted_ttl_s} are left"))
                } else {
                    let differs = granted.is_some_and(|granted| granted != *granted_ttl_s);
                    differs.then(|| format!("it is said to have been granted {granted_ttl_s} s"))
                }
            }
            _ => continue,
        };
        judged.case(what.map(|what| format!("{}: {what}", super::words::operation(operation))));
    }
    judged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::replay::Replay;
    use crate::history::{Event, KeyVersion, Keys, Op, Operation, Received, Tick, Txn, Watch};

    const MS: u64 = 1_000_000;
    const KEY: &str = "/chaos/t/1";
    const LEASE: i64 = 5;

    fn moment(ms: u64) -> Moment {
        Moment { tick: Tick(ms), ns: ms * MS }
    }

    /// A call that takes ten milliseconds.
    fn call(begin_ms: u64, call: Call, outcome: Outcome) -> Operation {
        let (begin, end) = (moment(begin_ms), moment(begin_ms + 10));
        Operation { client: 1, member: None, begin, end, call, outcome }
    }

    fn keep_alive(begin_ms: u64) -> Operation {
        call(begin_ms, Call::KeepAlive { lease: LEASE }, Outcome::Done(Answer::KeptAlive { ttl_s: 2 }))
    }

    fn gone(begin_ms: u64) -> Operation {
        call(begin_ms, Call::KeepAlive { lease: LEASE }, Outcome::Refused(Refusal::LeaseNotFound))
    }

    fn revoke(begin_ms: u64, outcome: Outcome) -> Operation {
        call(begin_ms, Call::Revoke { lease: LEASE }, outcome)
    }

    /// Granted at once for 2 s, a key put under it; the key seen to go at `ends_ms`.
    fn history(ends_ms: u64, more: Vec<Operation>) -> History {
        let grant = Answer::Granted { revision: 1, ttl_s: 2 };
        let put = Op::Put { key: KEY.into(), value: "1.1".into(), lease: LEASE, prev_kv: false };
        let txn = Txn { success: vec![put], ..Txn::default() };
        let results = vec![crate::history::OpAnswer::Put { prev: None }];
        let done = Answer::Txn { revision: 2, succeeded: true, results };
        let mut operations = vec![
            call(0, Call::Grant { lease: LEASE, ttl_s: 2 }, Outcome::Done(grant)),
            call(20, Call::Txn(txn), Outcome::Done(done)),
        ];
        operations.extend(more);
        let kv = KeyVersion {
            key: KEY.into(),
            create_revision: 2,
            mod_revision: 2,
            version: 1,
            lease: LEASE,
            value: "1.1".into(),
        };
        let gone = KeyVersion { key: KEY.into(), mod_revision: 3, ..KeyVersion::default() };
        let events = |revision, event| Received::Events { revision, events: vec![event] };
        let keys = Keys::prefix("/chaos/");
        let mut watch = Watch { whole: true, from: 1, keys, ..Watch::default() };
        watch.receive(moment(40), events(2, Event { put: true, kv, prev: None }));
        watch.receive(moment(ends_ms), events(3, Event { put: false, kv: gone, prev: None }));
        History { compactions_known: true, operations, watches: vec![watch], ..History::default() }
    }

    fn check(history: &History, says: &str) {
        assert_eq!(Replay::of(history).wrong, Vec::<String>::new());
        let found = crate::check::by("leases never end early", history);
        if says.is_empty() {
            assert_eq!(found, Vec::<String>::new());
        } else {
            assert!(found.iter().any(|what| what.contains(says)), "{says}: {found:?}");
        }
    }

    #[test]
    fn a_lease_lives_its_time() {
        check(&history(2_005, Vec::new()), "");
        check(&history(1_950, Vec::new()), "");
        check(&history(1_500, Vec::new()), "ended 1500 ms after tick 0, which gave it 2000 ms");
    }

    #[test]
    fn a_renewal_gives_it_its_time_again() {
        check(&history(3_600, vec![keep_alive(1_500)]), "");
        check(&history(3_000, vec![keep_alive(1_500)]), "ended 1500 ms after tick 1500");
        check(&history(2_005, vec![keep_alive(2_500)]), "was renewed at tick 2500");
    }

    #[test]
    fn nobody_is_told_that_it_is_gone_before_it_is() {
        check(&history(2_005, vec![gone(2_100)]), "");
        check(&history(2_005, vec![gone(500)]), "was told so");
    }

    #[test]
    fn what_is_revoked_may_go_at_once() {
        let revoked = Outcome::Done(Answer::Revoked { revision: 3 });
        check(&history(500, vec![revoke(450, revoked)]), "");
        check(&history(500, vec![revoke(450, Outcome::Unknown("timeout".into()))]), "");
        check(&history(500, vec![revoke(450, Outcome::Refused(Refusal::LeaseNotFound))]), "ended");
        check(&history(500, vec![revoke(600, Outcome::Unknown("timeout".into()))]), "ended 500 ms");
    }

    #[test]
    fn its_keys_go_with_it() {
        let mut left = history(500, vec![revoke(450, Outcome::Done(Answer::Revoked { revision: 2 }))]);
        left.watches[0].pieces.truncate(1);
        let found = Replay::of(&left).wrong;
        assert!(found.iter().any(|what| what.contains("are still there")), "{found:?}");

        let mut put_again = history(2_005, Vec::new());
        let mut put = put_again.operations[1].clone();
        put.begin = moment(2_100);
        put.end = moment(2_110);
        if let Call::Txn(txn) = &mut put.call
            && let Op::Put { value, .. } = &mut txn.success[0]
        {
            *value = "1.2".into();
        }
        if let Outcome::Done(Answer::Txn { revision, .. }) = &mut put.outcome {
            *revision = 4;
        }
        put_again.operations.push(put);
        let kv = KeyVersion {
            key: KEY.into(),
            create_revision: 4,
            mod_revision: 4,
            version: 1,
            lease: LEASE,
            value: "1.2".into(),
        };
        let events = vec![Event { put: true, kv, prev: None }];
        let what = Received::Events { revision: 4, events };
        put_again.watches[0].receive(moment(2_120), what);
        let found = Replay::of(&put_again).wrong;
        assert!(found.iter().any(|what| what.contains("lease that had ended")), "{found:?}");
    }

    #[test]
    fn it_has_no_more_time_than_it_was_given() {
        let ask = |ttl_s, granted_ttl_s| {
            let answer = Answer::TimeToLive { revision: 2, ttl_s, granted_ttl_s };
            history(2_005, vec![call(100, Call::TimeToLive { lease: LEASE }, Outcome::Done(answer))])
        };
        assert_eq!(have_the_time_they_were_given(&ask(2, 2)).wrong, Vec::<String>::new());
        assert!(have_the_time_they_were_given(&ask(3, 2)).wrong[0].contains("3 s of 2 are left"));
        assert!(have_the_time_they_were_given(&ask(3, 4)).wrong[0].contains("granted 4 s"));
    }
}
