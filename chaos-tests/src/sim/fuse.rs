//! Where a process ends: before one of the things that it does and that last or that others see, the
//! n-th from now. So a crash can be anywhere, and not where the clock of the world happens to stand.

use std::sync::Arc;

use parking_lot::Mutex;

use super::host::Disks;

/// What a process's disks hold at the moment of its end.
type Image = Box<dyn FnOnce() -> Disks + Send>;

#[derive(Default)]
struct State {
    /// What may still be done.
    left: Option<(u64, Image)>,
    blown: bool,
    disks: Option<Disks>,
}

/// One for each life of a process. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Fuse(Arc<Mutex<State>>);

impl Fuse {
    /// Something is about to be written, made durable or sent: whether it still is.
    pub(super) fn burn(&self) -> bool {
        let image = {
            let state = &mut *self.0.lock();
            match &mut state.left {
                _ if state.blown => return false,
                Some((0, _)) => {}
                Some((left, _)) => {
                    *left -= 1;
                    return true;
                }
                None => return true,
            }
            state.blown = true;
            state.left.take()
        };
        // Without the lock: the disks are copied, and have locks of their own.
        if let Some((_, image)) = image {
            let disks = image();
            self.0.lock().disks = Some(disks);
        }
        false
    }

    /// Ends the process before what it does after `count` more; `image` takes its disks at that moment.
    /// `false`: it has ended, or will sooner.
    pub(super) fn light(&self, count: u64, image: Image) -> bool {
        let state = &mut *self.0.lock();
        if state.blown || state.left.is_some() {
            return false;
        }
        state.left = Some((count, image));
        true
    }

    /// Nothing more is done, from now on.
    pub(super) fn blow(&self) {
        let state = &mut *self.0.lock();
        // What would be taken of the disks is held by them.
        (state.blown, state.left) = (true, None);
    }

    pub(super) fn is_blown(&self) -> bool {
        self.0.lock().blown
    }

    /// What the disks held when it ended by itself.
    pub(super) fn take_disks(&self) -> Option<Disks> {
        self.0.lock().disks.take()
    }
}
