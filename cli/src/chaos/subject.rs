//! A master, as the one to which things are done: it watches for orders, and carries out those that
//! are meant for it.
//!
//! **An order is carried out by the process whose own write of "begun" was acknowledged, and by no
//! other**: that write is a compare-and-swap on the order itself. Whoever finds "begun" under its name
//! that it has not written, because the process before it ended, or because the outcome of the write
//! was unknown, does nothing but say that it is over. So no order is carried out twice, and one that is
//! between the two lines of a crash is not carried out at all.
//!
//! What was begun ends by a deadline that was fixed then (`trireme_raft::ChaosFault`), or when the
//! order is removed, whichever is first.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::StreamExt;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use trireme_api::{Object, value};
use trireme_client::resource::{CONFIG_MAPS, NAMESPACES};
use trireme_client::{Client, Error, ListParams, PatchKind, Transport, WatchEvent};
use trireme_raft::etcd::Backend;
use trireme_raft::{ChaosFault, Replica, Role};
use trireme_store::Revision;

use super::again;
use super::order::{
    Answer, Deed, ENVIRONMENT, LABEL, NAMESPACE, ORDER, Order, Situation, State, TEST, answer_key, led_key,
};
use crate::lifetime::End;

/// As whom a master reads orders and answers them; it has the cluster's keys anyway.
pub(crate) const USER: &str = "system:trireme:master";
pub(crate) const GROUP: &str = "system:masters";

const WATCH_TIMEOUT: Duration = Duration::from_secs(300);
/// After a watch or a list that failed.
const PAUSE: Duration = Duration::from_millis(500);
/// Between two looks whether this member leads, while somebody wants to know.
const LEADS_EVERY: Duration = Duration::from_millis(50);
/// How long a master tries to say that it has come to the end of something.
const TELL_FOR: Duration = Duration::from_secs(120);
const APPLIED_POLL: Duration = Duration::from_millis(50);
/// How long a revision of which others know may take to come here.
const APPLIED_WITHIN: Duration = Duration::from_secs(30);

/// What is being carried out here.
struct Active {
    uid: String,
    over: CancellationToken,
}

/// One master. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Subject(Arc<Inner>);

struct Inner {
    replica: Replica,
    client: Client,
    end: End,
    active: Mutex<Option<Active>>,
    /// Answered once: an order comes again with everybody's answer.
    answered: Mutex<BTreeMap<String, CancellationToken>>,
    tells: AtomicBool,
}

impl Subject {
    /// `transport` leads to the API server of this process, as one who may read and write orders.
    pub(crate) fn new(replica: Replica, transport: Arc<dyn Transport>, end: End) -> Subject {
        Subject(Arc::new(Inner {
            replica,
            client: Client::new(transport),
            end,
            active: Mutex::default(),
            answered: Mutex::default(),
            tells: AtomicBool::new(false),
        }))
    }

    /// Until the process ends.
    pub(crate) async fn run(self) {
        let stop = self.0.end.stop.clone();
        let _ = stop
            .run_until_cancelled(async {
                loop {
                    if let Err(error) = self.follow().await {
                        tracing::debug!(%error, "orders are not seen");
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            })
            .await;
    }

    async fn follow(&self) -> Result<(), Error> {
        let orders = ListParams::labels(&format!("{LABEL}={ORDER}"));
        let list = self.0.client.list(&CONFIG_MAPS, Some(NAMESPACE), &orders).await?;
        self.only(|uid| list.items.iter().any(|object| object.uid() == uid));
        for object in &list.items {
            self.see(object);
        }
        let from = ListParams { resource_version: list.resource_version, ..orders };
        let mut events = self.0.client.watch(&CONFIG_MAPS, Some(NAMESPACE), &from, WATCH_TIMEOUT).await?;
        while let Some(event) = events.next().await {
            match event? {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => self.see(&object),
                WatchEvent::Deleted(object) => self.only(|uid| uid != object.uid()),
                WatchEvent::Bookmark { .. } => {}
            }
        }
        Ok(())
    }

    /// Ends what belongs to orders that are gone.
    fn only(&self, there: impl Fn(&str) -> bool) {
        self.0.answered.lock().retain(|uid, end| {
            let keep = there(uid);
            if !keep {
                end.cancel();
            }
            keep
        });
        if let Some(active) = self.0.active.lock().as_ref()
            && !there(&active.uid)
        {
            active.over.cancel();
        }
    }

    /// Looks at an order as it is now. Does not wait.
    fn see(&self, object: &Arc<Object>) {
        let (this, object) = (self.clone(), object.clone());
        match Order::of(&object) {
            Ok(Order { deed: Deed::RollCall { hash }, .. }) => {
                let mut answered = self.0.answered.lock();
                if !answered.contains_key(object.uid()) {
                    let end = CancellationToken::new();
                    answered.insert(object.uid().to_owned(), end.clone());
                    tokio::spawn(end.run_until_cancelled_owned(async move {
                        this.answer(&object, hash).await;
                    }));
                }
            }
            Ok(order) if order.member == self.name() => {
                tokio::spawn(async move { this.obey(&object, &order).await });
            }
            Ok(_) => {}
            // Nobody knows who is meant: everybody says so.
            Err(why) => {
                if object["data"].get(&self.key()).is_none() {
                    tokio::spawn(async move {
                        let refused = this.standing(State::Refused, why);
                        this.tell(&object, &refused).await
                    });
                }
            }
        }
    }

    fn name(&self) -> String {
        self.0.replica.status().name
    }

    fn key(&self) -> String {
        answer_key(self.0.replica.member().0)
    }

    fn cluster(&self) -> String {
        format!("{:016x}", self.0.replica.cluster_id())
    }

    /// What this process cannot do.
    fn cannot() -> BTreeMap<String, String> {
        let mut cannot = BTreeMap::new();
        if let Some(why) = again::obstacle() {
            for deed in [Deed::Kill, Deed::Restart] {
                cannot.insert(deed.name().to_owned(), why.clone());
            }
        }
        cannot
    }

    fn standing(&self, state: State, why: impl Into<String>) -> Answer {
        let status = self.0.replica.status();
        let names = |votes: bool| {
            let members = status.members.iter().filter(|member| member.votes || !votes);
            members.map(|member| member.node.name.clone()).collect()
        };
        let leader = status.members.iter().find(|member| Some(member.id) == status.leader);
        Answer {
            state,
            why: why.into(),
            process: format!("{:016x}", self.0.replica.incarnation()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cluster: self.cluster(),
            term: status.term,
            leads: status.role == Role::Leader && self.0.replica.led_for().is_some(),
            leader: leader.map(|member| member.node.name.clone()).unwrap_or_default(),
            members: names(false),
            voters: names(true),
            cannot: Self::cannot(),
            hash: None,
            name: status.name,
            problems: status.problems,
        }
    }

    /// Answers a roll call, and says that it leads whenever it does, until that is gone.
    async fn answer(&self, object: &Object, hash: bool) {
        let mut answer = self.standing(State::Here, "");
        if hash {
            match self.hash(object.resource_version()).await {
                Ok(found) => answer.hash = Some(found),
                Err(why) => answer.problems.push(why),
            }
        }
        self.tell(object, &answer).await;
        let mut told = 0;
        loop {
            let (role, term) = self.0.replica.role();
            if role == Role::Leader && term != told && self.0.replica.led_for().is_some() {
                let key = led_key(term, self.0.replica.member().0);
                if self.patch(object, key, answer.name.clone()).await.is_ok() {
                    told = term;
                }
            }
            tokio::time::sleep(LEADS_EVERY).await;
        }
    }

    /// Of the whole state at a revision.
    async fn hash(&self, revision: &str) -> Result<u32, String> {
        let revision: i64 = revision.parse().map_err(|_| "the roll call has no revision".to_owned())?;
        let applied = async {
            while self.0.replica.store().applied().revision.0 < revision {
                tokio::time::sleep(APPLIED_POLL).await;
            }
        };
        let there = tokio::time::timeout(APPLIED_WITHIN, applied).await;
        there
            .map_err(|_| format!("revision {revision} did not come within {} s", APPLIED_WITHIN.as_secs()))?;
        let hash = self.0.replica.hash_kv(Revision(revision)).await;
        hash.map(|found| found.hash).map_err(|error| format!("no hash of revision {revision}: {error}"))
    }

    /// An order that names this member.
    async fn obey(&self, object: &Object, order: &Order) {
        let uid = object.uid();
        let said = object["data"][self.key().as_str()].as_str().map(serde_json::from_str::<Answer>);
        match said {
            None => {}
            Some(Ok(Answer { state: State::Begun, .. })) => {
                let mine = self.0.active.lock().as_ref().is_some_and(|active| active.uid == uid);
                if !mine && !self.0.tells.swap(true, Ordering::AcqRel) {
                    let ended = self.standing(State::Ended, "the process that began with it has ended");
                    self.tell(object, &ended).await;
                    self.0.tells.store(false, Ordering::Release);
                }
                return;
            }
            Some(_) => return,
        }
        let over = CancellationToken::new();
        let for_tests = match self.is_for_tests().await {
            Ok(for_tests) => for_tests,
            Err(error) => {
                tracing::warn!(%error, "whether this cluster is for tests is not known: nothing is done to it");
                false
            }
        };
        let checked = {
            let mut active = self.0.active.lock();
            let situation = Situation {
                cluster: &self.cluster(),
                age_s: age_s(object),
                for_tests,
                cannot: &Self::cannot(),
                busy: active.is_some(),
            };
            if active.as_ref().is_some_and(|active| active.uid == uid) {
                // Another look at the same order is at work.
                return;
            }
            let checked = order.check(&situation);
            if checked.is_ok() {
                *active = Some(Active { uid: uid.to_owned(), over: over.clone() });
            }
            checked
        };
        if let Err(why) = checked {
            tracing::warn!(why, "an order was refused");
            let _ = self.answer_first(object, &self.standing(State::Refused, why)).await;
            return;
        }
        // Only who knows that this was written goes on.
        match self.answer_first(object, &self.standing(State::Begun, "")).await {
            Ok(()) => {
                tracing::warn!(deed = order.deed.name(), lasts = ?order.lasts(), "an order is carried out");
                let told = match self.carry_out(order, &over).await {
                    Ok(how) => self.standing(State::Ended, how),
                    Err(why) => self.standing(State::Refused, why),
                };
                self.tell(object, &told).await;
            }
            // The next look at it, which somebody's answer or the claim itself brings, decides anew.
            Err(error) => tracing::info!(%error, "an order was not taken"),
        }
        *self.0.active.lock() = None;
    }

    async fn is_for_tests(&self) -> Result<bool, Error> {
        let namespace = self.0.client.get(&NAMESPACES, "", NAMESPACE).await?;
        Ok(namespace.label(ENVIRONMENT) == Some(TEST))
    }

    /// Writes an answer, if nobody has written anything since the order was read.
    async fn answer_first(&self, object: &Object, answer: &Answer) -> Result<(), Error> {
        let mut answered = object.clone();
        answered.make(&["data"]).insert(self.key(), json(answer));
        self.0.client.update(&CONFIG_MAPS, &answered).await.map(|_| ())
    }

    /// Returns when it is over, with how that came, or why it could not be done.
    async fn carry_out(&self, order: &Order, over: &CancellationToken) -> Result<String, String> {
        let lasts = order.lasts();
        let fault = match order.deed {
            Deed::CutOff => ChaosFault::CutOff,
            Deed::NoRoom => ChaosFault::NoRoom,
            Deed::ClockOff { by_ms } => ChaosFault::ClockOff { ms: by_ms },
            Deed::Kill => {
                let error = again::start_over(lasts);
                return Err(format!("it could not be done: {error:#}"));
            }
            Deed::Restart => {
                self.0.end.again.store(true, Ordering::Release);
                self.0.end.stop.cancel();
                // The process that comes says the rest.
                return std::future::pending().await;
            }
            Deed::RollCall { .. } => return Ok("nothing was to be done".to_owned()),
        };
        self.0.replica.inflict(fault, lasts);
        let early = over.run_until_cancelled(tokio::time::sleep(lasts)).await.is_none();
        self.0.replica.relieve();
        Ok((if early { "it was taken back" } else { "its time was over" }).to_owned())
    }

    /// Writes an answer, again and again until it is written, the order is gone, or it is too late.
    async fn tell(&self, object: &Object, answer: &Answer) {
        let telling = async {
            while let Err(error) = self.patch(object, self.key(), json(answer)).await {
                if error.is_not_found() || error.is_conflict() {
                    return;
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        let _ = tokio::time::timeout(TELL_FOR, telling).await;
    }

    /// Sets one entry of that very object.
    async fn patch(&self, object: &Object, key: String, text: String) -> Result<(), Error> {
        let mut patch = value!({"metadata": {"uid": object.uid().to_owned()}, "data": {}});
        patch.make(&["data"]).insert(key, text);
        let patched =
            self.0.client.patch(&CONFIG_MAPS, NAMESPACE, object.name(), "", PatchKind::Merge, &patch).await;
        patched.map(|_| ())
    }
}

fn json(answer: &Answer) -> String {
    serde_json::to_string(answer).expect("an answer is always written as JSON")
}

/// Of an order by its API server's stamp and the machine's own clock.
fn age_s(object: &Object) -> Option<i64> {
    let made: jiff::Timestamp = object.metadata()["creationTimestamp"].as_str()?.parse().ok()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
    Some(now - made.as_second())
}
