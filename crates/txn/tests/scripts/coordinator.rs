//! Scripts of the coordinator.

use std::error::Error;
use std::fmt::Write as _;

use goldenscript::{Command, Context, Runner};
use txn::coordinator::{
    Coordinator, Decided, Effect, Failure, Input, Limits, Outcome, Placement, Reply, Work,
};

use super::{key, next, run_all, ts};

struct Commit(Coordinator);

#[test]
fn coordinator() {
    let limits = Limits { parallel_keys: 4, parallel_bytes: 1000 };
    run_all("coordinator", || Commit(Coordinator::new(limits)));
}

fn failure(name: &str) -> Failure {
    match name {
        "gone" => Failure::Gone,
        "exists" => Failure::KeyExists { key: key("k") },
        "changed" => Failure::Changed { key: key("k"), version: base::Timestamp(1) },
        _ => Failure::Unavailable,
    }
}

impl Runner for Commit {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String, Box<dyn Error>> {
        let mut args = command.consume_args();
        let input = match command.name.as_str() {
            // commit KEYS PLACEMENT [reads] [locked] read_ts=TS
            "commit" => {
                let keys: usize = super::parse(next(&mut args, "number of keys")?)?;
                let placement = match next(&mut args, "placement")? {
                    "one" => Placement::OneRange,
                    "elsewhere" => Placement::OneRangeReadsElsewhere,
                    _ => Placement::ManyRanges,
                };
                let read_ts = ts(args.take_key("read_ts").unwrap_or("10"))?;
                let flags: Vec<&str> = std::iter::from_fn(|| args.next_pos()).collect();
                Input::Commit(Work {
                    primary: (keys > 0).then(|| key("a")),
                    keys,
                    bytes: keys * 10,
                    read_ts,
                    reads: flags.contains(&"reads"),
                    locked_only: flags.contains(&"locked"),
                    placement,
                })
            }
            "rollback" => Input::Rollback,
            "done" | "too_low" | "failed" | "unknown" => {
                let of = next(&mut args, "one_phase or prewrite")?;
                let reply = match (command.name.as_str(), args.next_pos()) {
                    ("done", Some(at)) => Reply::Done(ts(at)?),
                    ("too_low", None) => Reply::TooLow,
                    ("failed", Some(why)) => Reply::Failed(failure(why)),
                    (_, why) => Reply::Unknown(failure(why.unwrap_or_default())),
                };
                if of == "one_phase" { Input::OnePhase(reply) } else { Input::Prewritten(reply) }
            }
            "drawn" => Input::Drawn(ts(next(&mut args, "timestamp")?)?),
            "refreshed" => Input::Refreshed(args.next_pos().map_or(Ok(()), |w| Err(failure(w)))),
            "decided" => Input::Decided(match next(&mut args, "what")? {
                "rollback" => Decided::Is(Outcome::Rollback),
                "too_low" => Decided::TooLow(ts(next(&mut args, "timestamp")?)?),
                "unknown" => Decided::Unknown,
                at => Decided::Is(Outcome::Commit(ts(at)?)),
            }),
            other => return Err(format!("unknown command {other}").into()),
        };
        args.reject_next()?;
        let mut out = String::new();
        for effect in self.0.step(input) {
            match effect {
                Effect::Answer(answer) => writeln!(out, "client is told: {answer:?}")?,
                effect => writeln!(out, "{effect:?}")?,
            }
        }
        Ok(out)
    }
}
