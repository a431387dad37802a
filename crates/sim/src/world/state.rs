//! Everything there is at one moment, and the queue of what comes next.
//!
//! No future is polled and no client of a node is called under the lock that guards this: what needs
//! that leaves as an [`Outside`].

use std::collections::BTreeMap;

use base::{NodeId, RangeId};
use kv::Db;
use proto::kv as msg;
use range::{Effect, NewRange};

use super::errands::Errand;
use super::net::{Links, Packet};
use super::node::{Node, Process};
use crate::rng::Rng;
use crate::settings::Settings;
use crate::tally::Deeds;
use crate::trace::Trace;

/// Microseconds of the world's own clock.
pub type Micros = u64;

/// One life of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    pub(crate) node: usize,
    pub(crate) incarnation: u64,
}

/// One replica object of one life of a node: a later one of the same range is another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub owner: Owner,
    pub range: RangeId,
    pub cell: u64,
}

pub(crate) enum Event {
    Deliver {
        from: usize,
        to: usize,
        packet: Packet,
    },
    /// The store loop takes what is in its queue.
    Turn(Owner),
    /// The log is durable.
    Synced(Owner),
    Tick(Owner),
    Liveness(Owner),
    Maintenance(Owner),
    /// Effects of a call during which the process was paused.
    CarryOut(Place, Vec<Effect>),
    /// The new ranges of a split are to be opened.
    Created(Place, Vec<NewRange>),
    Errand(Place, Errand),
    Notice(Owner, msg::WaitNotice),
    Probe(Owner, msg::Probe),
    /// A call whose answer will not come.
    CallBroken(Owner, u64),
    SnapshotSent {
        place: Place,
        to: NodeId,
        arrived: bool,
    },
    Wake(std::task::Waker),
    Kill(usize),
    Start(usize),
}

impl Event {
    /// The process that it happens in, if it does in one.
    fn owner(&self) -> Option<Owner> {
        match self {
            Event::Turn(owner)
            | Event::Synced(owner)
            | Event::Tick(owner)
            | Event::Liveness(owner)
            | Event::Maintenance(owner)
            | Event::Notice(owner, _)
            | Event::Probe(owner, _)
            | Event::CallBroken(owner, _) => Some(*owner),
            Event::CarryOut(place, _) | Event::Created(place, _) | Event::Errand(place, _) => {
                Some(place.owner)
            }
            Event::SnapshotSent { place, .. } => Some(place.owner),
            Event::Deliver { .. } | Event::Wake(_) | Event::Kill(_) | Event::Start(_) => None,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Event::Deliver { packet, .. } => packet.name(),
            Event::Turn(_) => "turn",
            Event::Synced(_) => "synced",
            Event::Tick(_) => "tick",
            Event::Liveness(_) => "liveness",
            Event::Maintenance(_) => "maintenance",
            Event::CarryOut(..) => "carry out",
            Event::Created(..) => "created",
            Event::Errand(_, errand) => errand.name(),
            Event::Notice(..) => "notice",
            Event::Probe(..) => "probe",
            Event::CallBroken(..) => "call broken",
            Event::SnapshotSent { .. } => "snapshot sent",
            Event::Wake(_) => "wake",
            Event::Kill(_) => "kill",
            Event::Start(_) => "start",
        }
    }
}

/// What is to be done without the lock.
pub(crate) enum Outside {
    Errand(Db, Place, Errand),
    Notice(Db, msg::WaitNotice),
    Probe(Db, msg::Probe),
    /// What a node tells about itself.
    Inspect {
        db: Db,
        owner: Owner,
        caller: Owner,
        id: u64,
        inspect: msg::Inspect,
    },
    Wake(std::task::Waker),
    /// A process has ended: its tasks and its client go.
    Ended(Owner, Box<Process>),
    /// A process has begun: it needs a client.
    Begun(Owner),
}

/// The world at one moment.
pub(crate) struct State {
    pub now: Micros,
    pub settings: Settings,
    pub rng: Rng,
    pub trace: Trace,
    pub nodes: Vec<Node>,
    pub links: Links,
    pub trap: Option<crate::fault::Trap>,
    /// What should not have happened.
    pub failures: Vec<String>,
    pub touched: u64,
    /// Of processes that have ended.
    pub deeds: Deeds,
    events: BTreeMap<(Micros, u64), Event>,
    sequence: u64,
}

impl State {
    pub(crate) fn new(settings: Settings) -> Self {
        let mut rng = Rng::new(settings.seed);
        let nodes = (0..settings.nodes).map(|index| Node::new(index, &mut rng)).collect();
        State {
            now: 1_000_000,
            links: Links::new(settings.network),
            rng,
            trace: Trace::new(),
            nodes,
            trap: None,
            failures: Vec::new(),
            touched: 0,
            deeds: Deeds::default(),
            events: BTreeMap::new(),
            sequence: 0,
            settings,
        }
    }

    pub(crate) fn at(&mut self, when: Micros, event: Event) {
        self.sequence += 1;
        self.events.insert((when.max(self.now), self.sequence), event);
    }

    pub(crate) fn after(&mut self, delay: Micros, event: Event) {
        self.at(self.now + delay, event);
    }

    /// What a process was in the middle of when it was paused, it does now, before all else.
    pub(crate) fn hasten(&mut self, node: usize) {
        let due = self.events.iter().filter(|((at, _), event)| {
            *at > self.now && matches!(event, Event::CarryOut(place, _) if place.owner.node == node)
        });
        let due: Vec<(Micros, u64)> = due.map(|(key, _)| *key).collect();
        for key in due {
            let event = self.events.remove(&key).expect("just found");
            self.events.insert((self.now, key.1), event);
        }
    }

    /// When the next event is.
    pub(crate) fn next_at(&self) -> Option<Micros> {
        self.events.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes what was still to come.
    pub(crate) fn take_events(&mut self) -> BTreeMap<(Micros, u64), Event> {
        std::mem::take(&mut self.events)
    }

    pub(crate) fn fail(&mut self, what: String) {
        self.trace.say(self.now, || format!("FAILURE {what}"));
        self.failures.push(what);
    }

    pub(crate) fn alive(&self, owner: Owner) -> bool {
        let node = &self.nodes[owner.node];
        let powered = !node.power.has_failed();
        powered && node.process.is_some() && node.incarnation == owner.incarnation
    }

    /// Ends a process that has written something without power.
    pub(crate) fn end_without_power(&mut self) -> Option<Outside> {
        let node = self.nodes.iter().position(|node| node.power.has_failed())?;
        self.trace.note(self.now, "power failed", &[node as u64], &[]);
        match self.nodes[node].process {
            Some(_) => self.kill(node),
            None => {
                self.nodes[node].power.restore();
                None
            }
        }
    }

    /// The client of a process, while it lives.
    pub(crate) fn db_of(&self, owner: Owner) -> Option<Db> {
        if !self.alive(owner) {
            return None;
        }
        self.nodes[owner.node].process.as_ref()?.db.clone()
    }

    /// Lets the next event happen.
    pub(crate) fn step(&mut self) -> Option<Outside> {
        let ((at, _), event) = self.events.pop_first()?;
        self.now = at;
        if let Some(owner) = event.owner() {
            if !self.alive(owner) {
                return None;
            }
            let paused = self.nodes[owner.node].paused_until;
            if paused > at {
                self.at(paused, event);
                return None;
            }
        }
        let numbers = match event.owner() {
            Some(owner) => [owner.node as u64, owner.incarnation],
            None => [u64::MAX, 0],
        };
        if !matches!(event, Event::Deliver { .. } | Event::Wake(_)) {
            self.trace.note(at, event.name(), &numbers, &[]);
        }
        self.happen(event)
    }

    fn happen(&mut self, event: Event) -> Option<Outside> {
        match event {
            Event::Deliver { from, to, packet } => return self.deliver(from, to, packet),
            Event::Turn(owner) => self.turn(owner),
            Event::Synced(owner) => self.synced(owner),
            Event::Tick(owner) => self.tick(owner),
            Event::Liveness(owner) => self.exchange_liveness(owner),
            Event::Maintenance(owner) => self.maintenance(owner),
            Event::CarryOut(place, effects) => self.carry_out(place, effects),
            Event::Created(place, created) => self.created(place, created),
            Event::Errand(place, errand) => {
                return Some(Outside::Errand(self.db_of(place.owner)?, place, errand));
            }
            Event::Notice(owner, notice) => {
                return Some(Outside::Notice(self.db_of(owner)?, notice));
            }
            Event::Probe(owner, probe) => return Some(Outside::Probe(self.db_of(owner)?, probe)),
            Event::CallBroken(owner, id) => self.call_broken(owner, id),
            Event::SnapshotSent { place, to, arrived } => {
                self.touch(place, |replica, ctx, out| replica.snapshot_sent(ctx, to, arrived, out));
            }
            Event::Wake(waker) => return Some(Outside::Wake(waker)),
            Event::Kill(node) => return self.kill(node),
            Event::Start(node) => return self.start(node),
        }
        None
    }
}
