//! How promises travel from node to node: golden scripts (`scripts/closed/`), and a property: whatever
//! is lost on the way, nobody ever looks up a promise that was not made.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;

use base::{NodeId, RangeId, Timestamp};
use goldenscript::{Command, Runner};
use proptest::prelude::*;
use proto::node::Closed;
use range::closed::{Promise, Promises, Receiver, Sender};

#[derive(Default)]
struct Pair {
    senders: BTreeMap<NodeId, Sender>,
    receiver: Receiver,
    replicas: BTreeMap<RangeId, (Promises, u64)>,
}

#[test]
fn scripts() {
    let folder = Path::new("scripts/closed");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder exists")
        .map(|entry| entry.expect("readable").path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "no scripts in {}", folder.display());
    for path in paths {
        goldenscript::run(&mut Pair::default(), &path).expect("the script runs");
    }
}

fn shown(message: &Closed) -> String {
    let ranges: Vec<String> =
        message.ranges.iter().map(|r| format!("r{} from {}", r.range_id, r.applied)).collect();
    let removed: Vec<String> = message.removed.iter().map(|r| format!("not r{r}")).collect();
    let kind = if message.full { "all" } else { "#" };
    let mut text = format!("{kind}{}: closed {}", message.seq, message.closed_ts);
    for part in ranges.into_iter().chain(removed) {
        write!(text, ", {part}").expect("a string grows");
    }
    if message.oldest_snapshot != 0 {
        write!(text, ", oldest snapshot {}", message.oldest_snapshot).expect("a string grows");
    }
    text
}

impl Runner for Pair {
    type Command = Command;

    /// `send n1 closed=50 r7=12 r8=3 [lost]`, `apply r7 12`, `look r7`.
    fn run(
        &mut self,
        command: &Command,
        context: &goldenscript::Context,
    ) -> Result<String, Box<dyn Error>> {
        let mut args = command.consume_args();
        let mut out = String::new();
        let number = |text: &str| text.trim_start_matches(['r', 'n']).parse::<u64>();
        match command.name.as_str() {
            "send" => {
                let from = NodeId(number(args.next_pos().ok_or("from")?)?);
                let closed = Timestamp(args.take_key("closed").ok_or("closed")?.parse()?);
                let oldest = args.take_key("oldest").map(str::parse).transpose()?.map(Timestamp);
                let mut led = BTreeMap::new();
                while let Some((range, applied)) = args.next_key() {
                    led.insert(RangeId(number(range)?), applied.parse()?);
                }
                let sender = self.senders.entry(from).or_default();
                let message = sender.next(closed, &led, oldest);
                writeln!(out, "{}", shown(&message))?;
                if context.tags.contains("lost") {
                    return Ok(out);
                }
                match self.receiver.receive(from, 1, &message) {
                    Some(due) => self.hand_over(due),
                    None => {
                        writeln!(out, "something was lost")?;
                        sender.start_over();
                    }
                }
            }
            "apply" => {
                let range = RangeId(number(args.next_pos().ok_or("range")?)?);
                let index = args.next_pos().ok_or("index")?.parse()?;
                let (promises, applied) = self.replicas.entry(range).or_default();
                promises.applied(index);
                *applied = index;
            }
            "look" => {
                let range = RangeId(number(args.next_pos().ok_or("range")?)?);
                self.hand_over(self.receiver.lookup(range).into_iter().collect());
                let (promises, applied) = self.replicas.entry(range).or_default();
                writeln!(out, "{range} at {applied}: closed {}", promises.closed())?;
            }
            other => return Err(format!("unknown command {other}").into()),
        }
        args.reject_next()?;
        Ok(out)
    }
}

impl Pair {
    fn hand_over(&mut self, due: Vec<Promise>) {
        for Promise { range, index, ts } in due {
            let (promises, applied) = self.replicas.entry(range).or_default();
            promises.promised(index, ts, *applied);
        }
    }
}

proptest! {
    /// R1 and R2: with messages lost, restarts and leaders that move, what a replica takes for closed
    /// was promised for an index that it has applied.
    #[test]
    fn what_is_closed_was_promised(
        steps in prop::collection::vec((0..2u64, 0..4u64, 0..8u8, 0..3u64), 1..120),
    ) {
        let mut pair = Pair::default();
        let mut incarnations = [1, 1];
        // Who leads which range up to which index.
        let mut led: Vec<BTreeMap<RangeId, u64>> = vec![BTreeMap::new(), BTreeMap::new()];
        let mut made: BTreeSet<(RangeId, u64, Timestamp)> = BTreeSet::new();
        let mut now = 1;
        for (node, range, what, more) in steps {
            let (at, range) = (usize::try_from(node).expect("small"), RangeId(range));
            let from = NodeId(node);
            match what {
                0 => {
                    let index = led.iter().filter_map(|l| l.get(&range)).max().copied();
                    led[1 - at].remove(&range);
                    led[at].insert(range, index.unwrap_or(1) + more);
                }
                1 => drop(led[at].remove(&range)),
                2 => {
                    pair.senders.insert(from, Sender::new());
                    incarnations[at] += 1;
                }
                3 => {
                    let (promises, applied) = pair.replicas.entry(range).or_default();
                    *applied += more;
                    promises.applied(*applied);
                }
                _ => {
                    now += 1;
                    let closed = Timestamp(now);
                    made.extend(led[at].iter().map(|(&range, &index)| (range, index, closed)));
                    let sender = pair.senders.entry(from).or_default();
                    let message = sender.next(closed, &led[at], None);
                    if what < 7 {
                        match pair.receiver.receive(from, incarnations[at], &message) {
                            Some(due) => pair.hand_over(due),
                            None => sender.start_over(),
                        }
                    }
                }
            }
            let looked = pair.receiver.lookup(range);
            pair.hand_over(looked.into_iter().collect());
            for (range, (promises, applied)) in &pair.replicas {
                let closed = promises.closed();
                let promised = closed == Timestamp::ZERO
                    || made.iter().any(|&(r, i, ts)| r == *range && i <= *applied && ts == closed);
                prop_assert!(promised, "{range} at {applied} takes {closed} for closed");
            }
        }
    }
}
