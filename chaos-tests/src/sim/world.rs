//! A simulated world: processes with a runtime each on one thread, one clock that moves on when all
//! of them wait, and what can happen to them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::runtime::Runtime;
use trireme_store::work;

use super::interposed::{self, View};
use super::network::{Host, Network};

/// How far the clock moves when all wait. What is due in between happens late by this much at most.
const STEP_NS: u64 = 1_000_000;
/// A runtime is at rest when it would have slept this often: the first time lets due timers fire.
const RESTS: u32 = 2;

thread_local! {
    static RESTED: Cell<u32> = const { Cell::new(0) };
    static ROOT: RefCell<Option<Waker>> = const { RefCell::new(None) };
    static PRESENT: Cell<Host> = const { Cell::new(0) };
}

/// A process's clocks.
#[derive(Clone, Copy, Debug, Default)]
struct Clocks {
    since_ns: u64,
    steady_then_ns: u64,
    /// Parts per million that the steady clock is too fast.
    drift_ppm: i64,
    wall_ahead_ns: i64,
}

impl Clocks {
    fn at(&self, now_ns: u64) -> View {
        let passed = now_ns - self.since_ns;
        let drifted = i128::from(passed) * i128::from(1_000_000 + self.drift_ppm) / 1_000_000;
        let steady_ns = self.steady_then_ns + u64::try_from(drifted).unwrap_or(passed);
        View { steady_ns, wall_ns: now_ns as i64 + self.wall_ahead_ns }
    }
}

struct Process {
    runtime: Option<Runtime>,
    clocks: Clocks,
    /// It does not run before: stopped by a signal, or its machine paused.
    frozen_until_ns: u64,
}

/// How long what writes logs waits on each host, at most.
struct Disks {
    slow: RefCell<Vec<Duration>>,
    /// Until when nothing is written.
    stuck_until: RefCell<Vec<Duration>>,
    now: Cell<Duration>,
    random: RefCell<StdRng>,
}

impl work::World for Disks {
    fn delay(&self, name: &'static str) -> Duration {
        if !["raft-log", "raft-state"].contains(&name) {
            return Duration::ZERO;
        }
        let stuck = self.stuck_until.borrow()[PRESENT.get()].saturating_sub(self.now.get());
        let most = self.slow.borrow()[PRESENT.get()];
        if !stuck.is_zero() || most.is_zero() {
            return stuck;
        }
        Duration::from_micros(self.random.borrow_mut().random_range(0..=most.as_micros() as u64))
    }
}

pub(super) struct World {
    pub network: Network,
    processes: Vec<Process>,
    disks: Rc<Disks>,
    now_ns: u64,
    /// Reasons for which processes said that they must end.
    pub fatal: Arc<Mutex<Vec<(Host, String)>>>,
}

impl World {
    /// Makes this thread a world of `hosts` processes, none of which runs.
    pub(super) fn begin(seed: u64, hosts: usize) -> World {
        let process = || Process { runtime: None, clocks: Clocks::default(), frozen_until_ns: 0 };
        let disks = Rc::new(Disks {
            slow: RefCell::new(vec![Duration::ZERO; hosts]),
            stuck_until: RefCell::new(vec![Duration::ZERO; hosts]),
            now: Cell::default(),
            random: RefCell::new(StdRng::seed_from_u64(seed ^ 1)),
        });
        work::simulate(Some(disks.clone()));
        World {
            network: Network::new(seed ^ 2, hosts),
            processes: (0..hosts).map(|_| process()).collect(),
            disks,
            now_ns: 0,
            fatal: Arc::default(),
        }
    }

    /// Time since the beginning.
    pub(super) fn now(&self) -> Duration {
        Duration::from_nanos(self.now_ns)
    }

    fn look_as(&self, host: Host) {
        PRESENT.set(host);
        interposed::look(self.processes[host].clocks.at(self.now_ns));
    }

    /// Starts a process.
    pub(super) fn start(&mut self, host: Host, main: impl Future<Output = ()> + Send + 'static) {
        self.look_as(host);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .on_thread_park(|| {
                RESTED.set(RESTED.get() + 1);
                ROOT.with(|root| root.borrow().iter().for_each(Waker::wake_by_ref));
            })
            .build()
            .expect("a runtime without threads can be made");
        runtime.spawn(main);
        self.processes[host].runtime = Some(runtime);
    }

    /// Ends a process where it stands. Where `is_heard`, its kernel closes its connections.
    pub(super) fn kill(&mut self, host: Host, is_heard: bool) {
        self.network.down(host, is_heard);
        self.look_as(host);
        drop(self.processes[host].runtime.take());
        self.processes[host].frozen_until_ns = 0;
        self.disks.slow.borrow_mut()[host] = Duration::ZERO;
        self.disks.stuck_until.borrow_mut()[host] = Duration::ZERO;
    }

    pub(super) fn runs(&self, host: Host) -> bool {
        self.processes[host].runtime.is_some()
    }

    /// Whether a process stands still.
    pub(super) fn is_frozen(&self, host: Host) -> bool {
        self.processes[host].frozen_until_ns > self.now_ns
    }

    /// Lets a process stand still.
    pub(super) fn freeze(&mut self, host: Host, time: Duration) {
        self.processes[host].frozen_until_ns = self.now_ns + time.as_nanos() as u64;
    }

    /// Has a process's steady clock go wrong by this much from now on.
    pub(super) fn drift(&mut self, host: Host, ppm: i64) {
        let clocks = &mut self.processes[host].clocks;
        *clocks = Clocks {
            since_ns: self.now_ns,
            steady_then_ns: clocks.at(self.now_ns).steady_ns,
            drift_ppm: ppm,
            wall_ahead_ns: clocks.wall_ahead_ns,
        };
    }

    /// Sets a process's wall clock.
    pub(super) fn jump(&mut self, host: Host, ahead_ms: i64) {
        self.processes[host].clocks.wall_ahead_ns = ahead_ms * 1_000_000;
    }

    /// Makes the disk of a host slow.
    pub(super) fn slow_disk(&mut self, host: Host, most: Duration) {
        self.disks.slow.borrow_mut()[host] = most;
    }

    /// Has the disk of a host do nothing for this long, once it is next asked to.
    pub(super) fn stick_disk(&mut self, host: Host, time: Duration) {
        self.disks.stuck_until.borrow_mut()[host] = self.now() + time;
    }

    /// One step of the clock.
    pub(super) fn step(&mut self) {
        self.now_ns += STEP_NS;
        self.disks.now.set(self.now());
        self.network.advance(self.now_ns);
        for host in 0..self.processes.len() {
            if self.processes[host].frozen_until_ns > self.now_ns {
                continue;
            }
            self.look_as(host);
            if let Some(runtime) = &self.processes[host].runtime {
                run_until_rest(runtime);
            }
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for host in 0..self.processes.len() {
            self.kill(host, false);
        }
        work::simulate(None);
    }
}

/// Runs what can be run.
fn run_until_rest(runtime: &Runtime) {
    RESTED.set(0);
    runtime.block_on(std::future::poll_fn(|cx| {
        if RESTED.get() >= RESTS {
            return Poll::Ready(());
        }
        ROOT.with(|root| *root.borrow_mut() = Some(cx.waker().clone()));
        Poll::Pending
    }));
}
