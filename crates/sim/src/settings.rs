//! What a world is made of.

use std::sync::Arc;

/// Delays and faults of the network. Times in microseconds, chances out of a million.
#[derive(Debug, Clone, Copy)]
pub struct Network {
    /// The shortest time on the way.
    pub delay_min: u64,
    /// The longest, but for spikes.
    pub delay_max: u64,
    /// Lost.
    pub loss: u64,
    /// Delivered twice, the second time late.
    pub duplicate: u64,
    /// Held up for up to two seconds, so that later ones overtake.
    pub straggler: u64,
}

impl Network {
    /// A good one.
    pub const CALM: Network =
        Network { delay_min: 200, delay_max: 1_500, loss: 0, duplicate: 0, straggler: 0 };
    /// One with every fault.
    pub const ROUGH: Network = Network {
        delay_min: 200,
        delay_max: 4_000,
        loss: 5_000,
        duplicate: 10_000,
        straggler: 2_000,
    };
}

/// What whoever drives replicas owes them (`node::store`), each with a switch, as [`txn::Rules`] has for
/// what they do by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Duties {
    /// The log is synced before anything is promised on the strength of it.
    pub syncs_first: bool,
    /// A process that ran before says so, and keeps from voting while its promises may last
    /// (`consensus::liveness`, P5).
    pub restarts_abstain: bool,
}

impl Duties {
    /// All of them.
    pub const ALL: Duties = Duties { syncs_first: true, restarts_abstain: true };
}

/// How long the past is kept, in milliseconds of the oracle: `node::store::garbage`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Versions.
    pub ttl_ms: u64,
    /// Records of transactions; they are kept for as long as versions at least.
    pub records_ttl_ms: u64,
    /// How much longer open snapshots keep versions.
    pub hold_max_ms: u64,
}

/// What a world is made of.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Decides everything that is left to chance.
    pub seed: u64,
    /// Nodes. The first three hold the first ranges.
    pub nodes: usize,
    /// The network.
    pub network: Network,
    /// Replicas of a range.
    pub copies: usize,
    /// A node whose disk was silent so long is replaced, in milliseconds.
    pub dead_after_ms: u64,
    /// The engine is flushed at a maintenance turn in so many of a million cases.
    pub flush_chance: u64,
    /// Deadlock probes are delivered.
    pub probes: bool,
    /// Nodes tell each other what they close so often, in milliseconds.
    pub close_every_ms: u64,
    /// The past is collected; if not, it is kept for ever.
    pub retention: Option<Retention>,
    /// What is done for replicas.
    pub duties: Duties,
    /// The replicas'.
    pub range: Arc<range::Config>,
    /// The coordinators'.
    pub kv: kv::Config,
}

impl Settings {
    /// Three nodes and a calm network.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let range = range::Config {
            log_entries_kept: 20,
            log_entries_min: 16,
            truncate_ticks: 10,
            eval: range::eval::Config {
                // Promises meet writes that way.
                close_lag_ms: 500,
                ..range::eval::Config::default()
            },
            ..range::Config::default()
        };
        Settings {
            seed,
            nodes: 3,
            network: Network::CALM,
            copies: 3,
            dead_after_ms: 300_000,
            flush_chance: 200_000,
            probes: true,
            close_every_ms: 300,
            retention: None,
            duties: Duties::ALL,
            range: Arc::new(range),
            kv: kv::Config::default(),
        }
    }

    /// Keeps these rules only.
    pub fn set_rules(&mut self, rules: txn::Rules) {
        self.kv.rules = rules;
        Arc::make_mut(&mut self.range).eval.rules = rules;
    }
}
