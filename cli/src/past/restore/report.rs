//! What is to be done and what was done, in words.

use trireme_api::Value;

use super::super::changes;
use super::super::unified;
use super::plan::{Action, Plan, Step};
use super::write::Check;

/// Objects that are left for one reason, named up to this many.
const NAMED_MAX: usize = 3;

impl Action {
    fn sign(self) -> char {
        match self {
            Self::Create => '+',
            Self::Update => '~',
            Self::Recreate { .. } => '±',
            Self::Delete => '-',
        }
    }

    pub(super) fn done(self) -> &'static str {
        match self {
            Self::Create => "created",
            Self::Update => "updated",
            Self::Recreate { .. } => "made anew",
            Self::Delete => "deleted",
        }
    }
}

/// One line about a step.
fn line(step: &Step) -> String {
    let what = match step.action {
        Action::Update | Action::Recreate { .. } => {
            let (from, to) = hidden(step);
            match (from, to) {
                (Some(from), Some(to)) => format!(": {}", changes::summary(&changes::between(&from, &to))),
                _ => String::new(),
            }
        }
        Action::Create | Action::Delete => String::new(),
    };
    format!("{} {}{what}", step.action.sign(), step.id)
}

/// Both versions, without what a Secret holds.
fn hidden(step: &Step) -> (Option<Value>, Option<Value>) {
    let mut from = step.now.as_ref().filter(|_| step.action != Action::Create).map(|now| now.object.clone());
    let mut to = Some(step.object.clone()).filter(|object| !object.is_null());
    unified::hide_secrets([from.as_mut(), to.as_mut()]);
    (from, to)
}

/// Prints the plan with what the server says to it; how many writes it would refuse.
pub(super) fn plan(plan: &Plan, checks: &[Check], full: bool) -> usize {
    let mut refused = 0;
    for (step, check) in plan.steps.iter().zip(checks) {
        println!("{}", line(step));
        if let Some(finalizers) = &step.ending {
            let by = if finalizers.is_empty() {
                String::new()
            } else {
                format!(", held by {}", finalizers.join(", "))
            };
            println!("    waits until the one that is being deleted is gone{by}");
        }
        step.notes.iter().for_each(|note| println!("    {note}"));
        if let Check::Refused(why) = check {
            refused += 1;
            println!("    WOULD BE REFUSED: {why}");
        }
        if full {
            let (from, to) = hidden(step);
            let names = (format!("{} now", step.id), format!("{} restored", step.id));
            let shown = unified::diff((&names.0, &names.1), from.as_ref(), to.as_ref());
            shown.lines().for_each(|line| println!("    {line}"));
        }
    }
    left(plan, full);
    let count = |sign: char| plan.steps.iter().filter(|step| step.action.sign() == sign).count();
    println!(
        "{} to create, {} to update, {} to make anew, {} to delete; {} are as they were, {} are left",
        count('+'),
        count('~'),
        count('±'),
        count('-'),
        plan.same,
        plan.left.len()
    );
    let unchecked = checks.iter().filter_map(|check| match check {
        Check::Unchecked(why) => Some(*why),
        _ => None,
    });
    let mut reasons: Vec<(&str, usize)> = Vec::new();
    for why in unchecked {
        match reasons.iter_mut().find(|(known, _)| *known == why) {
            Some((_, count)) => *count += 1,
            None => reasons.push((why, 1)),
        }
    }
    for (why, count) in reasons {
        println!("{count} could not be put before the server yet: {why}");
    }
    refused
}

/// Objects that are left, by reason.
fn left(plan: &Plan, full: bool) {
    let mut reasons: Vec<(&str, Vec<String>)> = Vec::new();
    for (id, why) in &plan.left {
        match reasons.iter_mut().find(|(known, _)| known == why) {
            Some((_, ids)) => ids.push(id.to_string()),
            None => reasons.push((why, vec![id.to_string()])),
        }
    }
    for (why, ids) in reasons {
        let more = ids.len().saturating_sub(NAMED_MAX);
        if full || more == 0 {
            println!("= left: {}: {why}", ids.join(", "));
        } else {
            println!("= left: {} and {more} more: {why}", ids[..NAMED_MAX].join(", "));
        }
    }
}
