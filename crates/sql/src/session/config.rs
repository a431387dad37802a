//! `set_config`: what a statement's calls of it said, carried out when it has succeeded.
//!
//! A kernel cannot change the session that it runs in; and a statement that runs again after a conflict must
//! not have set anything. So `current_setting` in the same statement tells the value from before.

use super::Session;
use super::api::Sink;
use super::transaction::Block;
use crate::SqlError;

/// One call.
#[derive(Debug, Clone)]
pub(crate) struct Assignment {
    pub(crate) name: String,
    /// None is DEFAULT.
    pub(crate) value: Option<String>,
    pub(crate) local: bool,
}

impl Session {
    /// Ends a statement that succeeded: settings, and what it had to say besides.
    pub(super) fn settle(&mut self, sink: &mut dyn Sink) -> Result<(), SqlError> {
        let assignments = std::mem::take(&mut *self.info.assignments.lock());
        for Assignment { name, value, local } in assignments {
            if local && self.tx.block == Block::Idle {
                continue;
            }
            super::set::assign(self, &name, value, local, sink)?;
        }
        self.tell_warnings(sink);
        Ok(())
    }
}
