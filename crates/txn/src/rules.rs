//! The rules on which safety rests, each with a switch: for simulations that show that the checkers notice
//! when one is broken. Nothing but such a test ever changes them.

/// What is done; all of it, unless a simulation says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// A read raises the read-timestamp cache (docs/transactions.md, section 5).
    pub reads_are_remembered: bool,
    /// What a transaction has read is verified up to its commit timestamp (section 8).
    pub reads_are_verified: bool,
    /// What was verified counts as read up to there (section 8).
    pub verified_reads_are_remembered: bool,
    /// Where the timestamp up to which reads were verified can't be had, nothing is placed (section 8).
    pub commits_land_where_verified: bool,
    /// A read waits for commands in flight that could commit at or below its timestamp (section 5).
    pub reads_wait_for_commands: bool,
    /// A read waits for replicated locks that could commit at or below its timestamp (section 5).
    pub reads_wait_for_locks: bool,
    /// A new leader takes for read whatever lies below a fresh timestamp (section 4).
    pub leaders_begin_with_reads: bool,
    /// Who leads answers under a lease, not on the strength of Raft's leadership alone (sections 2 and 5).
    /// One switch for both looks at it, before a request is taken and after it was evaluated: without
    /// the second alone nothing goes wrong that any seed could show. What was admitted under the lease
    /// reads at a timestamp drawn before, and later leaders write above one that is drawn after; to be
    /// paused then is to have the answer delayed.
    pub leases_are_checked: bool,
    /// The oracle issues nothing above a bound that is replicated (section 2).
    pub oracle_bounds_are_replicated: bool,
    /// A rollback mark stops a late prewrite, and a late commit (section 9).
    pub rollback_marks_count: bool,
    /// Readers push plain two-phase commits only: the locks of a parallel one may be the decision already
    /// (section 5).
    pub parallel_commits_are_not_pushed: bool,
    /// A parallel commit without a sign of life is rolled back only if a key lacks its lock (section 9).
    pub parallel_commits_are_recovered: bool,
    /// A plain two-phase commit is acknowledged when its record is written (section 8).
    pub records_decide: bool,
    /// The log is dropped only up to what the engine has durably applied (section 3).
    pub logs_wait_for_flush: bool,
    /// A commit is acknowledged when its timestamp is known to be issued (section 8).
    pub commits_wait_for_oracle: bool,
    /// Locks that were lost with their leader are noticed at the commit (section 10).
    pub lost_locks_are_noticed: bool,
    /// Nothing is placed at or below a closed timestamp (`range::closed`, T3).
    pub closed_is_closed: bool,
    /// A timestamp is closed only above what commands in flight will place (`range::closed`, T3).
    pub closing_waits_for_commands: bool,
    /// A follower takes a timestamp for closed when it has applied the log that far (`range::closed`).
    pub followers_wait_for_the_log: bool,
    /// A read below what was collected is refused (section 11).
    pub collected_reads_are_refused: bool,
    /// A write of a transaction older than what was collected is refused (section 9).
    pub collected_writes_are_refused: bool,
}

impl Rules {
    /// All of them.
    pub const ALL: Rules = Rules {
        reads_are_remembered: true,
        reads_are_verified: true,
        verified_reads_are_remembered: true,
        commits_land_where_verified: true,
        reads_wait_for_commands: true,
        reads_wait_for_locks: true,
        leaders_begin_with_reads: true,
        leases_are_checked: true,
        oracle_bounds_are_replicated: true,
        rollback_marks_count: true,
        parallel_commits_are_not_pushed: true,
        parallel_commits_are_recovered: true,
        records_decide: true,
        logs_wait_for_flush: true,
        commits_wait_for_oracle: true,
        lost_locks_are_noticed: true,
        closed_is_closed: true,
        closing_waits_for_commands: true,
        followers_wait_for_the_log: true,
        collected_reads_are_refused: true,
        collected_writes_are_refused: true,
    };
}

impl Default for Rules {
    fn default() -> Self {
        Rules::ALL
    }
}
