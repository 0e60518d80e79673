//! Leaders that were deposed: the order of revisions says who led when.

use super::judged::Judged;
use super::replay::Cause;
use super::{Found, words};
use crate::history::{Call, Outcome, Refusal, Txn};

/// What is fenced is done in its own epoch, which ends with the transaction that begins the next; and
/// who is refused has been deposed.
pub(super) fn deposed_leaders_write_nothing(found: &Found<'_>) -> Judged {
    let &Found { history, replay, .. } = found;
    let fenced = |n: usize| match &history.operations[n].call {
        Call::Txn(Txn { fence: Some(fence), raises, .. }) => Some((*fence, *raises)),
        _ => None,
    };
    let mut judged = Judged::default();
    let mut epoch = 0;
    for (revision, cause) in &replay.causes {
        let Cause::Operation(n) = *cause else { continue };
        let Some((fence, raises)) = fenced(n) else { continue };
        judged.look();
        if fence != epoch {
            let what = words::operation(&history.operations[n]);
            judged.say(format!("{what} of epoch {fence} was done at revision {revision}, in epoch {epoch}"));
        }
        // By its own account, lest one mistake drag all others along.
        epoch = epoch.max(fence + u64::from(raises));
    }
    for (n, operation) in history.operations.iter().enumerate() {
        let (Outcome::Refused(Refusal::Fenced { current }), Some((fence, _))) =
            (&operation.outcome, fenced(n))
        else {
            continue;
        };
        judged.look();
        if *current == fence || *current > epoch {
            let what = words::operation(operation);
            judged
                .say(format!("{what} of epoch {fence} was refused for epoch {current}; the last is {epoch}"));
        }
    }
    judged
}

#[cfg(test)]
mod tests {
    use super::super::by;
    use crate::history::{
        Answer, Call, Event, History, KeyVersion, Keys, Moment, Op, OpAnswer, Operation, Outcome, Received,
        Refusal, Tick, Txn, Watch,
    };

    const NAME: &str = "deposed leaders write nothing";

    fn at(tick: u64) -> Moment {
        Moment { tick: Tick(tick), ..Moment::default() }
    }

    /// Transactions one after the other, each a change of the one key: its epoch, whether it begins the
    /// next one, and the refusal or nothing.
    fn history(told: &[(u64, bool, Option<u64>)]) -> History {
        let mut history = History::default();
        let mut events = Vec::new();
        let mut revision = 1;
        for (n, (fence, raises, refused)) in (1u32..).zip(told) {
            let value = format!("{n}");
            let put = Op::Put { key: "/chaos/f".into(), value: value.clone(), lease: 0, prev_kv: false };
            let txn = Txn { success: vec![put], fence: Some(*fence), raises: *raises, ..Txn::default() };
            let outcome = match refused {
                Some(current) => Outcome::Refused(Refusal::Fenced { current: *current }),
                None => {
                    revision += 1;
                    let kv = KeyVersion {
                        key: "/chaos/f".into(),
                        create_revision: 2,
                        mod_revision: revision,
                        version: revision - 1,
                        lease: 0,
                        value,
                    };
                    events.push((revision, Event { put: true, kv, prev: None }));
                    let results = vec![OpAnswer::Put { prev: None }];
                    Outcome::Done(Answer::Txn { revision, succeeded: true, results })
                }
            };
            let (begin, end) = (at(u64::from(n) * 10), at(u64::from(n) * 10 + 1));
            let call = Call::Txn(txn);
            history.operations.push(Operation { client: n, member: None, begin, end, call, outcome });
        }
        let mut watch =
            Watch { keys: Keys::prefix("/chaos/"), whole: true, from: 1, told: 1, ..Watch::default() };
        watch.receive(at(1), Received::Opened { start: 2 });
        for (revision, event) in events {
            watch.receive(at(10_000), Received::Events { revision, events: vec![event] });
        }
        history.watches.push(watch);
        history
    }

    fn wrong(told: &[(u64, bool, Option<u64>)]) -> Vec<String> {
        let history = history(told);
        assert_eq!(by("writes are done once, as acknowledged", &history), Vec::<String>::new());
        by(NAME, &history)
    }

    #[test]
    fn who_was_deposed_is_refused() {
        let told = [
            (0, true, None),
            (1, false, None),
            (0, true, Some(1)),
            (1, true, None),
            (1, false, Some(2)),
            (2, false, None),
        ];
        assert_eq!(wrong(&told), Vec::<String>::new());
    }

    #[test]
    fn what_a_deposed_leader_writes_is_found() {
        let wrong = wrong(&[(0, true, None), (1, true, None), (1, false, None), (2, false, None)]);
        assert!(
            wrong.len() == 1 && wrong[0].contains("of epoch 1 was done at revision 4, in epoch 2"),
            "{wrong:?}"
        );
    }

    #[test]
    fn two_who_begin_the_same_epoch_are_found() {
        let wrong = wrong(&[(0, true, None), (0, true, None)]);
        assert!(wrong.len() == 1 && wrong[0].contains("in epoch 1"), "{wrong:?}");
    }

    #[test]
    fn who_leads_is_not_refused() {
        let own = wrong(&[(0, true, None), (1, false, Some(1))]);
        assert!(own.len() == 1 && own[0].contains("was refused for epoch 1"), "{own:?}");
        let nobodys = wrong(&[(0, true, None), (1, false, Some(7))]);
        assert!(nobodys.len() == 1 && nobodys[0].contains("the last is 1"), "{nobodys:?}");
    }
}
