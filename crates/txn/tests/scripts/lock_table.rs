//! Scripts of the lock table.

use std::error::Error;
use std::fmt::Write as _;

use base::NodeId;
use goldenscript::{Command, Context, Runner};
use txn::lock_table::{LockTable, Strength, Verdict};

use super::{key, next, owner, parse, run_all};

struct Table(LockTable);

#[test]
fn lock_table() {
    run_all("lock_table", || Table(LockTable::new(8)));
}

impl Runner for Table {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String, Box<dyn Error>> {
        let mut args = command.consume_args();
        let (mut out, mut grants) = (String::new(), Vec::new());
        match command.name.as_str() {
            // lock TXN KEY [key-share|share|no-key-update] [nowait]
            "lock" => {
                let who = owner(next(&mut args, "transaction")?)?;
                let at = key(next(&mut args, "key")?);
                let flags: Vec<&str> = std::iter::from_fn(|| args.next_pos()).collect();
                let named = [
                    ("key-share", Strength::KeyShare),
                    ("share", Strength::Share),
                    ("no-key-update", Strength::NoKeyUpdate),
                ];
                let named = named.into_iter().find(|(name, _)| flags.contains(name));
                let wish = named.map_or(Strength::Update, |(_, wish)| wish);
                match self.0.acquire(&at, who, wish, !flags.contains(&"nowait")) {
                    Verdict::Granted => writeln!(out, "granted")?,
                    Verdict::Waits => {
                        let behind = self.0.blockers(at.as_bytes(), who.txn);
                        let behind: Vec<String> =
                            behind.iter().map(|o| o.owner.txn.to_string()).collect();
                        writeln!(out, "waits behind {}", behind.join(", "))?;
                    }
                    Verdict::Refused(holder) => writeln!(out, "refused: {}", holder.owner.txn)?,
                    Verdict::Full => writeln!(out, "the table is full")?,
                }
            }
            "release" => {
                let who = owner(next(&mut args, "transaction")?)?;
                match args.next_pos() {
                    Some(at) => self.0.release(at.as_bytes(), who.txn, &mut grants),
                    None => self.0.release_txn(who.txn, &mut grants),
                }
            }
            "cancel" => {
                let who = owner(next(&mut args, "transaction")?)?;
                self.0.cancel(next(&mut args, "key")?.as_bytes(), who.txn, &mut grants);
            }
            "replicate" => {
                let who = owner(next(&mut args, "transaction")?)?;
                self.0.mark_replicated(&key(next(&mut args, "key")?), who.txn);
            }
            "adopt" => {
                let who = owner(next(&mut args, "transaction")?)?;
                self.0.adopt(&key(next(&mut args, "key")?), who);
            }
            "gone" => {
                let node: u64 = parse(next(&mut args, "node")?.trim_start_matches('n'))?;
                for txn in self.0.release_coordinator(NodeId(node), 1, &mut grants) {
                    writeln!(out, "{txn} is over")?;
                }
            }
            "dump" => {
                for (at, who, strength, granted) in self.0.rows() {
                    let strength = match strength {
                        Strength::KeyShare => "KS",
                        Strength::Share => "S",
                        Strength::NoKeyUpdate => "NKU",
                        Strength::Update => "U",
                    };
                    let how = if granted { "holds" } else { "waits" };
                    writeln!(out, "{at} {} {how} {strength}", who.txn)?;
                }
            }
            other => return Err(format!("unknown command {other}").into()),
        }
        args.reject_next()?;
        self.0.check_invariants();
        for grant in grants {
            writeln!(out, "{} gets {}", grant.txn, grant.key)?;
        }
        Ok(out)
    }
}
