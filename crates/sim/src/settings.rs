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
