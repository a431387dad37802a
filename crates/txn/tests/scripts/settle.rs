//! Scripts of settlement.

use std::error::Error;
use std::fmt::Write as _;

use base::Timestamp;
use goldenscript::{Command, Context, Runner};
use txn::coordinator::Outcome;
use txn::settle::{Checked, Effect, Input, Settle, State};

use super::{key, next, run_all, ts};

#[derive(Default)]
struct Settlement(Option<Settle>);

#[test]
fn settle() {
    run_all("settle", Settlement::default);
}

impl Runner for Settlement {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String, Box<dyn Error>> {
        let mut args = command.consume_args();
        if command.name == "meet" {
            // meet KEY primary=KEY [push=TS]
            let met = key(next(&mut args, "key")?);
            let primary = key(args.take_key("primary").unwrap_or("a"));
            let push = args.take_key("push").map(ts).transpose()?.unwrap_or(Timestamp::ZERO);
            let (machine, effects) = Settle::new(primary, met, push);
            self.0 = Some(machine);
            return Ok(print(effects));
        }
        let input = match command.name.as_str() {
            "committed" => {
                Input::State(State::Decided(Outcome::Commit(ts(next(&mut args, "ts")?)?)))
            }
            "rolled_back" => Input::State(State::Decided(Outcome::Rollback)),
            "pending" => Input::State(State::Pending(ts(next(&mut args, "ts")?)?)),
            "unknown" => Input::State(State::Unknown),
            "staging" => Input::State(State::Staging {
                min_commit: ts(next(&mut args, "ts")?)?,
                secondaries: std::iter::from_fn(|| args.next_pos()).map(key).collect(),
            }),
            "checked" => {
                let mut checked = Vec::new();
                while let Some(text) = args.next_pos() {
                    checked.push(match text.split_once('@') {
                        Some(("locked", at)) => Checked::Locked(ts(at)?),
                        Some((_, at)) => Checked::Committed(ts(at)?),
                        None => Checked::Prevented,
                    });
                }
                Input::Checked(checked)
            }
            "decided" => Input::Decided(match next(&mut args, "what")? {
                "rollback" => Outcome::Rollback,
                at => Outcome::Commit(ts(at)?),
            }),
            "too_low" => Input::TooLow,
            "resolved" => Input::Resolved,
            "failed" => Input::Failed,
            other => return Err(format!("unknown command {other}").into()),
        };
        args.reject_next()?;
        Ok(print(self.0.as_mut().ok_or("nothing met")?.step(input)))
    }
}

fn print(effects: Vec<Effect>) -> String {
    let mut out = String::new();
    for effect in effects {
        writeln!(out, "{effect:?}").expect("strings grow");
    }
    out
}
