//! What every engine and every log store must do, as tests that each implementation runs on itself.
//!
//! The cases panic on the first deviation. They are deterministic: the one with many operations
//! draws them from a fixed sequence.
//!
//! ```text
//!   for (name, case) in conformance::ENGINE { case(&mut harness()) }
//! ```

mod engine;
mod log;
mod model;

use std::sync::Arc;

pub use engine::ENGINE;
pub use log::LOG;

use crate::{Engine, LogStore};

/// An engine under test that can be restarted.
pub trait EngineHarness {
    /// The engine as it runs now.
    fn engine(&self) -> Arc<dyn Engine>;
    /// Ends it, without a chance to flush where that can be had, and opens it again. The cases keep
    /// no handle over it.
    fn restart(&mut self);
}

/// A log store under test that can be restarted.
pub trait LogHarness {
    /// The log store as it runs now.
    fn log(&self) -> Arc<dyn LogStore>;
    /// Ends it, without a chance to sync where that can be had, and opens it again.
    fn restart(&mut self);
}

/// A case: its name and the test, to be given a new and empty engine.
pub type EngineCase = (&'static str, fn(&mut dyn EngineHarness));
/// A case: its name and the test, to be given a new and empty log store.
pub type LogCase = (&'static str, fn(&mut dyn LogHarness));
