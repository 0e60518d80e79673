//! What a checker says: how much it looked at, and what of it is wrong. One that had nothing to look at
//! has said nothing.

/// Of one checker.
#[derive(Debug, Default)]
pub(super) struct Judged {
    /// Cases that could have been wrong: answers, events, versions, whatever the checker compares.
    pub(super) looked_at: u64,
    pub(super) wrong: Vec<String>,
    /// What it could not decide; empty where it could.
    pub(super) undecided: String,
}

impl Judged {
    /// One case, and what is wrong with it.
    pub(super) fn case(&mut self, wrong: Option<String>) {
        self.looked_at += 1;
        self.wrong.extend(wrong);
    }

    /// One case, which was looked at; what is wrong with it is said with [`say`](Self::say).
    pub(super) fn look(&mut self) {
        self.looked_at += 1;
    }

    pub(super) fn look_at(&mut self, cases: usize) {
        self.looked_at += cases as u64;
    }

    pub(super) fn say(&mut self, what: String) {
        self.wrong.push(what);
    }
}
