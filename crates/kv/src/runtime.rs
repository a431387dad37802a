//! The only door to tasks and time, so that a simulator can stand in.

use std::future::Future;
use std::sync::OnceLock;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;

use crate::stats::uncounted;

/// Tasks and time.
pub trait Runtime: Send + Sync + 'static {
    /// Runs a task to its end, in the background.
    fn spawn(&self, task: BoxFuture<'static, ()>);
    /// Completes after a while.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;
    /// Monotonic time since an arbitrary origin.
    fn now(&self) -> Duration;

    /// The wall clock in microseconds since 1970, for people to read: nothing is decided by it.
    fn unix_micros(&self) -> u64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }
}

/// The real one.
#[derive(Debug, Clone, Copy, Default)]
pub struct TokioRuntime;

impl Runtime for TokioRuntime {
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        // A transaction dropped while the process shuts down has no runtime any more; its locks
        // expire by themselves.
        if let Ok(handle) = tokio::runtime::Handle::try_current() {
            handle.spawn(task);
        }
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }

    fn now(&self) -> Duration {
        static ORIGIN: OnceLock<Instant> = OnceLock::new();
        ORIGIN.get_or_init(Instant::now).elapsed()
    }
}

/// Runs a task in the background, but polls it once here: what a local leader answers at once
/// needs no task. Whoever counts the caller's costs does not count these.
pub(crate) fn detach(runtime: &dyn Runtime, task: impl Future<Output = ()> + Send + 'static) {
    let mut task: BoxFuture<'static, ()> = Box::pin(uncounted(task));
    let mut context = Context::from_waker(Waker::noop());
    if task.as_mut().poll(&mut context).is_pending() {
        runtime.spawn(task);
    }
}
