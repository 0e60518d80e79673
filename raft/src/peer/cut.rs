//! A member that neither sends to the others nor hears them, for a time: as if its network were gone.
//!
//! Its connections stand still rather than end, as those do whose packets are lost: the other side
//! finds out by its own deadlines. What was written before comes when it is over, if the connection
//! still lives then.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::time::{Sleep, sleep};

/// Between two looks whether it was ended before its time.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Something that is so until a moment, and then is not, whoever is there to say so.
pub(crate) struct Until {
    origin: Instant,
    /// Since the origin; zero when it is not so.
    ms: AtomicU64,
}

impl Default for Until {
    fn default() -> Self {
        Self { origin: Instant::now(), ms: AtomicU64::new(0) }
    }
}

impl Until {
    /// From now on, for so long. Zero ends it.
    pub(crate) fn set(&self, lasts: Duration) {
        let at = if lasts.is_zero() { Duration::ZERO } else { self.origin.elapsed() + lasts };
        self.ms.store(at.as_millis() as u64, Ordering::Relaxed);
    }

    /// How much longer it is so.
    pub(crate) fn left(&self) -> Option<Duration> {
        match self.ms.load(Ordering::Relaxed) {
            // The clock is not asked where nothing is the matter.
            0 => None,
            ms => Duration::from_millis(ms).checked_sub(self.origin.elapsed()).filter(|left| !left.is_zero()),
        }
    }

    /// Returns when it is not so any more.
    pub(crate) async fn over(&self) {
        while let Some(left) = self.left() {
            sleep(left.min(LOOK_EVERY)).await;
        }
    }
}

/// One direction of one connection.
pub(crate) struct Standstill {
    cut: Arc<Until>,
    waits: Option<Pin<Box<Sleep>>>,
}

impl Standstill {
    pub(crate) fn new(cut: Arc<Until>) -> Self {
        Self { cut, waits: None }
    }

    /// Ready while bytes may pass.
    pub(crate) fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(left) = self.cut.left() {
            let waits = self.waits.get_or_insert_with(|| Box::pin(sleep(left.min(LOOK_EVERY))));
            ready!(waits.as_mut().poll(cx));
            self.waits = None;
        }
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_ends_by_itself_and_before_its_time_when_told_to() {
        let cut = Arc::new(Until::default());
        assert_eq!(cut.left(), None);
        cut.set(Duration::from_millis(120));
        let mut still = Standstill::new(cut.clone());
        assert!(futures::poll!(std::future::poll_fn(|cx| still.poll_over(cx))).is_pending());
        std::future::poll_fn(|cx| still.poll_over(cx)).await;
        assert_eq!(cut.left(), None, "by itself");
        cut.set(Duration::from_secs(3600));
        assert!(cut.left().is_some());
        let ended = tokio::spawn({
            let cut = cut.clone();
            async move { cut.over().await }
        });
        cut.set(Duration::ZERO);
        ended.await.expect("it ended");
        std::future::poll_fn(|cx| still.poll_over(cx)).await;
    }
}
