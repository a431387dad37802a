//! A whole run: a world, a workload, a nemesis, and what is wrong in the end.

use kv::Isolation;
use txn::Rules;

use crate::workload::mixed::{Kind, Mixed};
use crate::workload::sweep;
use crate::{Duties, Micros, Nemesis, Network, Retention, Rng, Settings, Tally, World};

const SECOND: Micros = 1_000_000;

/// What to run.
#[derive(Debug, Clone)]
pub struct Run {
    /// From which everything follows.
    pub seed: u64,
    /// What transactions do.
    pub kind: Kind,
    /// At which level.
    pub level: Isolation,
    /// What goes wrong; by default everything.
    pub nemesis: Option<Nemesis>,
    /// For how long.
    pub torment: Micros,
    /// Nodes; by default three to five.
    pub nodes: Option<usize>,
    /// The network.
    pub network: Network,
    /// The rules that are kept.
    pub rules: Rules,
    /// What is done for replicas.
    pub duties: Duties,
    /// What else is unlike other runs.
    pub tweak: fn(&mut Settings),
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Verdict {
    /// What should not be.
    pub wrong: Vec<String>,
    /// What was done.
    pub tally: Tally,
    /// Stands for all that happened.
    pub digest: (u64, u64),
}

impl Run {
    /// With every fault.
    #[must_use]
    pub fn new(seed: u64, kind: Kind, level: Isolation) -> Self {
        Run {
            seed,
            kind,
            level,
            nemesis: None,
            torment: 10 * SECOND,
            nodes: None,
            network: Network::ROUGH,
            rules: Rules::ALL,
            duties: Duties::ALL,
            tweak: |_| {},
        }
    }

    /// The world in which it happens.
    #[must_use]
    pub fn settings(&self, rng: &mut Rng) -> Settings {
        let mut settings = Settings::new(self.seed);
        settings.nodes = self.nodes.unwrap_or(3 + rng.index(3));
        settings.network = self.network;
        settings.retention = match rng.below(3) {
            0 => None,
            1 => Some(Retention { ttl_ms: 1_500, records_ttl_ms: 2_500, hold_max_ms: 3_000 }),
            _ => Some(Retention { ttl_ms: 4_000, records_ttl_ms: 4_000, hold_max_ms: 4_000 }),
        };
        if rng.chance(250_000) {
            // Commits over several ranges are plain two-phase ones.
            settings.kv.parallel_commit_keys = 1;
        }
        settings.duties = self.duties;
        (self.tweak)(&mut settings);
        settings.set_rules(self.rules);
        settings
    }

    /// Runs it.
    #[must_use]
    pub fn go(&self) -> Verdict {
        let mut rng = Rng::new(self.seed);
        let mut world = World::new(self.settings(&mut rng));
        let calm = 8 * SECOND;
        let micros = self.torment + calm;
        let mixed = Mixed { kind: self.kind, level: self.level, clients: 6, micros };
        let record = mixed.start(&mut world);
        let rows = mixed.rows();
        let nemesis = self.nemesis.clone().unwrap_or_else(|| Nemesis::drawn(&mut rng, rows));
        let struck = nemesis.run(&mut world, &mut rng, self.torment);
        world.set_network(Network::CALM);
        let healed = world.now();
        world.run_for(calm + SECOND);
        let mut wrong = mixed.finish(&mut world, &record);
        wrong.extend(world.failures());
        let record = record.lock();
        // Leases run out, and restarted nodes abstain, for two seconds.
        let progress = self.kind == Kind::Ids || record.last_commit > healed + 5 * SECOND;
        if !progress {
            wrong.push("nothing was committed when all was well again".to_owned());
        }
        let tally = Tally::of(&record.history, struck, world.deeds());
        drop(record);
        if !sweep(&mut world, mixed.rows()) {
            wrong.push(format!("locks are left: {:?}", world.locks()));
        }
        world.check_invariants();
        let digest = world.digest();
        Verdict { wrong, tally, digest }
    }
}
