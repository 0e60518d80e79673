//! The clock and the random bytes of a thread that is a simulated world.
//!
//! Both are taken where the standard library takes them, at the C library's functions: whatever asks
//! on such a thread, the order in a `HashMap` and tokio's timers among it, gets what the world decides.
//! Other threads get the system's.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::sync::atomic::{AtomicPtr, Ordering};

use nix::libc;

/// Monotonic nanoseconds at a world's begin: none of its clocks is near zero.
const BEGIN_NS: u64 = 1_000_000 * 1_000_000_000;
/// 2026-01-01, as nanoseconds of the wall clock.
const WALL_BEGIN_NS: u64 = 1_767_225_600 * 1_000_000_000;

/// The present thread's world, as one of its processes sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    /// Nanoseconds since the world's begin by this process's steady clock.
    pub steady_ns: u64,
    /// By its wall clock, which may be wrong.
    pub wall_ns: i64,
}

thread_local! {
    // Without destructors, so that they can be asked at any time of a thread's life.
    static VIEW: Cell<Option<View>> = const { Cell::new(None) };
    static RANDOM: Cell<u64> = const { Cell::new(0) };
}

/// Begins a world on this thread, for as long as it lives.
pub(super) fn begin(seed: u64) {
    RANDOM.set(seed);
    look(View { steady_ns: 0, wall_ns: 0 });
}

/// What clocks show from now on.
pub(super) fn look(view: View) {
    VIEW.set(Some(view));
}

/// SplitMix64, by Steele, Lea and Flood.
fn random() -> u64 {
    let state = RANDOM.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
    RANDOM.set(state);
    let mut z = state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

type Clock = unsafe extern "C" fn(libc::clockid_t, *mut libc::timespec) -> libc::c_int;

/// The C library's own, which makes no system call.
fn system_clock() -> Clock {
    static FOUND: AtomicPtr<libc::c_void> = AtomicPtr::new(std::ptr::null_mut());
    let mut found = FOUND.load(Ordering::Relaxed);
    if found.is_null() {
        // SAFETY: a name that ends with a zero.
        found = unsafe { libc::dlsym(libc::RTLD_NEXT, c"clock_gettime".as_ptr()) };
        assert!(!found.is_null(), "the C library has a clock");
        FOUND.store(found, Ordering::Relaxed);
    }
    // SAFETY: the function of this name has this type.
    unsafe { std::mem::transmute::<*mut libc::c_void, Clock>(found) }
}

/// # Safety
/// As `clock_gettime(2)`: `time` is valid for a write.
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, time: *mut libc::timespec) -> libc::c_int {
    let Some(view) = VIEW.get() else {
        // SAFETY: the caller's arguments, to the function that this one stands before.
        return unsafe { system_clock()(clock, time) };
    };
    let ns = match clock {
        libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE => WALL_BEGIN_NS.wrapping_add_signed(view.wall_ns),
        _ => BEGIN_NS + view.steady_ns,
    };
    let shown = libc::timespec {
        tv_sec: (ns / 1_000_000_000) as libc::time_t,
        tv_nsec: (ns % 1_000_000_000) as libc::c_long,
    };
    // SAFETY: `time` is valid for a write, says the caller.
    unsafe { time.write(shown) };
    0
}

/// # Safety
/// As `getrandom(2)`: `buffer` is valid for writes of `length` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(
    buffer: *mut libc::c_void,
    length: libc::size_t,
    flags: libc::c_uint,
) -> libc::ssize_t {
    if VIEW.get().is_none() {
        // SAFETY: the caller's arguments, to the system call of this name.
        return unsafe { libc::syscall(libc::SYS_getrandom, buffer, length, flags) } as libc::ssize_t;
    }
    let mut at = 0;
    while at < length {
        let bytes = random().to_ne_bytes();
        let count = bytes.len().min(length - at);
        // SAFETY: `buffer` is valid for `length` bytes, says the caller, and `at + count` is no more.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), buffer.cast::<u8>().add(at), count) };
        at += count;
    }
    length as libc::ssize_t
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::{Instant, SystemTime};

    use super::*;

    /// What a world shows of itself to code that knows of none.
    fn seen(seed: u64) -> (Vec<u32>, u64, u128, SystemTime) {
        let world = std::thread::spawn(move || {
            begin(seed);
            let order = (0..100_u32).map(|n| (n, ())).collect::<HashMap<_, _>>().into_keys().collect();
            let before = Instant::now();
            look(View { steady_ns: 5_000_000, wall_ns: -1 });
            (order, rand::random::<u64>(), before.elapsed().as_nanos(), SystemTime::now())
        });
        world.join().expect("the world ends")
    }

    #[test]
    fn everything_that_is_drawn_or_timed_is_a_function_of_the_seed() {
        let (one, again, other) = (seen(7), seen(7), seen(8));
        assert_eq!(one, again);
        assert_ne!(one.0, other.0, "the order of a HashMap");
        assert_ne!(one.1, other.1, "random numbers");
        assert_eq!(one.2, 5_000_000, "the steady clock");
        let wall = one.3.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_nanos();
        assert_eq!(wall, u128::from(WALL_BEGIN_NS) - 1);
    }

    #[test]
    fn outside_of_worlds_time_passes_and_chance_rules() {
        let before = Instant::now();
        while before.elapsed().is_zero() {
            std::hint::spin_loop();
        }
        assert_ne!(rand::random::<u128>(), rand::random::<u128>());
    }
}
