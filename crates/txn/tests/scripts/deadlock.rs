//! Scripts of deadlock detection: three nodes whose probes are delivered at once, or by hand.

use std::collections::{BTreeMap, VecDeque};
use std::error::Error;
use std::fmt::Write as _;

use base::{NodeId, RangeId, TxnId};
use goldenscript::{Command, Context, Runner};
use txn::deadlock::{Blocker, Config, Detector, Edge, Effect, Probe};
use txn::lock_table::Strength;

use super::{key, next, owner, parse, run_all};

struct Nodes {
    now: u64,
    nodes: BTreeMap<NodeId, Detector>,
    over: Vec<TxnId>,
    sessions: Vec<Vec<TxnId>>,
    lossy: bool,
}

#[test]
fn deadlock() {
    run_all("deadlock", || Nodes {
        now: 0,
        nodes: (1..4)
            .map(|n| (NodeId(n), Detector::new(NodeId(n), 1, Config::default())))
            .collect(),
        over: Vec::new(),
        sessions: Vec::new(),
        lossy: false,
    });
}

impl Runner for Nodes {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String, Box<dyn Error>> {
        let mut args = command.consume_args();
        let mut out = String::new();
        match command.name.as_str() {
            // wait WAITER HOLDER... key=KEY [range=N]
            "wait" => {
                let waiter = owner(next(&mut args, "waiter")?)?;
                let at = key(args.take_key("key").unwrap_or("k"));
                let range = RangeId(parse(args.take_key("range").unwrap_or("1"))?);
                let mut blockers = Vec::new();
                while let Some(holder) = args.next_pos() {
                    blockers.push(Blocker {
                        holder: owner(holder)?,
                        key: at.clone(),
                        wish: Strength::Update,
                        held: Strength::Update,
                        waited: 0,
                    });
                }
                let family = self.family();
                let node = self.nodes.get_mut(&waiter.coordinator).ok_or("no such node")?;
                let effects = node.notice(self.now, waiter, range, blockers, &family);
                self.deliver(waiter.coordinator, effects, &mut out)?;
            }
            "wait_over" => {
                let waiter = owner(next(&mut args, "waiter")?)?;
                let range = RangeId(parse(args.take_key("range").unwrap_or("1"))?);
                let node = self.nodes.get_mut(&waiter.coordinator).ok_or("no such node")?;
                node.wait_over(waiter.txn, range);
            }
            // session TXN TXN...: they are of one session
            "session" => {
                let mut members = Vec::new();
                while let Some(member) = args.next_pos() {
                    members.push(owner(member)?.txn);
                }
                self.sessions.push(members);
            }
            // restart NODE: a new process, which knows nothing of the old one's transactions
            "restart" => {
                let node = NodeId(parse(next(&mut args, "node")?.trim_start_matches('n'))?);
                self.nodes.insert(node, Detector::new(node, 2, Config::default()));
            }
            "over" => self.over.push(owner(next(&mut args, "transaction")?)?.txn),
            "advance" => self.now += parse::<u64>(next(&mut args, "milliseconds")?)? * 1000,
            "lose_probes" => self.lossy = true,
            other => return Err(format!("unknown command {other}").into()),
        }
        args.reject_next()?;
        Ok(out)
    }
}

impl Nodes {
    fn family(&self) -> impl Fn(TxnId) -> Vec<TxnId> + use<> {
        let (over, sessions) = (self.over.clone(), self.sessions.clone());
        move |txn| {
            if over.contains(&txn) {
                return Vec::new();
            }
            sessions.iter().find(|s| s.contains(&txn)).cloned().unwrap_or_else(|| vec![txn])
        }
    }

    fn deliver(
        &mut self,
        from: NodeId,
        effects: Vec<Effect>,
        out: &mut String,
    ) -> Result<(), Box<dyn Error>> {
        let mut queue: VecDeque<(NodeId, Effect)> =
            effects.into_iter().map(|e| (from, e)).collect();
        while let Some((at, effect)) = queue.pop_front() {
            match effect {
                Effect::Send(probe) => {
                    let to = probe.target.coordinator;
                    writeln!(out, "{at} to {to}: {}", shown(&probe))?;
                    if self.lossy && !probe.wound {
                        continue;
                    }
                    let family = self.family();
                    let node = self.nodes.get_mut(&to).ok_or("no such node")?;
                    let more = node.probe(self.now, probe, &family);
                    queue.extend(more.into_iter().map(|e| (to, e)));
                }
                Effect::Victim { txn, cycle } => {
                    writeln!(out, "{at}: {txn} must go, {}", path(&cycle))?;
                }
                Effect::Orphan { owner, key } => {
                    writeln!(out, "{at}: {} holds {key} and is over", owner.txn)?;
                }
            }
        }
        Ok(())
    }
}

fn shown(probe: &Probe) -> String {
    let kind = if probe.wound { "wound" } else { "probe" };
    format!("{kind} {} about {}, {}", probe.target.txn, probe.origin.txn, path(&probe.path))
}

fn path(edges: &[Edge]) -> String {
    let edges: Vec<String> =
        edges.iter().map(|e| format!("{} waits for {}", e.waiter.txn, e.holder.txn)).collect();
    edges.join(", ")
}
