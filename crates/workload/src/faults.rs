//! What goes wrong while clients work: one thing at a time, and each ends.
//!
//! | fault | begins | ends |
//! |---|---|---|
//! | kill | SIGKILL | started again, serves |
//! | pause | SIGSTOP | SIGCONT |
//! | partition | a node from all others, or one way, or one pair; by reset or in silence | all talk again |
//! | clock | a wall clock jumps by hours | never: the next jump is from there |

use std::time::Duration;

use clap::ValueEnum;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::cluster::Cluster;
use crate::error::CheckError;
use crate::proxy::Cuts;
use crate::timeline::Timeline;

/// Faults by their names on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum FaultKind {
    /// kill -9 of a node, and its start again.
    Kill,
    /// SIGSTOP of a node, and SIGCONT.
    Pause,
    /// Connections between nodes are cut.
    Partition,
    /// A node's wall clock jumps by hours.
    Clock,
}

/// Makes one fault after another until it is dropped.
pub(crate) struct Nemesis {
    kinds: Vec<FaultKind>,
    rng: StdRng,
    timeline: Timeline,
    /// How long a fault lasts.
    hold: Duration,
    /// Time after it in which all is well.
    rest: Duration,
    next: usize,
}

impl Nemesis {
    pub(crate) fn new(kinds: &[FaultKind], seed: u64, every: Duration, timeline: Timeline) -> Self {
        let hold = (every / 2).min(Duration::from_secs(8));
        let rng = StdRng::seed_from_u64(seed);
        Nemesis { kinds: kinds.to_vec(), rng, timeline, hold, rest: every - hold, next: 0 }
    }

    /// One fault, healed, and the rest after it. `still` says whether there is time for one.
    pub(crate) async fn run(
        &mut self,
        cluster: &mut Cluster,
        still: impl Fn(Duration) -> bool,
    ) -> Result<(), CheckError> {
        // Some normal seconds first, to compare with.
        tokio::time::sleep(self.rest).await;
        while still(self.hold) {
            let kind = self.kinds[self.next % self.kinds.len()];
            self.next += 1;
            let node = self.rng.random_range(0..cluster.nodes());
            self.one(kind, node, cluster).await?;
            tokio::time::sleep(self.rest).await;
        }
        Ok(())
    }

    async fn one(
        &mut self,
        kind: FaultKind,
        node: usize,
        cluster: &mut Cluster,
    ) -> Result<(), CheckError> {
        let name = node + 1;
        match kind {
            FaultKind::Kill => {
                let event = self.timeline.begin(format!("kill n{name}"), vec![node]);
                cluster.kill(node)?;
                tokio::time::sleep(self.hold).await;
                cluster.restart(node).await?;
                self.timeline.end(event);
            }
            FaultKind::Pause => {
                let event = self.timeline.begin(format!("pause n{name}"), vec![node]);
                cluster.pause(node, true)?;
                tokio::time::sleep(self.hold).await;
                cluster.pause(node, false)?;
                self.timeline.end(event);
            }
            FaultKind::Partition => {
                let (text, cuts) = self.partition(node, cluster.nodes());
                let event = self.timeline.begin(text, vec![node]);
                cluster.cut(cuts)?;
                tokio::time::sleep(self.hold).await;
                cluster.cut(Cuts::default())?;
                self.timeline.end(event);
            }
            FaultKind::Clock => {
                let hours: i64 = self.rng.random_range(-48..=48);
                let text = format!("clock of n{name} {hours:+} h");
                let event = self.timeline.begin(text, Vec::new());
                cluster.set_clock(node, hours * 3_600_000)?;
                tokio::time::sleep(self.hold).await;
                self.timeline.end(event);
            }
        }
        Ok(())
    }

    fn partition(&mut self, node: usize, nodes: usize) -> (String, Cuts) {
        let others: Vec<usize> = (0..nodes).filter(|&other| other != node).collect();
        let name = node + 1;
        let mut cuts = Cuts::default();
        let text = match self.rng.random_range(0..4) {
            0 => {
                cuts.severed.extend(others.iter().map(|&other| (node, other)));
                format!("n{name} cut off")
            }
            1 => {
                cuts.silent.extend(others.iter().flat_map(|&o| [(node, o), (o, node)]));
                format!("n{name} cut off in silence")
            }
            2 => {
                cuts.silent.extend(others.iter().map(|&other| (node, other)));
                format!("n{name} hears and is not heard")
            }
            _ => {
                let other = others[self.rng.random_range(0..others.len())];
                cuts.severed.insert((node, other));
                format!("n{name} and n{} cut apart", other + 1)
            }
        };
        (text, cuts)
    }
}
