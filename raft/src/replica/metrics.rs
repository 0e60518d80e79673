//! A scrape: what was counted, and what is looked up at that moment.

use openraft::Raft;
use openraft::async_runtime::watch::WatchReceiver;

use super::Inner;
use super::status::{ReplicaStatus, Role, role};
use crate::etcd::ETCD_VERSION;
use crate::machine::Machine;
use crate::metrics::{Metrics, Text};
use crate::types::{MemberId, TypeConfig};

/// What this member is now, in a word.
pub(super) fn role_of(raft: &Raft<TypeConfig, Machine>) -> &'static str {
    let metrics = raft.metrics();
    let state = metrics.borrow_watched().state;
    role(state).as_str()
}

/// As etcd writes ids in labels.
fn id(member: MemberId) -> String {
    format!("{:x}", member.0)
}

impl Inner {
    /// Everything this member tells, in Prometheus' text format.
    pub(super) fn render_metrics(&self) -> String {
        let mut text = Text::default();
        let status = self.status();
        self.server(&mut text, &status);
        self.disk(&mut text);
        self.mvcc(&mut text, &status);
        self.leases(&mut text);
        self.network(&mut text, &status);
        self.own(&mut text, &status);
        self.steps(&mut text);
        Metrics::render_process(&mut text);
        text.finish()
    }

    fn server(&self, text: &mut Text, status: &ReplicaStatus) {
        let m = &self.metrics;
        let has_leader = status.leader.is_some() && *self.has_leader.borrow();
        let flag = u8::from;
        text.gauge("etcd_server_has_leader", "Whether a leader is there.", flag(has_leader));
        let leads = status.role == Role::Leader;
        text.gauge("etcd_server_is_leader", "Whether this member leads.", flag(leads));
        let learns = status.role == Role::Learner;
        text.gauge("etcd_server_is_learner", "Whether this member is a learner.", flag(learns));
        text.counter(
            "etcd_server_leader_changes_seen_total",
            "Changes of leader or of its term seen.",
            m.leader_changes.get(),
        );
        let (waiting, waiting_bytes) = self.proposals.waiting();
        // Gauges, as in etcd, though they only grow.
        for (name, help, value) in [
            ("etcd_server_proposals_committed_total", "Entries agreed.", status.committed_index),
            ("etcd_server_proposals_applied_total", "Entries applied.", status.applied_index),
            ("etcd_server_proposals_pending", "Proposals of this member under way.", waiting as u64),
        ] {
            text.gauge(name, help, value);
        }
        for (name, help, counter) in [
            ("etcd_server_proposals_failed_total", "Proposals without an outcome.", &m.proposals_failed),
            ("etcd_server_read_indexes_failed_total", "Reads not confirmed in time.", &m.read_indexes_failed),
            (
                "etcd_server_slow_read_indexes_total",
                "Confirmations of reads that were slow.",
                &m.slow_read_indexes,
            ),
            ("etcd_server_slow_apply_total", "Runs of entries that were slow to apply.", &m.slow_applies),
            ("etcd_server_heartbeat_send_failures_total", "Heartbeats not answered.", &m.heartbeat_failures),
        ] {
            text.counter(name, help, counter.get());
        }
        text.gauge(
            "etcd_server_snapshot_apply_in_progress_total",
            "Whether a received snapshot is being put in the state's place.",
            m.snapshots_applying.get(),
        );
        // There is no quota but the disk: alerts that compare with it then say when that is full.
        if let Ok(free) = self.log.free_bytes() {
            text.gauge(
                "etcd_server_quota_backend_bytes",
                "What the state could grow to on its disk.",
                status.db_size_bytes + free,
            );
        }
        let cluster_version = ETCD_VERSION.rsplit_once('.').map_or(ETCD_VERSION, |(minor, _)| minor);
        let member = id(status.member);
        for (name, help, label, value) in [
            ("etcd_server_version", "The etcd release whose API is served.", "server_version", ETCD_VERSION),
            ("etcd_cluster_version", "The same, without the patch.", "cluster_version", cluster_version),
            ("etcd_server_id", "This member.", "server_id", &member),
        ] {
            text.family(name, "gauge", help);
            text.sample(name, &[(label, value)], 1);
        }
        for (name, help, value) in [
            ("trireme_store_proposals_waiting", "Proposals of this member under way.", waiting),
            (
                "trireme_store_proposals_waiting_max",
                "Past it more are refused.",
                self.config.limits.proposals_max,
            ),
            ("trireme_store_proposals_waiting_bytes", "Bytes of those proposals.", waiting_bytes),
            (
                "trireme_store_proposals_waiting_bytes_max",
                "Past it more are refused.",
                self.config.limits.proposal_bytes_max,
            ),
        ] {
            text.gauge(name, help, value);
        }
    }

    fn disk(&self, text: &mut Text) {
        let (m, meter) = (&self.metrics, self.log.meter());
        for (name, help, histogram) in [
            ("etcd_disk_wal_fsync_duration_seconds", "Syncs of the raft log.", &meter.sync),
            ("etcd_disk_wal_write_duration_seconds", "Writes to the raft log.", &meter.write),
            ("etcd_disk_backend_commit_duration_seconds", "Applied runs of entries.", &m.commit),
            ("etcd_disk_backend_snapshot_duration_seconds", "Snapshots sent to members.", &m.snapshot_sent),
            ("etcd_snap_db_save_total_duration_seconds", "Snapshots received.", &m.snapshot_received),
        ] {
            text.histogram(name, help, histogram);
        }
        text.gauge(
            "etcd_disk_wal_write_bytes_total",
            "Bytes written to the raft log since the start.",
            self.log.written_bytes(),
        );
        text.gauge("etcd_disk_defrag_inflight", "Always 0: space is given back while serving.", 0);
    }

    fn mvcc(&self, text: &mut Text, status: &ReplicaStatus) {
        let ops = &self.metrics.operations;
        for (name, help, value) in [
            ("etcd_mvcc_db_total_size_in_bytes", "The state on the disk.", status.db_size_bytes),
            (
                "etcd_mvcc_db_total_size_in_use_in_bytes",
                "What would remain of it if all that can go were gone.",
                status.db_size_in_use_bytes,
            ),
        ] {
            text.gauge(name, help, value);
        }
        for (name, help, counter) in [
            ("etcd_mvcc_range_total", "Ranges read here.", &ops.ranges),
            ("etcd_mvcc_put_total", "Puts applied.", &ops.puts),
            ("etcd_mvcc_delete_total", "Deletions applied.", &ops.deletes),
            ("etcd_mvcc_txn_total", "Transactions applied.", &ops.txns),
        ] {
            text.counter(name, help, counter.get());
        }
        let watches = self.store.watch_counts();
        for (name, help, value) in [
            ("etcd_debugging_mvcc_current_revision", "The newest revision.", status.revision.0),
            ("etcd_debugging_mvcc_compact_revision", "History below is gone.", status.compact_revision.0),
            (
                "etcd_debugging_mvcc_keys_total",
                "Keys, as the last check of the disk counted them.",
                self.metrics.checks.keys.get(),
            ),
            ("etcd_debugging_mvcc_watcher_total", "Watches that are up to date.", watches.live as i64),
            (
                "etcd_debugging_mvcc_pending_events_total",
                "Events that wait for the readers of watches.",
                watches.queued_events as i64,
            ),
            ("trireme_store_watch_queued_bytes", "Bytes of those events.", watches.queued_bytes as i64),
            ("trireme_store_watch_ring_events", "Recent events in memory.", watches.ring_events as i64),
            ("trireme_store_watch_ring_bytes", "Bytes of those events.", watches.ring_bytes as i64),
            (
                "trireme_store_watch_held_bytes",
                "Bytes of both, those that several wait for counted once.",
                watches.held_bytes as i64,
            ),
        ] {
            text.gauge(name, help, value);
        }
        text.counter("etcd_debugging_mvcc_events_total", "Events given to watches.", watches.events_sent);
        text.counter(
            "trireme_store_watch_slow_cancelled_total",
            "Watches that were ended since their readers were too slow.",
            watches.slow_cancelled,
        );
    }

    fn leases(&self, text: &mut Text) {
        let ops = &self.metrics.operations;
        for (name, help, counter) in [
            ("etcd_debugging_lease_granted_total", "Leases granted.", &ops.leases_granted),
            ("etcd_debugging_lease_revoked_total", "Leases revoked.", &ops.leases_revoked),
            ("etcd_debugging_lease_renewed_total", "Renewals, where this member leads.", &ops.leases_renewed),
            ("etcd_debugging_server_lease_expired_total", "Leases that ran out.", &ops.leases_expired),
        ] {
            text.counter(name, help, counter.get());
        }
    }

    fn network(&self, text: &mut Text, status: &ReplicaStatus) {
        let local = id(self.member);
        let others: Vec<_> = status.members.iter().filter(|member| member.id != self.member).collect();
        let accepted = self.peers.accepted();
        // Who made a connection is not known: one certificate may be several members'.
        for (name, label, help, from_others) in [
            ("etcd_network_peer_sent_bytes_total", "To", "Bytes sent to members.", accepted.sent.get()),
            (
                "etcd_network_peer_received_bytes_total",
                "From",
                "Bytes received from members.",
                accepted.received.get(),
            ),
        ] {
            text.family(name, "counter", help);
            for member in &others {
                let traffic = self.peers.traffic(&member.node.peer_address);
                let bytes = if label == "To" { &traffic.sent } else { &traffic.received };
                text.sample(name, &[(label, &id(member.id))], bytes.get());
            }
            text.sample(name, &[(label, "accepted")], from_others);
        }
        let trips = self.metrics.all_round_trips();
        let known = |member: &MemberId| others.iter().any(|other| other.id == *member);
        let name = "etcd_network_peer_round_trip_time_seconds";
        text.family(name, "histogram", "Heartbeats of this member, where it leads.");
        for (member, trips) in trips.iter().filter(|(member, _)| known(member)) {
            text.buckets(name, &[("To", &id(*member))], &trips.took);
        }
        let name = "etcd_network_peer_sent_failures_total";
        text.family(name, "counter", "Heartbeats not answered.");
        for (member, trips) in trips.iter().filter(|(member, _)| known(member)) {
            text.sample(name, &[("To", &id(*member))], trips.failed.get());
        }
        let name = "etcd_network_known_peers";
        text.family(name, "gauge", "The other members.");
        for member in &others {
            text.sample(name, &[("Local", &local), ("Remote", &id(member.id))], 1);
        }
    }

    /// What etcd has nothing like.
    fn own(&self, text: &mut Text, status: &ReplicaStatus) {
        let lag = status.committed_index.saturating_sub(status.applied_index);
        for (name, help, value) in [
            ("trireme_store_apply_lag_entries", "Entries agreed and not applied yet.", lag),
            ("trireme_store_term", "The term.", status.term),
            ("trireme_store_log_bytes", "The raft log's files.", status.log_bytes),
            ("trireme_store_log_last_index", "The log's last entry.", status.last_log_index),
            ("trireme_store_log_purged_index", "The log begins after it.", status.purged_index),
            ("trireme_store_flushed_index", "What the state's disk has.", status.flushed_index),
            ("trireme_store_feature_level", "What all members understand.", u64::from(status.feature_level)),
            ("trireme_store_caught_up", "Whether it serves what it missed.", u64::from(status.caught_up)),
            ("trireme_store_has_room", "Whether its disk takes writes.", u64::from(self.has_room())),
            ("trireme_store_problems", "What `trireme status` says is wrong.", status.problems.len() as u64),
        ] {
            text.gauge(name, help, value);
        }
        text.counter("trireme_store_log_syncs_total", "Frames written and synced.", status.log_syncs);
        let name = "trireme_store_marks_total";
        text.family(name, "counter", "Comparisons of the state with the leader's.");
        for (result, counter) in
            [("agreed", &self.metrics.marks_agreed), ("differed", &self.metrics.marks_differed)]
        {
            text.sample(name, &[("result", result)], counter.get());
        }
        let checks = &self.metrics.checks;
        let name = "trireme_store_disk_checks_total";
        text.family(name, "counter", "Readings of state and log from the disk.");
        for (result, counter) in
            [("sound", &checks.sound), ("damaged", &checks.damaged), ("failed", &checks.failed)]
        {
            text.sample(name, &[("result", result)], counter.get());
        }
        let seconds = |ms: i64| ms as f64 / 1000.0;
        for (name, help, value) in [
            ("trireme_store_disk_check_running", "Whether one is under way.", checks.running.get() as f64),
            (
                "trireme_store_disk_check_last_end_timestamp_seconds",
                "When the last sound one ended; 0 before.",
                seconds(checks.ended_unix_ms.get()),
            ),
            (
                "trireme_store_disk_check_last_duration_seconds",
                "How long it took.",
                seconds(checks.took_ms.get()),
            ),
        ] {
            text.gauge(name, help, value);
        }
        let name = "trireme_store_disk_check_last_bytes";
        text.family(name, "gauge", "What it read.");
        for (part, gauge) in [("state", &checks.state_bytes), ("log", &checks.log_bytes)] {
            text.sample(name, &[("part", part)], gauge.get());
        }
        let name = "trireme_build_info";
        text.family(name, "gauge", "The version that runs.");
        text.sample(name, &[("version", env!("CARGO_PKG_VERSION"))], 1);
    }

    fn steps(&self, text: &mut Text) {
        let m = &self.metrics;
        text.histogram("trireme_store_write_duration_seconds", "Writes asked for here.", &m.writes);
        text.histogram("trireme_store_read_duration_seconds", "Reads asked for here.", &m.reads);
        let name = "trireme_store_step_duration_seconds";
        text.family(name, "histogram", "Steps of writes and reads.");
        for (step, histogram) in [
            ("queued", &m.steps.queued),
            ("forwarded", &m.steps.forwarded),
            ("log_sync", &self.log.meter().sync),
            ("quorum", &m.steps.quorum),
            ("apply_wait", &m.steps.apply_wait),
            ("apply", &m.commit),
            ("barrier", &m.steps.barrier),
            ("read", &m.steps.read),
            ("encode", &m.steps.encode),
        ] {
            text.buckets(name, &[("step", step)], histogram);
        }
        let name = "trireme_store_slow_requests_total";
        text.family(name, "counter", "Requests that took longer than the threshold.");
        for (kind, counter) in [("write", &m.slow.writes), ("read", &m.slow.reads)] {
            text.sample(name, &[("kind", kind)], counter.get());
        }
    }
}
