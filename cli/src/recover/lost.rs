//! What is lost of a damaged master, for people: counts, and lists of which a part is shown.

use std::path::Path;

use trireme_raft::{Damaged, DamagedLog, Written};
use trireme_store::{Gap, How, Lost, LostKey};

use crate::progress::count;
use crate::restore::show;

/// Lines of each list that are shown; the file has all of them.
const LINES_SHOWN_MAX: usize = 20;

/// What is told of a damaged member.
pub(super) struct Report {
    /// A line for each kind of thing.
    head: String,
    lists: Vec<(&'static str, Vec<String>)>,
}

impl Report {
    pub(super) fn of(damaged: &Damaged) -> Report {
        let mut head = String::new();
        let mut line = |what: &str, value: String| head += &format!("{what:<14} {value}\n");
        line("cluster", damaged.cluster.clone());
        line("member", damaged.member.to_string());
        if let Some(noted) = &damaged.noted {
            line("noted", noted.clone());
        }
        let mut lists = Vec::new();
        match &damaged.state {
            Err(why) => line("state", format!("nothing of it can be read: {why}")),
            Ok(lost) => {
                state_lines(lost, &mut line);
                state_lists(lost, &damaged.log, &mut lists);
            }
        }
        log_lines(&damaged.log, &mut line);
        let writes = damaged.log.behind_writes.iter();
        lists.push((
            "keys of writes in the log behind its damage; what they are now is not sure",
            writes.map(|(written, index)| format!("{}   entry {index}", range(written))).collect(),
        ));
        Report { head, lists }
    }

    /// For the screen; `file` has the rest.
    pub(super) fn shown(&self, file: &Path) -> String {
        let mut text = self.head.clone();
        for (what, lines) in self.lists.iter().filter(|(_, lines)| !lines.is_empty()) {
            text += &format!("\n{what} ({}):\n", lines.len());
            for line in lines.iter().take(LINES_SHOWN_MAX) {
                text += &format!("  {line}\n");
            }
            if let Some(more) = lines.len().checked_sub(LINES_SHOWN_MAX).filter(|more| *more > 0) {
                text += &format!("  … and {more} more, in {}\n", file.display());
            }
        }
        text
    }

    pub(super) fn all(&self) -> String {
        let mut text = self.head.clone();
        for (what, lines) in &self.lists {
            text += &format!("\n{what} ({}):\n", lines.len());
            lines.iter().for_each(|line| text += &format!("{line}\n"));
        }
        text
    }
}

/// In one line, for a survivor beside others.
pub(super) fn short(damaged: &Damaged) -> String {
    let state = match &damaged.state {
        Err(why) => format!("nothing of its state can be read ({why})"),
        Ok(lost) if lost.is_nothing() => "its state is whole".into(),
        Ok(lost) if lost.is_current_whole() => "of its state only history is lost".into(),
        Ok(lost) => keys(lost, count(lost.whole_keys, "key")),
    };
    format!("{state}; its log: {}", gone(&damaged.log))
}

/// Whether something is not what was written that nothing points to.
fn differs(lost: &Lost) -> bool {
    lost.hash_is_right == Some(false) && lost.gaps.is_empty() && lost.keys.is_empty()
}

/// `whole`: how many were read.
fn keys(lost: &Lost, whole: String) -> String {
    if differs(lost) {
        return format!("{whole} can be read, and which of them are not as they were written is not known");
    }
    let hidden = lost.gaps.iter().filter(|gap| lost.hides_keys() && gap.keys().is_some()).count() as u64;
    let more = match hidden {
        0 => "no others".to_owned(),
        _ => format!("more within the bounds of {}, which nothing names", count(hidden, "gap")),
    };
    format!("{whole} whole, {} lost by name, {more}", lost.keys.len())
}

fn state_lines(lost: &Lost, line: &mut dyn FnMut(&str, String)) {
    line(
        "state",
        match &lost.applied {
            Some(applied) => format!(
                "up to entry {}, revision {}, of {}",
                applied.position.map_or(0, |at| at.index),
                applied.revision,
                show(applied.time_ms)
            ),
            None => "how far it is cannot be read".into(),
        },
    );
    if lost.is_nothing() {
        line("", "checked, whole".into());
        return;
    }
    line(
        "",
        match lost.hash_is_right {
            Some(true) => {
                "its hash is that of what was read: no key, lease or fence is lost, history alone".into()
            }
            Some(false) if differs(lost) => {
                "all of it can be read, and its hash is not that of its content: what differs is not known"
                    .into()
            }
            Some(false) => "its hash is not that of what was read".into(),
            None => "too little is left to compare its hash".into(),
        },
    );
    line("keys", keys(lost, lost.whole_keys.to_string()));
    line("history", format!("{} lost of those that are named", count(lost.older, "older version")));
    let mut some = |what: &str, n: usize, text: &str| {
        if n > 0 {
            line(what, format!("{n} {text}"));
        }
    };
    some("leases", lost.leases.len(), "whose time to live is lost or may be an older one");
    some("attachments", lost.attachments as usize, "keys that would not end with their lease");
    some("fences", lost.fences.len(), "whose epoch may be an older one");
    if lost.members_lost {
        line("members", "who belongs to the cluster is lost".into());
    }
    if lost.outcomes_lost {
        line(
            "proposals",
            "what became of some is not remembered: one that is sent again may be done twice".into(),
        );
    }
}

fn state_lists(lost: &Lost, log: &DamagedLog, lists: &mut Vec<(&'static str, Vec<String>)>) {
    lists.push((
        "keys whose newest value is lost or not sure",
        lost.keys.iter().map(|lost| lost_key(lost, log)).collect(),
    ));
    lists.push(("stretches that cannot be read", lost.gaps.iter().map(stretch).collect()));
    lists.push(("leases", lost.leases.iter().map(|id| format!("{:x}", id.0)).collect()));
    lists.push(("fences", lost.fences.iter().map(|scope| scope.escape_debug().to_string()).collect()));
}

fn lost_key(lost: &LostKey, log: &DamagedLog) -> String {
    let mut text = lost.key.escape_ascii().to_string();
    if let Some(revision) = lost.revision {
        text += &format!("   changed at revision {revision}");
    }
    text += match lost.how {
        How::Unreadable => "   cannot be read",
        How::Missing => "   is missing",
        How::Unsure => "   a newer value may be in what cannot be read",
    };
    let is_key = |written: &&Written| written.end.is_empty() && written.key == lost.key;
    if let Some(index) = log.writes.keys().find(is_key).and_then(|written| log.writes.get(written)) {
        text += &format!("   the log has a later write of it, entry {index}");
    }
    text
}

fn stretch(gap: &Gap) -> String {
    let bound = |place: &Option<trireme_store::Place>, else_: &str| {
        place.as_ref().map_or_else(|| else_.to_owned(), ToString::to_string)
    };
    format!(
        "after {}, before {}: may have held {} ({})",
        bound(&gap.after, "the beginning"),
        bound(&gap.before, "the end"),
        gap.holds().join(", "),
        gap.why
    )
}

fn log_lines(log: &DamagedLog, line: &mut dyn FnMut(&str, String)) {
    line("log", gone(log));
    for damage in &log.damage {
        line("", damage.clone());
    }
    let last = log.last.map_or_else(|| "none".to_owned(), |index| index.to_string());
    line(
        "what is left",
        match &log.applied {
            Some(applied) => {
                format!("up to entry {last}: revision {}, of {}", applied.revision, show(applied.time_ms))
            }
            None => format!("up to entry {last}"),
        },
    );
    if let Some(committed) = log.committed {
        line("committed", format!("{committed} as it last heard"));
    }
}

fn gone(log: &DamagedLog) -> String {
    if log.is_missing {
        return "it is gone: entries after the state, if there were any, are lost".into();
    }
    if log.is_whole() {
        return match log.damage.is_empty() {
            true => "whole".into(),
            false => "damaged where the state on the disk has its entries: that costs nothing".into(),
        };
    }
    let entries = log.gone.iter().map(|gone| match gone.start() == gone.end() {
        true => gone.start().to_string(),
        false => format!("{} to {}", gone.start(), gone.end()),
    });
    let entries: Vec<String> = entries.collect();
    let entries = match entries.is_empty() {
        true => "no entry is gone".to_owned(),
        false => format!("entries {} are gone", entries.join(", ")),
    };
    let behind = match log.behind {
        0 => String::new(),
        behind => {
            format!("; the {behind} behind that can be read do not count: they may rest on what is gone")
        }
    };
    let void = match log.may_be_void {
        true => "; what is damaged may have voided entries before it and had others in their place",
        false => "",
    };
    entries + &behind + void
}

fn range(written: &Written) -> String {
    let key = written.key.escape_ascii();
    match &written.end[..] {
        [] => key.to_string(),
        [0] => format!("every key from {key} on"),
        end => format!("every key from {key} up to {}", end.escape_ascii()),
    }
}

#[cfg(test)]
mod tests {
    use trireme_raft::MemberId;
    use trireme_store::Revision;

    use super::*;

    #[test]
    fn one_line_tells_no_less_than_is_lost() {
        let check = |state: Result<Lost, &str>, log: DamagedLog, expected: &str| {
            let (cluster, state) = ("blue".to_owned(), state.map_err(str::to_owned));
            let damaged = Damaged { cluster, member: MemberId(1), state, log, noted: None, rest: None };
            assert_eq!(short(&damaged), expected);
        };
        let whole = || Lost { whole_keys: 7, hash_is_right: Some(true), ..Lost::default() };
        let differs = || Lost { hash_is_right: Some(false), ..whole() };
        let log = DamagedLog::default;
        check(Ok(whole()), log(), "its state is whole; its log: whole");
        let history = Lost { older: 2, ..whole() };
        check(Ok(history), log(), "of its state only history is lost; its log: whole");
        let lost = LostKey { key: "a".into(), revision: Some(Revision(9)), how: How::Unreadable };
        let keys = Lost { keys: vec![lost], ..differs() };
        check(Ok(keys), log(), "7 keys whole, 1 lost by name, no others; its log: whole");
        check(
            Ok(differs()),
            log(),
            "7 keys can be read, and which of them are not as they were written is not known; its log: whole",
        );
        check(
            Err("no list of tables"),
            DamagedLog { is_missing: true, ..log() },
            "nothing of its state can be read (no list of tables); its log: it is gone: entries after the \
             state, if there were any, are lost",
        );
        let gone = DamagedLog { gone: vec![7..=7, 9..=12], behind: 3, ..log() };
        check(
            Ok(whole()),
            gone,
            "its state is whole; its log: entries 7, 9 to 12 are gone; the 3 behind that can be read do not \
             count: they may rest on what is gone",
        );
        check(
            Ok(whole()),
            DamagedLog { may_be_void: true, ..log() },
            "its state is whole; its log: no entry is gone; what is damaged may have voided entries before it \
             and had others in their place",
        );
        let below = DamagedLog { damage: vec!["a frame".into()], ..log() };
        check(
            Ok(whole()),
            below,
            "its state is whole; its log: damaged where the state on the disk has its entries: that costs \
             nothing",
        );
    }
}
