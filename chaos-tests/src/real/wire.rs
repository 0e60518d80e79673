//! A line on which frames take their time: a host's cable runs through this program for a while.
//!
//! ```text
//!   host: eth0 ══ "m1" on the bridge                    as it is
//!   host: eth0 ══ "m1-far" ── frames ── tap "m1" on the bridge    while a line is slow
//! ```
//!
//! The kernel's part is no more than a raw socket and a tap, where netem and NFQUEUE are not to be had. The
//! tap has the port's name, so that the switch's rules hold for it. Frames keep what the kernel notes of
//! unfinished checksums and of segments that are still to be cut: both ends take that header.
#![allow(unsafe_code)]

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::libc;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::network::{BRIDGE, SWITCH};
use super::tools::{namespace_path, run};

/// A frame with the kernel's header before it; segments are cut behind this.
const FRAME_BYTES_MAX: usize = 70_000;
/// Frames on their way; what comes on top is lost, as in a switch.
const QUEUED_MAX: usize = 10_000;
/// The longest that the line's thread waits before it looks whether it is to end.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How frames fare on a line, in each direction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Line {
    pub delay: Duration,
    /// A frame takes as much more as is drawn for it, up to this.
    pub jitter: Duration,
    /// Whether one may overtake another.
    pub reorders: bool,
    pub seed: u64,
}

/// A line at work.
pub(super) struct Wire {
    host: String,
    stop: Arc<AtomicBool>,
    carried: Carried,
    thread: std::thread::JoinHandle<()>,
}

/// How many frames a line has carried so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Carried(Arc<AtomicU64>);

impl Carried {
    pub(super) fn frames(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Wire {
    /// Puts the line of `host` between it and the switch.
    pub(super) async fn begin(host: &str, line: Line) -> Result<Wire> {
        let far = format!("{host}-far");
        set(&[host, "nomaster"]).await?;
        set(&[host, "down"]).await?;
        set(&[host, "name", &far]).await?;
        set(&[&far, "up"]).await?;
        let ends = in_switch({
            let host = host.to_owned();
            move || Ok((tap(&host)?, raw(&far)?))
        });
        let (tap, raw) = ends.with_context(|| format!("the line of {host}"))?;
        set(&[host, "master", BRIDGE, "up"]).await?;
        let (stop, carried) = (Arc::new(AtomicBool::new(false)), Carried::default());
        let (stopped, count) = (stop.clone(), carried.0.clone());
        let carry = move || carry(&tap, &raw, line, &stopped, &count);
        let thread =
            std::thread::Builder::new().name("wire".into()).spawn(carry).context("a line's thread")?;
        Ok(Wire { host: host.to_owned(), stop, carried, thread })
    }

    pub(super) fn carried(&self) -> Carried {
        self.carried.clone()
    }

    /// Plugs the host into the switch again. What is on its way is lost.
    pub(super) async fn end(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread;
        tokio::task::spawn_blocking(move || thread.join())
            .await?
            .map_err(|_| anyhow::anyhow!("a line's thread"))?;
        // The tap went with what had it open.
        let (host, far) = (self.host.as_str(), format!("{}-far", self.host));
        set(&[&far, "down"]).await?;
        set(&[&far, "name", host]).await?;
        set(&[host, "master", BRIDGE, "up"]).await
    }
}

/// Sets something of an interface of the switch.
async fn set(arguments: &[&str]) -> Result<()> {
    run("ip", &[&["-n", SWITCH, "link", "set", "dev"], arguments].concat()).await.map(|_| ())
}

/// Does `make` on a thread in the switch's namespace.
fn in_switch<T: Send + 'static>(make: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let enter = move || {
        let namespace = File::open(namespace_path(SWITCH)).context("the switch's namespace")?;
        // SAFETY: an open descriptor; it is this thread alone that enters.
        done(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) })
            .context("enter the switch's namespace")?;
        make()
    };
    // It stays there, and ends with it.
    std::thread::spawn(enter).join().map_err(|_| anyhow::anyhow!("a thread in the switch's namespace"))?
}

/// The header before each frame: `struct virtio_net_hdr`.
const HEADER_BYTES: usize = 10;
const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
const TUNSETOFFLOAD: libc::c_ulong = 0x4004_54d0;
/// What the reader of the tap can finish by itself: checksums, and segments of TCP over IPv4 and IPv6.
const TUN_F_CSUM_TSO4_TSO6: libc::c_ulong = 1 | 2 | 4;
const PACKET_VNET_HDR: libc::c_int = 15;
const PACKET_IGNORE_OUTGOING: libc::c_int = 23;

fn done(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A tap of this name, for the switch's side.
fn tap(name: &str) -> Result<OwnedFd> {
    let open = || OpenOptions::new().read(true).write(true).open("/dev/net/tun");
    let file = open().context("open /dev/net/tun")?;
    // SAFETY: a structure of integers, for which zeros are a value.
    let mut request: libc::ifreq = unsafe { zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes().take(libc::IFNAMSIZ - 1)) {
        *to = from as libc::c_char;
    }
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    // SAFETY: the descriptor is open, and the request lives across the call.
    done(unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF as _, &raw mut request) }).context("make a tap")?;
    // SAFETY: the descriptor is open; no memory is passed.
    done(unsafe { libc::ioctl(file.as_raw_fd(), TUNSETOFFLOAD as _, TUN_F_CSUM_TSO4_TSO6) })
        .context("have a tap take segments")?;
    not_blocking(file.as_raw_fd())?;
    Ok(file.into())
}

/// All frames of an interface, for the host's side.
fn raw(name: &str) -> Result<OwnedFd> {
    let protocol = (libc::ETH_P_ALL as u16).to_be();
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no memory is passed; what comes back is a descriptor of this process alone.
    let socket = unsafe {
        let descriptor =
            done(libc::socket(libc::AF_PACKET, kind, protocol.into())).context("a raw socket")?;
        OwnedFd::from_raw_fd(descriptor)
    };
    for option in [PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING] {
        let on: libc::c_int = 1;
        // SAFETY: the value lives across the call, and its size is told.
        let set = unsafe {
            let size = size_of::<libc::c_int>() as libc::socklen_t;
            libc::setsockopt(socket.as_raw_fd(), libc::SOL_PACKET, option, (&raw const on).cast(), size)
        };
        done(set).context("set up a raw socket")?;
    }
    let zero_ended = CString::new(name).context("an interface's name")?;
    // SAFETY: a string that ends with a zero and lives across the call.
    let index = unsafe { libc::if_nametoindex(zero_ended.as_ptr()) };
    ensure!(index != 0, "there is no interface {name}");
    // SAFETY: a structure of integers, for which zeros are a value.
    let mut address: libc::sockaddr_ll = unsafe { zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = protocol;
    address.sll_ifindex = libc::c_int::try_from(index)?;
    // SAFETY: the address lives across the call, and its size is told.
    let bound = unsafe {
        let size = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size)
    };
    done(bound).context("bind a raw socket")?;
    Ok(socket)
}

fn not_blocking(descriptor: RawFd) -> Result<()> {
    // SAFETY: flags of an open descriptor; no memory is passed.
    let set = unsafe {
        let flags = done(libc::fcntl(descriptor, libc::F_GETFL))?;
        libc::fcntl(descriptor, libc::F_SETFL, flags | libc::O_NONBLOCK)
    };
    done(set).map(|_| ()).context("set up a tap")
}

/// Frames of one direction, by when they are due and in which order they came.
struct Direction {
    random: StdRng,
    line: Line,
    waiting: BinaryHeap<Reverse<(Instant, u64, Vec<u8>)>>,
    came: u64,
    not_before: Option<Instant>,
}

impl Direction {
    fn new(line: Line, seed: u64) -> Direction {
        let random = StdRng::seed_from_u64(seed);
        Direction { random, line, waiting: BinaryHeap::new(), came: 0, not_before: None }
    }

    fn take(&mut self, frame: Vec<u8>, now: Instant) {
        if self.waiting.len() >= QUEUED_MAX {
            return;
        }
        let jitter = self.random.random_range(0..=self.line.jitter.as_micros() as u64);
        let mut due = now + self.line.delay + Duration::from_micros(jitter);
        if !self.line.reorders {
            due = self.not_before.map_or(due, |before| due.max(before));
            self.not_before = Some(due);
        }
        self.came += 1;
        self.waiting.push(Reverse((due, self.came, frame)));
    }

    /// The next frame that is due by now.
    fn due(&mut self, now: Instant) -> Option<Vec<u8>> {
        let is_due = self.waiting.peek().is_some_and(|Reverse((due, ..))| *due <= now);
        if is_due { self.waiting.pop().map(|Reverse((_, _, frame))| frame) } else { None }
    }

    fn next(&self) -> Option<Instant> {
        self.waiting.peek().map(|Reverse((due, ..))| *due)
    }
}

/// Carries frames both ways, until `stop`.
fn carry(tap: &OwnedFd, raw: &OwnedFd, line: Line, stop: &AtomicBool, carried: &AtomicU64) {
    let mut buffer = vec![0; FRAME_BYTES_MAX];
    let mut ways = [Direction::new(line, line.seed), Direction::new(line, line.seed ^ 1)];
    let ends = [(tap.as_raw_fd(), raw.as_raw_fd()), (raw.as_raw_fd(), tap.as_raw_fd())];
    while !stop.load(Ordering::Relaxed) {
        let now = Instant::now();
        let next = ways.iter().filter_map(Direction::next).min();
        let wait = next.map_or(LOOK_EVERY, |next| next.saturating_duration_since(now).min(LOOK_EVERY));
        if wait_for(&ends, wait).is_err() {
            return;
        }
        let now = Instant::now();
        for (way, (from, to)) in ways.iter_mut().zip(ends) {
            while let Some(frame) = read(from, &mut buffer) {
                way.take(frame.to_vec(), now);
            }
            while let Some(frame) = way.due(now) {
                carried.fetch_add(1, Ordering::Relaxed);
                // What the other end does not take is lost.
                // SAFETY: the frame lives across the call, and its length is told.
                let _ = unsafe { libc::write(to, frame.as_ptr().cast(), frame.len()) };
            }
        }
    }
}

/// Waits until there is something to read, or for the time.
fn wait_for(ends: &[(RawFd, RawFd); 2], time: Duration) -> io::Result<()> {
    let of = |descriptor| libc::pollfd { fd: descriptor, events: libc::POLLIN, revents: 0 };
    let mut polled = [of(ends[0].0), of(ends[1].0)];
    let time = libc::timespec { tv_sec: 0, tv_nsec: time.as_nanos().min(999_999_999) as libc::c_long };
    // SAFETY: two descriptors and a time that live across the call; no signal mask.
    let ready = unsafe { libc::ppoll(polled.as_mut_ptr(), 2, &raw const time, std::ptr::null()) };
    match done(ready) {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
        _ => Ok(()),
    }
}

/// A frame with its header, if one is there.
fn read(from: RawFd, buffer: &mut [u8]) -> Option<&[u8]> {
    // SAFETY: the buffer lives across the call, and its length is told.
    let bytes = unsafe { libc::read(from, buffer.as_mut_ptr().cast(), buffer.len()) };
    let bytes = usize::try_from(bytes).ok().filter(|bytes| *bytes > HEADER_BYTES)?;
    Some(&buffer[..bytes])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(reorders: bool) -> Vec<u8> {
        let line =
            Line { delay: Duration::from_millis(5), jitter: Duration::from_millis(50), reorders, seed: 3 };
        let (mut way, begin) = (Direction::new(line, 3), Instant::now());
        for n in 0..100 {
            way.take(vec![n], begin + Duration::from_millis(n.into()));
        }
        assert_eq!(way.due(begin + Duration::from_millis(4)), None, "nothing comes before its time");
        let mut came = Vec::new();
        while let Some(frame) = way.due(begin + Duration::from_secs(1)) {
            came.push(frame[0]);
        }
        came
    }

    #[test]
    fn frames_overtake_each_other_only_where_they_may() {
        let sent: Vec<u8> = (0..100).collect();
        assert_eq!(order(false), sent);
        let mut mixed = order(true);
        assert_ne!(mixed, sent);
        mixed.sort_unstable();
        assert_eq!(mixed, sent);
    }
}
