//! The directory follows splits in any order of news; the oracle survives leaders and clocks; the
//! planner brings any cluster to where it wants nothing more.

use std::collections::BTreeMap;

use base::{NodeId, RangeId, Timestamp};
use meta::planner::{Goal, NodeView, RangeView, Step, plan};
use meta::{Demand, Directory, Draw, Oracle, SystemState, Wish};
use proptest::prelude::*;
use proto::meta::allocate_ids::Kind;
use proto::meta::system_command::Command;
use proto::meta::system_query::Query;
use proto::meta::system_result::Result as Outcome;
use proto::meta::{
    AllocateIds, NodeDescriptor, PublishRanges, RaiseOracleBound, RangeDescriptor, RegisterNode,
    Replica, SystemCommand, SystemQuery,
};
use storage::{Engine, MemEngine, WriteBatch};

fn range(id: u64, start: &str, end: &str, generation: u64, nodes: &[u64]) -> RangeDescriptor {
    RangeDescriptor {
        range_id: id,
        start: start.to_owned().into(),
        end: end.to_owned().into(),
        generation,
        replicas: nodes.iter().map(|&n| Replica { node_id: n, learner: false }).collect(),
    }
}

fn ids(directory: &Directory) -> Vec<(u64, String, String)> {
    directory
        .iter()
        .map(|d| {
            let text = |b: &[u8]| String::from_utf8(b.to_vec()).expect("text");
            (d.range_id, text(&d.start), text(&d.end))
        })
        .collect()
}

#[test]
fn a_late_descriptor_from_before_a_split_changes_nothing() {
    let mut directory = Directory::default();
    directory.publish(&range(2, "", "", 1, &[1]));
    directory.publish(&range(2, "", "m", 2, &[1]));
    directory.publish(&range(3, "m", "", 2, &[1]));
    let before = directory.clone();
    directory.publish(&range(2, "", "", 1, &[1]));
    assert_eq!(directory, before);
    assert_eq!(directory.lookup(b"z").map(RangeDescriptor::id), Some(RangeId(3)));
}

#[test]
fn the_right_half_of_a_split_may_be_heard_of_first() {
    let mut directory = Directory::default();
    directory.publish(&range(2, "", "", 1, &[1]));
    directory.publish(&range(3, "m", "", 2, &[1]));
    assert_eq!(
        ids(&directory),
        [(2, String::new(), "m".to_owned()), (3, "m".to_owned(), String::new())]
    );
    directory.publish(&range(2, "", "m", 2, &[1]));
    assert_eq!(directory.get(RangeId(2)).map(|d| d.generation), Some(2));
}

proptest! {
    /// Any order and repetition of the descriptors of a history of splits leads to its end.
    #[test]
    fn news_in_any_order_leads_to_the_same_directory(
        splits in prop::collection::vec((0usize..8, 1u8..255), 1..12),
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
    ) {
        let mut now = vec![range(2, "", "", 1, &[1])];
        let mut news = now.clone();
        for (n, (which, at)) in splits.into_iter().enumerate() {
            let at = vec![at];
            let old = now[which % now.len()].clone();
            let inside = old.start.as_ref() < &at[..] && (old.end.is_empty() || &at[..] < old.end.as_ref());
            if !inside { continue; }
            let index = which % now.len();
            let (mut left, mut right) = (old.clone(), old.clone());
            left.end = at.clone().into();
            left.generation += 1;
            right.start = at.into();
            right.range_id = 3 + n as u64;
            right.generation += 1;
            news.extend([left.clone(), right.clone()]);
            now[index] = left;
            now.push(right);
        }
        let mut directory = Directory::default();
        for index in order {
            directory.publish(&news[index.index(news.len())]);
        }
        for last in &news {
            directory.publish(last);
            directory.check_invariants();
        }
        now.sort_by(|a, b| a.start.cmp(&b.start));
        prop_assert_eq!(directory.iter().cloned().collect::<Vec<_>>(), now);
    }

    /// O1 to O3, over leaders that come and go, bounds that get lost, and a clock that jumps.
    #[test]
    fn numbers_increase_over_leaders_and_clock_jumps(
        steps in prop::collection::vec((0u8..5, 0u64..100_000_000, 1u32..1000), 1..200)
    ) {
        let mut oracle = Oracle::new(Timestamp::ZERO);
        let mut applied = Timestamp::ZERO;
        let mut last = Timestamp::ZERO;
        for (what, now, count) in steps {
            match what {
                0 => oracle = Oracle::new(applied),
                1 => if let Some(bound) = oracle.propose_bound(now) {
                    applied = applied.max(bound);
                    oracle.bound_applied(bound);
                },
                2 => if oracle.propose_bound(now).is_some() {
                    oracle.bound_lost();
                },
                _ => if let Draw::Issued(first) = oracle.draw(count, now) {
                    prop_assert!(first > last);
                    last = Timestamp(first.0 + u64::from(count) - 1);
                    prop_assert!(last < applied);
                },
            }
        }
        // Whatever happened, it goes on when asked.
        if oracle.draw(1, 0) == Draw::Wait {
            let bound = oracle.propose_bound(0).or_else(|| { oracle.bound_lost(); oracle.propose_bound(0) });
            oracle.bound_applied(bound.expect("a bound is asked for"));
            prop_assert!(oracle.draw(1, 0) != Draw::Wait);
        }
    }

    /// Following the plans ends, and ends well.
    #[test]
    fn plans_lead_to_as_many_live_voters_as_wanted(live in 3u64..6, dead in 0u64..2) {
        let nodes: Vec<NodeView> = (1..=live + dead)
            .map(|n| NodeView { node: NodeId(n), silent_ms: if n > live { 1_000_000 } else { 0 } })
            .collect();
        let start = if dead > 0 { vec![1, 2, live + 1] } else { vec![1] };
        let mut view = RangeView {
            descriptor: range(2, "", "", 1, &start),
            leader: Some(NodeId(1)),
            wish: Wish::Anywhere,
        };
        for _ in 0..20 {
            let Some(planned) = next(&nodes, &view) else { break };
            let replicas = &mut view.descriptor.replicas;
            match planned {
                Step::AddLearner(node) => replicas.push(Replica { node_id: node.0, learner: true }),
                Step::Promote(node) => {
                    for r in replicas { if r.node_id == node.0 { r.learner = false; } }
                }
                Step::Remove(node) => replicas.retain(|r| r.node_id != node.0),
                Step::TransferLeader(to) => prop_assert!(false, "no reason to move to {}", to),
            }
        }
        let voters: Vec<NodeId> = view.descriptor.voters().collect();
        prop_assert_eq!(voters.len(), 3);
        prop_assert!(voters.iter().all(|v| v.0 <= live));
        prop_assert_eq!(next(&nodes, &view), None);
    }
}

fn next(nodes: &[NodeView], view: &RangeView) -> Option<Step> {
    let plan = plan(Goal::default(), nodes, std::slice::from_ref(view), |_| true);
    plan.first().map(|planned| planned.step)
}

#[test]
fn leaders_move_only_as_far_as_that_evens_things_out() {
    let nodes: Vec<NodeView> =
        (1..=3).map(|n| NodeView { node: NodeId(n), silent_ms: 0 }).collect();
    let led = |id: u64, leader: u64| {
        let start = format!("{id}");
        let end = format!("{}", id + 1);
        RangeView {
            descriptor: range(id, &start, &end, 1, &[1, 2, 3]),
            leader: Some(NodeId(leader)),
            wish: Wish::Anywhere,
        }
    };
    let ranges: Vec<RangeView> = (2..8).map(|id| led(id, 1)).collect();
    let steps = plan(Goal::default(), &nodes, &ranges, |_| true);
    let mut leads = BTreeMap::from([(NodeId(1), 6), (NodeId(2), 0), (NodeId(3), 0)]);
    for planned in steps {
        let Step::TransferLeader(to) = planned.step else { panic!("{planned:?}") };
        *leads.get_mut(&NodeId(1)).expect("there") -= 1;
        *leads.get_mut(&to).expect("there") += 1;
    }
    assert_eq!(leads.into_values().collect::<Vec<_>>(), [2, 2, 2]);
    let even: Vec<RangeView> = (2..5).map(|id| led(id, id - 1)).collect();
    assert_eq!(plan(Goal::default(), &nodes, &even, |_| true), []);

    // A leader that has just come is left alone, however uneven that is.
    let unknown: Vec<RangeView> =
        ranges.into_iter().map(|range| RangeView { wish: Wish::Unknown, ..range }).collect();
    assert_eq!(plan(Goal::default(), &nodes, &unknown, |_| true), []);
}

/// A leader goes to the one gateway that asks, stays there when it asks no more, and does not draw
/// others after it or push them away.
#[test]
fn a_leader_follows_its_only_gateway() {
    let nodes: Vec<NodeView> =
        (1..=3).map(|n| NodeView { node: NodeId(n), silent_ms: 0 }).collect();
    let mut demand = Demand::default();
    demand.note(NodeId(2), 1_000_000);
    for interval in 1..=40 {
        demand.next_interval();
        let known = interval >= meta::demand::SETTLED_AFTER;
        let wish = if known { Wish::At(NodeId(2)) } else { Wish::Unknown };
        assert_eq!(demand.wish(), wish, "after {interval}");
    }
    let view = |leader: u64, wish| RangeView {
        descriptor: range(1, "", "", 1, &[1, 2, 3]),
        leader: Some(NodeId(leader)),
        wish,
    };
    assert_eq!(next(&nodes, &view(1, demand.wish())), Some(Step::TransferLeader(NodeId(2))));
    assert_eq!(next(&nodes, &view(2, demand.wish())), None);
    let all: Vec<RangeView> = (0..5).map(|_| view(2, demand.wish())).collect();
    assert_eq!(plan(Goal::default(), &nodes, &all, |_| true), []);
    assert_eq!(next(&nodes, &view(1, Wish::At(NodeId(9)))), None, "not a voter");

    // Three in four are too few: the others' requests would go further.
    for _ in 0..10 {
        demand.note(NodeId(2), 300);
        demand.note(NodeId(3), 100);
        demand.next_interval();
    }
    assert_eq!(demand.wish(), Wish::Anywhere);
}

fn command(command: Command) -> SystemCommand {
    SystemCommand { command: Some(command) }
}

#[test]
fn what_was_applied_is_loaded_again() {
    let engine = MemEngine::new();
    let mut state = SystemState::default();
    let mut batch = WriteBatch::new();
    let node = NodeDescriptor { rpc_address: "a:1".to_owned(), ..Default::default() };
    let joined =
        state.apply(command(Command::RegisterNode(RegisterNode { node: Some(node) })), &mut batch);
    assert_eq!(joined.result, Some(Outcome::NodeId(1)));
    let ranges = vec![range(2, "", "m", 2, &[1]), range(3, "m", "", 2, &[1])];
    state.apply(command(Command::PublishRanges(PublishRanges { ranges })), &mut batch);
    let allocate = AllocateIds { kind: Kind::Table as i32, count: 5 };
    let first = state.apply(command(Command::AllocateIds(allocate)), &mut batch);
    let second = state.apply(command(Command::AllocateIds(allocate)), &mut batch);
    assert_eq!(
        (first.result, second.result),
        (Some(Outcome::FirstId(100)), Some(Outcome::FirstId(105)))
    );
    state.apply(command(Command::RaiseOracleBound(RaiseOracleBound { bound: 77 })), &mut batch);
    engine.write(&batch).expect("memory");

    let loaded = SystemState::load(&engine).expect("loads");
    assert_eq!(loaded, state);
    let query = SystemQuery { query: Some(Query::LookupKey("z".into())) };
    assert_eq!(loaded.query(&query).ranges[0].range_id, 3);
}
