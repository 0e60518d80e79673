//! Keeps appends and the installation of a snapshot apart.
//!
//! openraft 0.10.0-alpha.37 notes at once, in its engine, that a snapshot covers the log, while
//! commands for entries that came before may still wait in its queue for a sync; when such a
//! command then looks its first entry up, it is gone, and the core panics. A
//! snapshot is therefore handed over only when every append before it has been answered, and the
//! appends after it wait until it is installed.

use parking_lot::Mutex;
use tokio::sync::Notify;

#[derive(Default)]
struct State {
    appends: usize,
    installing: bool,
}

#[derive(Default)]
pub(super) struct Gate {
    state: Mutex<State>,
    changed: Notify,
}

impl Gate {
    /// Waits until no snapshot is being installed, and counts an append in.
    pub(super) async fn enter(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.try_enter() {
                return;
            }
            changed.await;
        }
    }

    /// Counts an append in, unless a snapshot is being installed.
    pub(super) fn try_enter(&self) -> bool {
        let mut state = self.state.lock();
        if state.installing {
            return false;
        }
        state.appends += 1;
        true
    }

    /// An append was answered.
    pub(super) fn leave(&self) {
        let mut state = self.state.lock();
        state.appends -= 1;
        if state.appends == 0 {
            self.changed.notify_waiters();
        }
    }

    /// Waits until no append is under way and keeps new ones waiting while the guard lives.
    pub(super) async fn install(&self) -> Installing<'_> {
        let guard = loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let mut state = self.state.lock();
                if !state.installing {
                    state.installing = true;
                    break Installing { gate: self };
                }
            }
            changed.await;
        };
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.state.lock().appends == 0 {
                return guard;
            }
            changed.await;
        }
    }
}

pub(super) struct Installing<'g> {
    gate: &'g Gate,
}

impl Drop for Installing<'_> {
    fn drop(&mut self) {
        self.gate.state.lock().installing = false;
        self.gate.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn a_snapshot_waits_for_appends_and_appends_for_it() {
        let gate = Arc::new(Gate::default());
        gate.enter().await;
        gate.enter().await;
        let installer = gate.clone();
        let (installed, is_installed) = tokio::sync::oneshot::channel();
        let (finish, may_finish) = tokio::sync::oneshot::channel::<()>();
        let install = tokio::spawn(async move {
            let _guard = installer.install().await;
            let _ = installed.send(());
            let _ = may_finish.await;
        });
        while gate.try_enter() {
            gate.leave();
            tokio::task::yield_now().await;
        }
        gate.leave();
        tokio::task::yield_now().await;
        assert!(!install.is_finished());
        assert_eq!(gate.state.lock().appends, 1);
        gate.leave();
        is_installed.await.unwrap();
        let waiting = tokio::spawn({
            let gate = gate.clone();
            async move { gate.enter().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished() && !gate.try_enter());
        finish.send(()).unwrap();
        waiting.await.unwrap();
        assert!(gate.try_enter());
    }
}
