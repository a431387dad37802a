//! The rules on which safety rests, each with a switch: for simulations that show that the checkers notice
//! when one is broken. Nothing but such a test ever changes them.

/// What is done; all of it, unless a simulation says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// A read raises the read-timestamp cache (docs/transactions.md, section 5).
    pub reads_are_remembered: bool,
    /// What a transaction has read is verified up to its commit timestamp (section 8).
    pub reads_are_verified: bool,
    /// A read waits for commands in flight that could commit at or below its timestamp (section 5).
    pub reads_wait_for_commands: bool,
    /// A read waits for replicated locks that could commit at or below its timestamp (section 5).
    pub reads_wait_for_locks: bool,
    /// A new leader takes for read whatever lies below a fresh timestamp (section 4).
    pub leaders_begin_with_reads: bool,
    /// The lease is looked at after reading, and after drawing a timestamp (sections 2 and 5).
    pub leases_are_checked_after: bool,
    /// The oracle issues nothing above a bound that is replicated (section 2).
    pub oracle_bounds_are_replicated: bool,
    /// A rollback mark stops a late prewrite, and a late commit (section 9).
    pub rollback_marks_count: bool,
    /// The log is dropped only up to what the engine has durably applied (section 3).
    pub logs_wait_for_flush: bool,
    /// A commit is acknowledged when its timestamp is known to be issued (section 8).
    pub commits_wait_for_oracle: bool,
    /// Locks that were lost with their leader are noticed at the commit (section 10).
    pub lost_locks_are_noticed: bool,
}

impl Rules {
    /// All of them.
    pub const ALL: Rules = Rules {
        reads_are_remembered: true,
        reads_are_verified: true,
        reads_wait_for_commands: true,
        reads_wait_for_locks: true,
        leaders_begin_with_reads: true,
        leases_are_checked_after: true,
        oracle_bounds_are_replicated: true,
        rollback_marks_count: true,
        logs_wait_for_flush: true,
        commits_wait_for_oracle: true,
        lost_locks_are_noticed: true,
    };
}

impl Default for Rules {
    fn default() -> Self {
        Rules::ALL
    }
}
