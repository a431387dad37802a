//! DataFusion's memory pool, as a part of the memory that a node has for statements and transactions.

use std::fmt;
use std::sync::Arc;

use datafusion::common::{Result, resources_datafusion_err};
use datafusion::execution::memory_pool::{
    FairSpillPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};
use kv::MemoryBudget;

/// Shares what there is fairly among operators that can spill, as [`FairSpillPool`] does, and counts it
/// against the node's budget: what transactions hold, operators cannot have.
#[derive(Debug)]
pub(super) struct SharedPool {
    fair: FairSpillPool,
    budget: Arc<MemoryBudget>,
}

impl SharedPool {
    pub(super) fn new(budget: Arc<MemoryBudget>) -> SharedPool {
        SharedPool { fair: FairSpillPool::new(budget.limit()), budget }
    }
}

impl MemoryPool for SharedPool {
    fn name(&self) -> &str {
        "shared"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.fair.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.fair.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.budget.take_anyway(additional);
        self.fair.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.fair.shrink(reservation, shrink);
        self.budget.give_back(shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        self.budget.take(additional).map_err(|full| {
            resources_datafusion_err!(
                "{additional} bytes more than the {} that there are",
                full.limit
            )
        })?;
        let grown = self.fair.try_grow(reservation, additional);
        if grown.is_err() {
            self.budget.give_back(additional);
        }
        grown
    }

    fn reserved(&self) -> usize {
        self.fair.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.budget.limit())
    }
}

impl fmt::Display for SharedPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shared({} of {})", self.budget.used(), self.budget.limit())
    }
}
