//! The memory of a node that statements and transactions share.
//!
//! ```text
//!   write buffers, locks of transactions ──┐
//!   rows that a statement holds ───────────┼── Reservation ──▶ MemoryBudget (--sql-memory)
//!   sorts, joins, aggregates ──────────────┘
//! ```
//!
//! Whoever holds little costs nothing here: the first [`FREE`] bytes of a reservation are not counted, and
//! what is beyond is taken in steps of [`STEP`], so that a small transaction touches no shared counter.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of a reservation that are not counted.
pub const FREE: usize = 16 << 10;
/// What is reserved at a time.
pub const STEP: usize = 256 << 10;

/// Bytes that are given out, never more than the limit.
#[derive(Debug)]
pub struct MemoryBudget {
    limit: usize,
    used: AtomicUsize,
}

/// There is not enough left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exhausted {
    /// All that there is.
    pub limit: usize,
}

impl MemoryBudget {
    /// A budget of so many bytes.
    #[must_use]
    pub fn new(limit: usize) -> Arc<MemoryBudget> {
        Arc::new(MemoryBudget { limit, used: AtomicUsize::new(0) })
    }

    /// All that there is, in bytes.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Bytes given out.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Takes bytes.
    ///
    /// # Errors
    ///
    /// So many are not left.
    pub fn take(&self, bytes: usize) -> Result<(), Exhausted> {
        let fits = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= self.limit);
        match self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits) {
            Ok(_) => Ok(()),
            Err(_) => Err(Exhausted { limit: self.limit }),
        }
    }

    /// Takes bytes that are in use already, beyond the limit if need be.
    pub fn take_anyway(&self, bytes: usize) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Gives bytes back.
    pub fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// What one transaction or statement has taken of a budget; given back with it.
#[derive(Debug)]
pub struct Reservation {
    budget: Arc<MemoryBudget>,
    taken: usize,
}

impl Reservation {
    /// Nothing yet.
    #[must_use]
    pub fn new(budget: Arc<MemoryBudget>) -> Reservation {
        Reservation { budget, taken: 0 }
    }

    /// Makes sure that `bytes` in all are reserved.
    ///
    /// # Errors
    ///
    /// They are not left. What was reserved before stays so.
    pub fn cover(&mut self, bytes: usize) -> Result<(), Exhausted> {
        if bytes <= FREE || bytes <= self.taken {
            return Ok(());
        }
        let wanted = bytes.next_multiple_of(STEP);
        self.budget.take(wanted - self.taken)?;
        self.taken = wanted;
        Ok(())
    }

    /// The whole of it, leaving an empty one.
    #[must_use]
    pub fn split(&mut self) -> Reservation {
        let taken = std::mem::take(&mut self.taken);
        Reservation { budget: Arc::clone(&self.budget), taken }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.give_back(self.taken);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reservation_grows_in_steps_and_is_given_back() {
        let budget = MemoryBudget::new(2 * STEP);
        let mut one = Reservation::new(Arc::clone(&budget));
        one.cover(FREE).expect("not counted");
        assert_eq!(budget.used(), 0);
        one.cover(FREE + 1).expect("there is enough");
        one.cover(STEP).expect("reserved already");
        assert_eq!(budget.used(), STEP);
        let mut other = Reservation::new(Arc::clone(&budget));
        other.cover(STEP).expect("the last step");
        assert_eq!(one.cover(STEP + 1), Err(Exhausted { limit: 2 * STEP }));
        assert_eq!(budget.used(), 2 * STEP);
        let taken = one.split();
        drop(one);
        assert_eq!(budget.used(), 2 * STEP);
        drop((taken, other));
        assert_eq!(budget.used(), 0);
    }
}
