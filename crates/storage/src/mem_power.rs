//! The power of a simulated machine, which fails between two writes to its disks.
//!
//! An engine and a log store that share it lose what they are given from then on, although the process,
//! which does not know yet, goes on reading it. Whoever simulates the machine ends the process before
//! anybody hears of what it did without power.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const ON: u64 = u64::MAX;

/// Power for [`crate::MemEngine`] and [`crate::MemLogStore`].
#[derive(Debug)]
pub struct MemPower {
    /// Writes, flushes and syncs until it fails.
    left: AtomicU64,
    failed: AtomicBool,
}

impl Default for MemPower {
    fn default() -> Self {
        MemPower { left: AtomicU64::new(ON), failed: AtomicBool::new(false) }
    }
}

impl MemPower {
    /// It fails at the write, flush or sync after so many more.
    pub fn fail_after(&self, writes: u64) {
        self.left.store(writes, Ordering::Relaxed);
    }

    /// It is back, or does not fail after all.
    pub fn restore(&self) {
        self.left.store(ON, Ordering::Relaxed);
        self.failed.store(false, Ordering::Relaxed);
    }

    /// Whether something was lost for want of it.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Whether a write, flush or sync still reaches the disk.
    pub(crate) fn spend(&self) -> bool {
        match self.left.load(Ordering::Relaxed) {
            ON => true,
            0 => {
                self.failed.store(true, Ordering::Relaxed);
                false
            }
            left => {
                self.left.store(left - 1, Ordering::Relaxed);
                true
            }
        }
    }
}
