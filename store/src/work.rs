//! Who does work that blocks: a thread of its own, or, in a simulated world, a task of the one thread
//! on which everything happens.
//!
//! A simulated world holds a whole cluster in one thread, so that a run is a function of its seed. What
//! belongs to it is said to the thread by [`simulate`]; elsewhere nothing here differs from threads and
//! channels.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::mpsc as tasks;
use tokio::task::JoinError;

/// What a worker waits for next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Job,
    /// A job, but no longer than this.
    JobWithin(Duration),
    /// This time, and no job before it has passed: then it is called without one.
    Pause(Duration),
    Nothing,
}

/// Does what it is sent, one job after the other.
pub trait Worker<J>: Send + 'static {
    /// Does a job: `None` once at the beginning, and when none came in the time asked for. `more`
    /// gives jobs that have come already, to be done together with this one.
    fn work(&mut self, job: Option<J>, more: &mut dyn FnMut() -> Option<J>) -> Next;

    /// In a simulated world: its next job takes long from now on.
    fn held_up(&mut self) {}

    /// Nothing will be sent any more.
    fn end(&mut self) {}
}

/// Sends jobs to a worker, which ends when all senders are dropped.
pub struct Sender<J>(Way<J>);

enum Way<J> {
    Thread(mpsc::Sender<J>),
    Task(tasks::UnboundedSender<J>),
    Caller(Arc<Mutex<Called<J>>>),
}

/// A worker whose senders do the work.
struct Called<J> {
    worker: Box<dyn Worker<J>>,
    /// A task will call it without a job.
    is_awaited: bool,
    has_ended: bool,
}

impl<J> Clone for Sender<J> {
    fn clone(&self) -> Self {
        Self(match &self.0 {
            Way::Thread(jobs) => Way::Thread(jobs.clone()),
            Way::Task(jobs) => Way::Task(jobs.clone()),
            Way::Caller(worker) => Way::Caller(worker.clone()),
        })
    }
}

/// The worker has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("who should do it has ended")]
pub struct Ended;

impl<J: 'static> Sender<J> {
    pub fn send(&self, job: J) -> Result<(), Ended> {
        match &self.0 {
            Way::Thread(jobs) => jobs.send(job).map_err(|_| Ended),
            Way::Task(jobs) => jobs.send(job).map_err(|_| Ended),
            Way::Caller(worker) => call(worker, Some(job)),
        }
    }
}

/// Has a worker do a job on the caller's thread, and what it is to do by itself later in a task.
fn call<J: 'static>(called: &Arc<Mutex<Called<J>>>, job: Option<J>) -> Result<(), Ended> {
    let again = {
        let called = &mut *called.lock();
        if called.has_ended {
            return Err(Ended);
        }
        match called.worker.work(job, &mut || None) {
            Next::JobWithin(time) | Next::Pause(time) => {
                (!std::mem::replace(&mut called.is_awaited, true)).then_some(time)
            }
            Next::Job => None,
            Next::Nothing => {
                called.worker.end();
                called.has_ended = true;
                None
            }
        }
    };
    // No runtime: the process ends, and its tasks are being dropped.
    if let (Some(time), Ok(runtime)) = (again, Handle::try_current()) {
        let called = Arc::downgrade(called);
        runtime.spawn(async move {
            tokio::time::sleep(time).await;
            if let Some(called) = called.upgrade() {
                called.lock().is_awaited = false;
                let _ = call(&called, None);
            }
        });
    }
    Ok(())
}

/// A worker at work.
pub struct Running(Option<JoinHandle<()>>);

impl Running {
    /// Waits for its end, unless it is the caller itself. Whether it ended without a panic.
    pub fn join(self) -> bool {
        match self.0 {
            Some(thread) if thread.thread().id() != thread::current().id() => thread.join().is_ok(),
            _ => true,
        }
    }
}

/// What a simulated world decides.
pub trait World {
    /// How long who has this name waits before its next job: for a slow disk, say.
    fn delay(&self, name: &'static str) -> Duration;
}

thread_local! {
    static WORLD: RefCell<Option<Rc<dyn World>>> = const { RefCell::new(None) };
}

/// Everything that begins on this thread belongs to `world` from now on; `None`: to the real one.
pub fn simulate(world: Option<Rc<dyn World>>) {
    WORLD.with(|current| *current.borrow_mut() = world);
}

fn world() -> Option<Rc<dyn World>> {
    WORLD.with(|world| world.borrow().clone())
}

/// Whether this thread is a simulated world.
pub fn is_simulated() -> bool {
    WORLD.with(|world| world.borrow().is_some())
}

/// Starts a worker.
pub fn start<J: Send + 'static>(
    name: &'static str,
    mut worker: impl Worker<J>,
) -> io::Result<(Sender<J>, Running)> {
    if is_simulated() {
        let (jobs, queue) = tasks::unbounded_channel();
        tokio::spawn(as_task(name, worker, queue));
        return Ok((Sender(Way::Task(jobs)), Running(None)));
    }
    let (jobs, queue) = mpsc::channel();
    let thread = thread::Builder::new().name(name.into()).spawn(move || {
        as_thread(&mut worker, &queue);
        worker.end();
    })?;
    Ok((Sender(Way::Thread(jobs)), Running(Some(thread))))
}

/// The same for one whose senders wait for what it makes: in a simulated world they do it themselves.
pub fn start_for_waiting<J: Send + 'static>(
    name: &'static str,
    worker: impl Worker<J>,
) -> io::Result<(Sender<J>, Running)> {
    if is_simulated() {
        let called = Called { worker: Box::new(worker), is_awaited: false, has_ended: false };
        let called = Arc::new(Mutex::new(called));
        let _ = call(&called, None);
        return Ok((Sender(Way::Caller(called)), Running(None)));
    }
    start(name, worker)
}

fn as_thread<J>(worker: &mut impl Worker<J>, queue: &mpsc::Receiver<J>) {
    let mut next = worker.work(None, &mut || None);
    loop {
        let job = match next {
            Next::Nothing => return,
            Next::Job => match queue.recv() {
                Ok(job) => Some(job),
                Err(_) => return,
            },
            Next::JobWithin(time) => match queue.recv_timeout(time) {
                Ok(job) => Some(job),
                Err(mpsc::RecvTimeoutError::Timeout) => None,
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            },
            Next::Pause(time) => {
                thread::sleep(time);
                None
            }
        };
        next = worker.work(job, &mut || queue.try_recv().ok());
    }
}

async fn as_task<J>(name: &'static str, mut worker: impl Worker<J>, mut queue: tasks::UnboundedReceiver<J>) {
    let mut next = worker.work(None, &mut || None);
    loop {
        let job = match next {
            Next::Nothing => break,
            Next::Job => match queue.recv().await {
                Some(job) => Some(job),
                None => break,
            },
            Next::JobWithin(time) => match tokio::time::timeout(time, queue.recv()).await {
                Ok(Some(job)) => Some(job),
                Ok(None) => break,
                Err(_) => None,
            },
            Next::Pause(time) => {
                tokio::time::sleep(time).await;
                None
            }
        };
        if let Some(delay) = world().map(|world| world.delay(name)).filter(|delay| !delay.is_zero()) {
            worker.held_up();
            tokio::time::sleep(delay).await;
        }
        next = worker.work(job, &mut || queue.try_recv().ok());
    }
    worker.end();
}

/// Calls `look` every so often, until it says no.
pub fn every(
    name: &'static str,
    time: Duration,
    mut look: impl FnMut() -> bool + Send + 'static,
) -> io::Result<()> {
    if is_simulated() {
        tokio::spawn(async move {
            while look() {
                tokio::time::sleep(time).await;
            }
        });
        return Ok(());
    }
    thread::Builder::new().name(name.into()).spawn(move || {
        while look() {
            thread::sleep(time);
        }
    })?;
    Ok(())
}

/// Does what takes long or waits for a disk, where it keeps no task waiting.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
    if is_simulated() {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await
}

/// The same for what waits until something is on the disk: a simulated world decides how long that takes.
pub async fn syncing<T: Send + 'static>(
    name: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    if let Some(delay) = world().map(|world| world.delay(name)) {
        tokio::time::sleep(delay).await;
    }
    blocking(work).await
}

/// Rests where it keeps no task waiting. A simulated world has no such place, and goes on at once.
pub fn pause(time: Duration) {
    if !is_simulated() {
        thread::sleep(time);
    }
}
