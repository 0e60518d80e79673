//! The command as a client while things are done to the masters: about twenty writes and reads a second
//! of ConfigMaps in a namespace of its own, and a watch of them; all of it recorded.
//!
//! Each object has one writer, which counts in it, and compares and swaps: once a write was acknowledged,
//! none that came before it can land any more, and what is read can only grow.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use trireme_api::{Object, value};
use trireme_chaos_report::{Sample, What};
use trireme_client::resource::CONFIG_MAPS;
use trireme_client::{Client, Error, Kubeconfig, ListParams, WatchEvent};

use super::board::{connect, within};

/// Objects, each with its writer, and connections of readers.
const WRITERS: usize = 4;
const READERS: usize = 2;
/// Between two calls of one writer, and of one reader.
const WRITE_EVERY: Duration = Duration::from_millis(400);
const READ_EVERY: Duration = Duration::from_millis(200);
/// After a call that failed: who runs a command again is not faster.
const AGAIN_AFTER: Duration = Duration::from_millis(100);
const WATCH_TIMEOUT: Duration = Duration::from_secs(3_600);
/// How long calls that are under way may take to end, and the watch to come to the end.
const LAST_CALLS: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

/// How a write came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// At this revision.
    Acknowledged(i64),
    /// It was not done, or may yet be.
    Not,
}

/// Writes and reads of one object. Times are since the run began.
#[derive(Clone, Debug)]
pub(super) struct Write {
    pub object: usize,
    pub count: u64,
    pub began: Duration,
    pub ended: Duration,
    pub outcome: Outcome,
}

#[derive(Clone, Debug)]
pub(super) struct Read {
    pub object: usize,
    pub count: u64,
    pub began: Duration,
    pub ended: Duration,
}

/// What the watch brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Event {
        object: usize,
        count: u64,
        revision: i64,
    },
    Deleted {
        object: usize,
        revision: i64,
    },
    /// What it had to begin from was gone (410), and everything was listed anew at this revision.
    Anew {
        revision: i64,
    },
}

/// Everything that the clients were told.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    pub writes: Vec<Write>,
    pub reads: Vec<Read>,
    pub seen: Vec<Seen>,
    /// Of each object, at the end; `None` where it is gone.
    pub last: Vec<Option<u64>>,
    pub samples: Vec<Sample>,
    /// What failed writes were told, the last ones.
    pub refusals: Vec<String>,
}

const REFUSALS_MAX: usize = 20;

struct Shared {
    began: Instant,
    config: Arc<Kubeconfig>,
    namespace: String,
    history: Mutex<History>,
    stop: CancellationToken,
}

pub(super) struct Load {
    shared: Arc<Shared>,
    clients: JoinSet<()>,
    watcher: tokio::task::JoinHandle<()>,
    stop_watch: CancellationToken,
}

fn name(object: usize) -> String {
    format!("counter-{object}")
}

fn number(object: &Object) -> Option<usize> {
    object.name().strip_prefix("counter-")?.parse().ok().filter(|n| *n < WRITERS)
}

fn count(object: &Object) -> u64 {
    object["data"]["count"].as_str().and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn revision(object: &Object) -> i64 {
    object.resource_version().parse().unwrap_or(0)
}

fn counter(namespace: &str, object: usize, count: u64) -> Object {
    Object(value!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name(object), "namespace": namespace},
        "data": {"count": count.to_string()},
    }))
}

impl Load {
    /// Makes the objects in `namespace`, and begins. Times count from `began`.
    pub(super) async fn start(config: Arc<Kubeconfig>, namespace: &str, began: Instant) -> Result<Load> {
        let shared = Arc::new(Shared {
            began,
            config,
            namespace: namespace.to_owned(),
            history: Mutex::default(),
            stop: CancellationToken::new(),
        });
        let client = connect(&shared.config)?;
        let mut versions = Vec::new();
        for object in 0..WRITERS {
            let made = within(client.create(&CONFIG_MAPS, namespace, &counter(namespace, object, 0))).await;
            versions.push(made.with_context(|| format!("make {namespace}/{}", name(object)))?);
        }
        let from = versions.last().map(revision).unwrap_or(0);
        let mut clients = JoinSet::new();
        for (object, made) in versions.into_iter().enumerate() {
            clients.spawn(shared.clone().write(object, made));
        }
        for reader in 0..READERS {
            clients.spawn(shared.clone().read(reader));
        }
        let stop_watch = CancellationToken::new();
        let watching = shared.clone().watch(from);
        let watcher = tokio::spawn({
            let stop = stop_watch.clone();
            async move {
                stop.run_until_cancelled(watching).await;
            }
        });
        Ok(Load { shared, clients, watcher, stop_watch })
    }

    /// Writes that were acknowledged since then.
    pub(super) fn acknowledged_since(&self, from: Duration) -> usize {
        let history = self.shared.history.lock();
        let late = history.writes.iter().rev().take_while(|write| write.ended >= from);
        late.filter(|write| matches!(write.outcome, Outcome::Acknowledged(_))).count()
    }

    /// Ends the clients, reads what there is at last, and waits for the watch to see it.
    pub(super) async fn finish(mut self) -> Result<History> {
        self.shared.stop.cancel();
        let ended =
            tokio::time::timeout(LAST_CALLS, async { while self.clients.join_next().await.is_some() {} });
        if ended.await.is_err() {
            self.clients.abort_all();
        }
        let last = self.shared.last().await;
        if let Ok((counts, at)) = &last {
            self.shared.history.lock().last.clone_from(counts);
            let until = Instant::now() + LAST_CALLS;
            while self.shared.newest_seen() < *at && Instant::now() < until {
                tokio::time::sleep(POLL).await;
            }
        }
        self.stop_watch.cancel();
        let _ = self.watcher.await;
        last?;
        Ok(std::mem::take(&mut *self.shared.history.lock()))
    }
}

impl Shared {
    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn sample(&self, what: What, began: Duration, ok: bool) -> Duration {
        let ended = self.now();
        self.history.lock().samples.push(Sample { what, ended, took: ended - began, ok });
        ended
    }

    async fn rest(&self, pause: Duration) -> bool {
        self.stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_some()
    }

    /// Hangs up and dials again, as one who runs a command anew.
    fn again(&self, client: &mut Client) {
        if let Ok(another) = connect(&self.config) {
            *client = another;
        }
    }

    async fn write(self: Arc<Self>, object: usize, mut known: Object) {
        let Ok(mut client) = connect(&self.config) else { return };
        let mut next = 1;
        // Whether a write of this writer may have landed that it does not know of.
        let mut unsure = false;
        // Not all at once.
        if !self.rest(WRITE_EVERY / WRITERS as u32 * object as u32).await {
            return;
        }
        loop {
            let mut wanted = counter(&self.namespace, object, next);
            wanted.metadata_mut().set("resourceVersion", known.resource_version().to_owned());
            let began = self.now();
            let answer = within(client.update(&CONFIG_MAPS, &wanted)).await;
            let pause = match answer {
                Ok(made) => {
                    let ended = self.sample(What::ApiWrite, began, true);
                    let outcome = Outcome::Acknowledged(revision(&made));
                    self.history.lock().writes.push(Write { object, count: next, began, ended, outcome });
                    (known, unsure) = (made, false);
                    WRITE_EVERY.saturating_sub(ended - began)
                }
                // One whose outcome was not known has landed: it was this writer's own.
                Err(error) if error.is_conflict() && unsure => {
                    if let Ok(found) = within(client.get(&CONFIG_MAPS, &self.namespace, &name(object))).await
                    {
                        (known, unsure) = (found, false);
                    } else {
                        self.again(&mut client);
                    }
                    AGAIN_AFTER
                }
                Err(error) => {
                    let ended = self.sample(What::ApiWrite, began, false);
                    let mut history = self.history.lock();
                    history.writes.push(Write { object, count: next, began, ended, outcome: Outcome::Not });
                    if history.refusals.len() < REFUSALS_MAX {
                        history.refusals.push(format!("at {:.1} s: {error}", ended.as_secs_f64()));
                    }
                    drop(history);
                    unsure = true;
                    self.again(&mut client);
                    AGAIN_AFTER
                }
            };
            next += 1;
            if !self.rest(pause).await {
                return;
            }
        }
    }

    async fn read(self: Arc<Self>, reader: usize) {
        let Ok(mut client) = connect(&self.config) else { return };
        let mut object = reader;
        loop {
            object = (object + 1) % WRITERS;
            let began = self.now();
            let pause = match within(client.get(&CONFIG_MAPS, &self.namespace, &name(object))).await {
                Ok(found) => {
                    let ended = self.sample(What::ApiRead, began, true);
                    let read = Read { object, count: count(&found), began, ended };
                    self.history.lock().reads.push(read);
                    READ_EVERY.saturating_sub(ended - began)
                }
                Err(_) => {
                    self.sample(What::ApiRead, began, false);
                    self.again(&mut client);
                    AGAIN_AFTER
                }
            };
            if !self.rest(pause).await {
                return;
            }
        }
    }

    /// One watch, resumed where it ended, for ever.
    async fn watch(self: Arc<Self>, mut from: i64) {
        let Ok(mut client) = connect(&self.config) else { return };
        loop {
            let params = ListParams { resource_version: from.to_string(), ..ListParams::default() };
            let watch =
                within(client.watch(&CONFIG_MAPS, Some(&self.namespace), &params, WATCH_TIMEOUT)).await;
            let error = match watch {
                Ok(mut events) => loop {
                    match events.next().await {
                        Some(Ok(event)) => from = self.saw(event).unwrap_or(from),
                        Some(Err(error)) => break error,
                        None => break Error::Unreachable("the watch ended".into()),
                    }
                },
                Err(error) => error,
            };
            if error.is_gone()
                && let Ok(list) =
                    within(client.list(&CONFIG_MAPS, Some(&self.namespace), &ListParams::default())).await
            {
                from = list.resource_version.parse().unwrap_or(from);
                self.history.lock().seen.push(Seen::Anew { revision: from });
            }
            self.again(&mut client);
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }

    /// Notes an event; the revision to which the watch has come with it.
    fn saw(&self, event: WatchEvent) -> Option<i64> {
        let seen = match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                let of = number(&object)?;
                Seen::Event { object: of, count: count(&object), revision: revision(&object) }
            }
            WatchEvent::Deleted(object) => {
                Seen::Deleted { object: number(&object)?, revision: revision(&object) }
            }
            WatchEvent::Bookmark { resource_version, .. } => return resource_version.parse().ok(),
        };
        let (Seen::Event { revision, .. } | Seen::Deleted { revision, .. } | Seen::Anew { revision }) = seen;
        self.history.lock().seen.push(seen);
        Some(revision)
    }

    fn newest_seen(&self) -> i64 {
        let history = self.history.lock();
        let revision = |seen: &Seen| match seen {
            Seen::Event { revision, .. } | Seen::Deleted { revision, .. } | Seen::Anew { revision } => {
                *revision
            }
        };
        history.seen.iter().map(revision).max().unwrap_or(0)
    }

    /// What every object counts now, and the newest revision among them.
    async fn last(&self) -> Result<(Vec<Option<u64>>, i64)> {
        let until = Instant::now() + LAST_CALLS;
        loop {
            let client = connect(&self.config)?;
            match within(client.list(&CONFIG_MAPS, Some(&self.namespace), &ListParams::default())).await {
                Ok(list) => {
                    let of = |object: usize| list.items.iter().find(|item| number(item) == Some(object));
                    let counts = (0..WRITERS).map(|object| of(object).map(|item| count(item)));
                    let newest = (0..WRITERS).filter_map(|object| of(object).map(|item| revision(item)));
                    return Ok((counts.collect(), newest.max().unwrap_or(0)));
                }
                Err(error) if Instant::now() > until => bail!("the last read of all objects: {error}"),
                Err(_) => tokio::time::sleep(AGAIN_AFTER).await,
            }
        }
    }
}
