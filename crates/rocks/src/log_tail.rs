//! The newest entries of one range in memory: what the leader sends and what is about to be applied
//! is nearly always here, and a log store that is asked for it reads nothing.

use std::collections::VecDeque;

use storage::{LogEntry, LogOp, LogPosition, LogState};

/// A range's state, and its newest entries.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tail {
    pub(crate) state: LogState,
    /// Consecutive, ending with `state.last`; fewer than the log has, possibly none.
    entries: VecDeque<LogEntry>,
    bytes: usize,
}

impl Tail {
    /// Knows the state but no entry, as after a start.
    pub(crate) fn new(state: LogState) -> Self {
        Tail { state, ..Self::default() }
    }

    /// Bytes of the entries kept.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The entry, if it is kept.
    pub(crate) fn entry(&self, index: u64) -> Option<&LogEntry> {
        let first = self.entries.front()?.index;
        self.entries.get(usize::try_from(index.checked_sub(first)?).ok()?)
    }

    /// The state of a range's log after an operation that was checked.
    pub(crate) fn state_after(mut state: LogState, op: &LogOp) -> LogState {
        match op {
            LogOp::Append(entries) => {
                let last = entries.last().expect("an append has entries");
                state.last = LogPosition { index: last.index, term: last.term };
            }
            LogOp::HardState(hard) => state.hard = *hard,
            LogOp::Compact(upto) => {
                state.truncated = *upto;
                if state.last.index == upto.index {
                    state.last = *upto;
                }
            }
            LogOp::Reset(at) => {
                state.truncated = *at;
                state.last = *at;
            }
            LogOp::Remove => state = LogState::default(),
        }
        state
    }

    /// Follows an operation that was written, keeping at most about `max_bytes` of entries.
    pub(crate) fn apply(&mut self, op: &LogOp, max_bytes: usize) {
        match op {
            LogOp::Append(entries) => {
                let first = entries.first().expect("an append has entries").index;
                while self.entries.back().is_some_and(|entry| entry.index >= first) {
                    let dropped = self.entries.pop_back().expect("there is a last one");
                    self.bytes -= dropped.data.len();
                }
                for entry in entries {
                    self.bytes += entry.data.len();
                    self.entries.push_back(entry.clone());
                }
            }
            LogOp::HardState(_) => {}
            LogOp::Compact(upto) => self.drop_front(upto.index),
            LogOp::Reset(_) | LogOp::Remove => {
                self.entries.clear();
                self.bytes = 0;
            }
        }
        self.state = Self::state_after(self.state, op);
        while self.bytes > max_bytes && self.entries.len() > 1 {
            let first = self.entries.front().expect("there are entries").index;
            self.drop_front(first);
        }
    }

    fn drop_front(&mut self, upto: u64) {
        while self.entries.front().is_some_and(|entry| entry.index <= upto) {
            let dropped = self.entries.pop_front().expect("there is a first one");
            self.bytes -= dropped.data.len();
        }
    }
}
