//! Bugs that are put in on purpose, one at a time: a checker is believed once it has found one.
//!
//! Built with the feature `planted-bugs` alone, which no program that is shipped has; without it
//! [`is`] is `false` before the compiler has read on, and nothing of a bug remains.

macro_rules! bugs {
    (
        store { $($bug:ident $name:literal $what:literal)* }
        api { $($of_api:ident $api_name:literal $api_what:literal)* }
    ) => {
        /// A bug, by where it is and what goes wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Bug { $($bug,)* $($of_api),* }

        impl Bug {
            pub const ALL: &[Bug] = &[$(Bug::$bug,)* $(Bug::$of_api),*];

            /// Whether only a whole control plane shows it.
            pub fn is_of_api(self) -> bool {
                matches!(self, $(Bug::$of_api)|*)
            }

            pub fn name(self) -> &'static str {
                match self { $(Bug::$bug => $name,)* $(Bug::$of_api => $api_name),* }
            }

            /// What is wrong with it in.
            pub fn what(self) -> &'static str {
                match self { $(Bug::$bug => $what,)* $(Bug::$of_api => $api_what),* }
            }
        }
    };
}

bugs! {
    store {
        AckBeforeSync "ack-before-sync" "the log calls entries durable before they are synced"
        FailedSyncPassed "failed-sync-passed" "a sync of the log that fails is let pass"
        VoteNotSynced "vote-not-synced" "a vote is given before it is on the disk"
        VoteNotWritten "vote-not-written" "a vote is given and not written at all"
        LastFrameLost "last-frame-lost" "the last frame of the log is taken for torn when a member starts"
        AstrayTaken "astray-taken" "a frame that is missing, with others behind it, is taken for a torn end"
        ElectedBySilence "elected-by-silence" "a candidate counts who does not answer as a vote for it"
        VoteForAll "vote-for-all" "a member votes for whoever asks, whatever its log holds"
        AppendNotTaken "append-not-taken" "a follower answers for entries that it did not take"
        StaleRead "stale-read" "a linearizable read is answered without asking the others"
        StaleLeaderRead "stale-leader-read" "whoever believes to lead confirms reads without asking the others"
        BarrierNotWaited "barrier-not-waited" "a read does not wait until what was confirmed is applied"
        SnapshotLosesKey "snapshot-loses-key" "an installed snapshot lacks a key"
        SnapshotKeepsOld "snapshot-keeps-old" "watches go on after a snapshot as if they had its changes"
        AppliedApart "applied-apart" "how far the state is, is not written with what was applied"
        Diverges "diverges" "one change in fifty comes out otherwise on a member whose id is odd"
        DoneTwice "done-twice" "a proposal that is sent again is done again"
        RefusalsForgotten "refusals-forgotten" "a write that was refused is done when it comes again"
        RefusedAndDone "refused-and-done" "a write that was done is answered with a refusal"
        JointStays "joint-stays" "a change of members whose leader died stays half done"
        OldWipedVoter "old-wiped-voter" "a member without its log goes on under its old identity"
        OldCopyGoesOn "old-copy-goes-on" "a member goes on with an old copy of its disk"
        WatchSkips "watch-skips" "one revision in seven is not told to watches"
        WatchReorders "watch-reorders" "two changes that wait for a watch's reader are given in the wrong order"
        WatchDoubles "watch-doubles" "a watch that resumes gets the revision before again"
        WatchTears "watch-tears" "changes of one revision come in two pieces"
        WatchLosesResumed "watch-loses-resumed" "a watch that resumes misses the first revision"
        ProgressTooFar "progress-too-far" "a bookmark is ahead of what was told"
        WatchFutureEarly "watch-future-early" "a watch of a revision to come gives what comes before it"
        PrevKvWrong "prev-kv-wrong" "an event shows the new value as the old one"
        RevisionLowered "revision-lowered" "a member that starts after a compaction counts its revisions from one less"
        CompactedMissed "compacted-missed" "a watch from the compacted revision itself misses what came with it"
        TxnReadsCompacted "txn-reads-compacted" "a range in a transaction is answered at a revision that is compacted"
        CompactionTakesLive "compaction-takes-live" "physical compaction removes versions that can still be read"
        ComparesIgnored "compares-ignored" "a transaction takes its success branch whatever it compares"
        HalfTxn "half-txn" "the last operation of a transaction of several is not done"
        VersionNotReset "version-not-reset" "a key that was deleted goes on counting its versions"
        RangeMissesLast "range-misses-last" "a range of several keys misses the last"
        CountWrong "count-wrong" "a limited range counts what it returns"
        OldRevisionReadsNew "old-revision-reads-new" "a read at a revision is answered with the newest"
        TxnReadsNew "txn-reads-new" "a read at a revision within a transaction is answered with the newest"
        LeaseEarly "lease-early" "leases end after a third of their time"
        LeaseKeysStay "lease-keys-stay" "the keys of a lease that ends stay"
        LeaseForgottenByNext "lease-forgotten-by-next" "a new leader grants leases a third of their time"
        FenceForgotten "fence-forgotten" "a write of a deposed leader is taken"
        RevisionBack "revision-back" "an answer names the revision before its own"
    }
    api {
        CachedList "cached-list" "a consistent list is answered from the cache as it is"
        PageMoves "page-moves" "later pages of a list are of the newest state"
        UpdateBlind "update-blind" "an update of a ConfigMap is done whatever was written meanwhile"
        CreatedOver "created-over" "a ConfigMap is created where there is one of the name"
        AddressTwice "address-twice" "a Service gets an address that another has"
        PortTwice "port-twice" "a Service gets a node port that another has"
        CacheSkips "cache-skips" "one event in ten does not reach watches of the API"
        ApiWatchSkips "api-watch-skips" "one event in ten is not told to a watch that selects by labels"
        ApiWatchSilent "api-watch-silent" "a watch that selects by labels tells nothing more, and does not end"
        UidAgain "uid-again" "an object gets the UID of the one of its name before it"
        BudgetForgotten "budget-forgotten" "a pod that was evicted goes on counting as healthy"
        FenceNotPassed "fence-not-passed" "an API server does not pass on in whose term a write is"
        GarbageStays "garbage-stays" "what belonged to a deleted object is not collected"
        GarbageTakesOwned "garbage-takes-owned" "what belongs to a living object is collected now and then"
    }
}

#[cfg(feature = "planted-bugs")]
static PLANTED: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(u8::MAX);

/// Plants a bug in this process, in place of the one before.
#[cfg(feature = "planted-bugs")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.store(bug.map_or(u8::MAX, |bug| bug as u8), std::sync::atomic::Ordering::Relaxed);
}

/// Whether this bug is in.
#[cfg(feature = "planted-bugs")]
pub fn is(bug: Bug) -> bool {
    PLANTED.load(std::sync::atomic::Ordering::Relaxed) == bug as u8
}

/// Whether this bug is in: not in this build.
#[cfg(not(feature = "planted-bugs"))]
#[inline(always)]
pub const fn is(_: Bug) -> bool {
    false
}
