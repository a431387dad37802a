//! Which nodes may be trusted to lead, without a heartbeat per range; and why leases are exclusive.
//!
//! Node L asks each peer for support every [`LivenessConfig::ask_every_us`]. A peer V that answers
//! promises to support L for [`LivenessConfig::promise_us`] of *its own* clock, from the receipt of
//! the request. L counts the promise for [`LivenessConfig::lease_us`] of its clock, *from when it
//! sent the request*: that is earlier, and shorter, so L's view ends before V's promise does as
//! long as the two clocks' rates differ by less than `promise / lease` (a tenth). Offsets of clocks
//! mean nothing.
//!
//! ```text
//!   L  ask(t)──┐            ┌──▶ supported under epoch e until t + lease
//!              │            │
//!   V          └─▶ promise ─┘    keeps it until receipt + promise; then the epoch is over for ever
//! ```
//!
//! A promise that lapsed is never revived: the next request begins a new epoch. Epochs are unique
//! over all lives of V (`incarnation << 32 | counter`).
//!
//! # Leases
//!
//! A follower V in some group answers the messages of its leader L. While V supports L under epoch
//! e, each answer carries e, and V remembers the *pledge* (L, e) for the group. As long as
//! its promise under e is in force, V
//!
//! * **P1** does not campaign in that group by itself,
//! * **P2** drops vote and pre-vote requests of others than L, and any other message that would
//!   raise its term; but it obeys a leader of a higher term (append, heartbeat, snapshot,
//!   `MsgTimeoutNow`) and votes when the request says that a leader handed over
//!   (`CampaignTransfer`).
//!
//! L, leader at term T, holds the lease of the group at time t of its clock if
//!
//! * **P3** a quorum of voters (of both halves of a joint configuration), L itself included,
//!   answered it at term T under an epoch that is still the newest L knows of them, and their
//!   support under that epoch lasts past t; and
//! * **P4** L has not begun to hand over its leadership at term T. Once it has, term T never holds
//!   a lease again, even if the transfer is given up: `MsgTimeoutNow` may still be under way.
//!
//! **P5** A node that restarts has forgotten its pledges: for one promise duration it neither
//! grants votes nor campaigns, unless it is the only voter. (A later incarnation of L ends L's
//! epochs at once: the earlier process, which led, is dead.)
//!
//! # Why two leases never overlap
//!
//! *Claim:* while L holds a lease of term T, nobody has won an election at a higher term. Suppose
//! otherwise, and let C at T' > T be the first such win. Its voters and L's lease quorum share a
//! voter V. (Configurations that can be in force at the same time are the same or adjacent: a
//! leader proposes a change only after applying the one before, and a node does not campaign over
//! unapplied changes; so quorums intersect.) V answered L at term T, so before it voted at T'. When
//! it voted:
//!
//! 1. V was not restarted since its answer, or its promise has run out by P5: the lease, which ends
//!    earlier, is over.
//! 2. So V's epoch e is in force (the lease has not ended, and V's promise ends later), and V's
//!    pledge is still (L, e): another pledge needs another leader at a term above T, before the
//!    first.
//! 3. By P1 and P2 V voted for a candidate that a leader handed over to, with `CampaignTransfer`.
//!    That leader sent `MsgTimeoutNow` at term T' - 1 >= T. If T' - 1 > T then a leader above T was
//!    elected before C. If T' - 1 = T it was L, and L had given up its lease before sending (P4).
//!    Or V voted for L's own request: then L was no longer leader at T. Contradiction.
//!
//! A lease of term T' begins after its election, so after all leases of lower terms are over. Two
//! leases of one term would be two leaders of one term, which Raft excludes. ∎
//!
//! A pledge may outlive the leadership it was given to: L steps down while its node lives on. It
//! ends when L asks for votes at a later term, says that it leads no more, or V hears of a later
//! leader; a V that is barred and knows of no leader asks L.
//!
//! What V does when its promise lapses is decided only in [`Liveness::tick`] and
//! [`Liveness::on_message`], which take `&mut`: no thread can see a promise as over that another
//! then extends.
//!
//! Test: `tests/lease.rs`.

use std::collections::BTreeMap;

use base::NodeId;
use proto::node;

/// Names one uninterrupted stretch of support by one node. Zero is none.
pub type Epoch = u64;

/// Durations, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LivenessConfig {
    /// How long a promise holds, by the clock of who gave it.
    pub promise_us: u64,
    /// How long it is counted on, by the clock of who received it.
    pub lease_us: u64,
    /// How often support is asked for.
    pub ask_every_us: u64,
}

impl Default for LivenessConfig {
    fn default() -> Self {
        LivenessConfig { promise_us: 2_000_000, lease_us: 1_800_000, ask_every_us: 400_000 }
    }
}

/// The promises between this node and its peers.
#[derive(Debug)]
pub struct Liveness {
    me: NodeId,
    incarnation: u64,
    config: LivenessConfig,
    /// No vote before this (P5).
    abstain_until: u64,
    epochs: u32,
    last_asked: u64,
    withdrawn: bool,
    peers: BTreeMap<NodeId, Peer>,
}

#[derive(Debug, Default)]
struct Peer {
    /// The newest incarnation of the peer that was heard of.
    incarnation: u64,
    /// The promise to the peer, while it is in force.
    given: Option<Given>,
    /// The peer's newest promise to this node.
    received: Received,
    asked_at: u64,
}

#[derive(Debug, Clone, Copy)]
struct Given {
    epoch: Epoch,
    until: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Received {
    epoch: Epoch,
    until: u64,
}

impl Liveness {
    /// For a process that starts at `now`. `fresh` says that this node has never run before, so
    /// that it can't have promised anything.
    #[must_use]
    pub fn new(
        me: NodeId,
        incarnation: u64,
        now: u64,
        config: LivenessConfig,
        fresh: bool,
    ) -> Self {
        assert!(config.lease_us < config.promise_us, "a lease must end before the promise");
        let abstain_until = if fresh { 0 } else { now + config.promise_us };
        Liveness {
            me,
            incarnation,
            config,
            abstain_until,
            epochs: 0,
            last_asked: 0,
            withdrawn: false,
            peers: BTreeMap::new(),
        }
    }

    /// Whom to ask. Nodes not named are not asked any more; promises given to them hold.
    pub fn set_peers(&mut self, nodes: impl IntoIterator<Item = NodeId>) {
        for node in nodes {
            if node != self.me {
                self.peers.entry(node).or_default();
            }
        }
    }

    /// Ends promises that ran out, and says which requests to send.
    pub fn tick(&mut self, now: u64) -> Vec<(NodeId, node::Liveness)> {
        let (withdrawn, every) = (self.withdrawn, self.config.ask_every_us);
        let mut asks = Vec::new();
        for (&id, peer) in &mut self.peers {
            if peer.given.is_some_and(|given| now >= given.until) {
                peer.given = None;
            }
            if !withdrawn && (peer.asked_at == 0 || now >= peer.asked_at + every) {
                peer.asked_at = now.max(1);
                let ask = node::Liveness { asked_at_us: peer.asked_at, ..Default::default() };
                self.last_asked = self.last_asked.max(peer.asked_at);
                asks.push((id, ask));
            }
        }
        asks
    }

    /// Takes a message of a peer's process; what comes back is to be sent to it.
    pub fn on_message(
        &mut self,
        now: u64,
        from: NodeId,
        incarnation: u64,
        message: &node::Liveness,
    ) -> Option<node::Liveness> {
        let peer = self.peers.entry(from).or_default();
        if incarnation < peer.incarnation {
            return None;
        }
        // The earlier process is dead, and what it led with it.
        if incarnation > peer.incarnation {
            peer.incarnation = incarnation;
            peer.given = None;
        }
        if message.withdraw {
            peer.given = None;
        }
        let ours = message.echo_incarnation == self.incarnation;
        if message.echo_us != 0 && ours && message.echo_us <= self.last_asked {
            let until = message.echo_us + self.config.lease_us;
            if message.support_epoch > peer.received.epoch {
                peer.received = Received { epoch: message.support_epoch, until };
            } else if message.support_epoch == peer.received.epoch {
                peer.received.until = peer.received.until.max(until);
            }
        }
        if message.asked_at_us == 0 {
            return None;
        }
        let epoch = match peer.given {
            Some(given) if now < given.until => given.epoch,
            _ => {
                self.epochs += 1;
                self.incarnation << 32 | u64::from(self.epochs)
            }
        };
        let until = now + self.config.promise_us;
        let until = peer.given.map_or(until, |given| given.until.max(until));
        peer.given = Some(Given { epoch, until });
        Some(node::Liveness {
            echo_us: message.asked_at_us,
            support_epoch: epoch,
            echo_incarnation: incarnation,
            ..Default::default()
        })
    }

    /// Gives up every lease of this node, for a shutdown. What comes back is to be sent to all
    /// peers, who need not wait for their promises to run out.
    pub fn withdraw(&mut self) -> node::Liveness {
        self.withdrawn = true;
        node::Liveness { withdraw: true, ..Default::default() }
    }

    /// The epoch under which this node supports another, while it does. It supports itself for
    /// ever.
    #[must_use]
    pub fn supports(&self, node: NodeId) -> Option<Epoch> {
        if node == self.me {
            return Some(0);
        }
        self.peers.get(&node)?.given.map(|given| given.epoch)
    }

    /// The newest support received from a node: its epoch and when it ends.
    #[must_use]
    pub fn supported_by(&self, node: NodeId) -> (Epoch, u64) {
        if self.withdrawn {
            return (0, 0);
        }
        self.peers.get(&node).map_or((0, 0), |p| (p.received.epoch, p.received.until))
    }

    /// Processes that have ended, as later ones run on their nodes: the last incarnation of each.
    pub fn ended(&self) -> impl Iterator<Item = (NodeId, u64)> + '_ {
        let peers = self.peers.iter().map(|(node, peer)| (*node, peer.incarnation));
        let all = peers.chain(std::iter::once((self.me, self.incarnation)));
        all.filter(|(_, now)| *now > 1).map(|(node, now)| (node, now - 1))
    }

    /// Whether a node answered lately.
    #[must_use]
    pub fn is_live(&self, node: NodeId, now: u64) -> bool {
        node == self.me || self.supported_by(node).1 > now
    }

    /// Whether this node must not vote yet (P5).
    #[must_use]
    pub fn abstains(&self, now: u64) -> bool {
        now < self.abstain_until
    }

    /// This node.
    #[must_use]
    pub fn me(&self) -> NodeId {
        self.me
    }

    /// The peers known.
    pub fn peers(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.peers.keys().copied()
    }

    /// Whether leadership was given up for a shutdown.
    #[must_use]
    pub fn is_withdrawn(&self) -> bool {
        self.withdrawn
    }
}
