//! Commands in flight in one range: evaluated, proposed, not yet applied. Who must wait for them.
//!
//! Pure state. A write command takes its latches when it is evaluated and gives them back when its batch
//! is applied or has failed. Reads are evaluated in one go and take none; they only wait. Nobody holds
//! one latch while waiting for another: who must wait is parked ([`Latches::park`]) and evaluated anew
//! when the command it waits for has ended. So latches can't deadlock.
//!
//! ```text
//!   command   writes              could commit from
//!   p7        acct/1, acct/9      t40      a read at t39 passes, one at t40 waits; a write waits
//!   p8        acct/2              max      (a record, no data) reads pass, a write waits
//! ```
//!
//! # Invariants
//!
//! - **H1** No two commands in flight write the same key.
//! - **H2** Who waits for a command waits for one in flight, and is handed back once, in the order in
//!   which it was parked.
//!
//! Scripts: `scripts/latches/`.

use std::collections::BTreeMap;
use std::ops::Bound;

use base::{Key, KeyRange, Timestamp};
use smallvec::SmallVec;

/// A command in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CommandId(pub u64);

/// Latches of one range. `W` names who is parked.
#[derive(Debug)]
pub struct Latches<W> {
    /// By key, who writes it and from which timestamp on that may become visible.
    writes: BTreeMap<Key, (CommandId, Timestamp)>,
    commands: BTreeMap<CommandId, Command<W>>,
    /// Parked over all commands.
    parked: usize,
}

#[derive(Debug)]
struct Command<W> {
    keys: SmallVec<[Key; 1]>,
    waiters: Vec<W>,
}

impl<W> Default for Latches<W> {
    fn default() -> Self {
        Latches { writes: BTreeMap::new(), commands: BTreeMap::new(), parked: 0 }
    }
}

impl<W> Latches<W> {
    /// Nothing in flight.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nothing is in flight.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// How many are parked.
    #[must_use]
    pub fn parked(&self) -> usize {
        self.parked
    }

    /// Puts a command in flight. Nobody else may be writing its keys (H1): see [`Latches::writer`].
    pub fn begin(
        &mut self,
        command: CommandId,
        keys: impl IntoIterator<Item = Key>,
        commits_from: Timestamp,
    ) {
        let keys: SmallVec<[Key; 1]> = keys.into_iter().collect();
        for key in &keys {
            let other = self.writes.insert(key.clone(), (command, commits_from));
            assert!(
                other.is_none_or(|(other, _)| other == command),
                "H1: {key} is written by {other:?} and {command:?}"
            );
        }
        let other = self.commands.insert(command, Command { keys, waiters: Vec::new() });
        assert!(other.is_none(), "{command:?} began twice");
    }

    /// The command that writes a key.
    #[must_use]
    pub fn writer(&self, key: &[u8]) -> Option<CommandId> {
        if self.writes.is_empty() {
            return None;
        }
        self.writes.get(key).map(|&(command, _)| command)
    }

    /// The command that keeps a read of `key` at `ts` waiting.
    #[must_use]
    pub fn read_conflict(&self, key: &[u8], ts: Timestamp) -> Option<CommandId> {
        if self.writes.is_empty() {
            return None;
        }
        self.writes.get(key).filter(|&&(_, from)| from <= ts).map(|&(command, _)| command)
    }

    /// A command that keeps a read of `span` at `ts` waiting.
    #[must_use]
    pub fn span_conflict(&self, span: &KeyRange, ts: Timestamp) -> Option<CommandId> {
        if self.writes.is_empty() || span.is_empty() {
            return None;
        }
        let end = if span.end.0.is_empty() {
            Bound::Unbounded
        } else {
            Bound::Excluded(span.end.as_bytes())
        };
        let inside = self.writes.range::<[u8], _>((Bound::Included(span.start.as_bytes()), end));
        inside.map(|(_, &write)| write).find(|&(_, from)| from <= ts).map(|(command, _)| command)
    }

    /// The lowest timestamp at which a command in flight could make something visible; the end of time
    /// if none could. Linear in what is in flight.
    #[must_use]
    pub fn lowest_commit(&self) -> Timestamp {
        self.writes.values().map(|&(_, from)| from).min().unwrap_or(Timestamp::MAX)
    }

    /// Parks `waiter` until `command` has ended.
    pub fn park(&mut self, command: CommandId, waiter: W) {
        let command = self.commands.get_mut(&command).expect("H2: waits for a command in flight");
        command.waiters.push(waiter);
        self.parked += 1;
    }

    /// Ends a command and hands back who waited for it, in order.
    pub fn end(&mut self, command: CommandId) -> Vec<W> {
        let Some(ended) = self.commands.remove(&command) else { return Vec::new() };
        for key in &ended.keys {
            self.writes.remove(key.as_bytes());
        }
        self.parked -= ended.waiters.len();
        ended.waiters
    }

    /// Takes out those parked of whom `gone` is true.
    pub fn unpark(&mut self, mut gone: impl FnMut(&W) -> bool) {
        for command in self.commands.values_mut() {
            let before = command.waiters.len();
            command.waiters.retain(|waiter| !gone(waiter));
            self.parked -= before - command.waiters.len();
        }
    }

    /// Asserts H1 and H2. Linear, so for tests and simulation.
    pub fn check_invariants(&self) {
        for (key, (command, _)) in &self.writes {
            let known = self.commands.get(command);
            assert!(known.is_some_and(|c| c.keys.contains(key)), "H1: nobody writes {key}");
        }
        let parked: usize = self.commands.values().map(|c| c.waiters.len()).sum();
        assert_eq!(parked, self.parked, "H2: the count of the parked is wrong");
    }
}
