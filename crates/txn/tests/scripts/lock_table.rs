//! Scripts of the lock table.

use std::error::Error;
use std::fmt::{self, Write as _};

use base::{KeyRange, NodeId};
use goldenscript::{ArgumentConsumer, Command, Context, Runner};
use txn::Owner;
use txn::lock_table::{LockTable, Place, Strength, Verdict};

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
            // lock TXN KEY [key-share|share|no-key-update] [row] [nowait]
            "lock" => {
                let who = owner(next(&mut args, "transaction")?)?;
                let at = key(next(&mut args, "key")?);
                let (wish, row, wait) = mode(&mut args);
                let verdict = self.0.acquire(&at, who, wish, !row, wait, &mut grants);
                self.tell(&mut out, &Place::Key(at), who, &verdict)?;
            }
            // span TXN FROM TO [share|no-key-update] [nowait]
            "span" => {
                let who = owner(next(&mut args, "transaction")?)?;
                let span = span(&mut args)?;
                let (wish, _, wait) = mode(&mut args);
                let verdict = self.0.acquire_span(&span, who, wish, wait, &mut grants);
                self.tell(&mut out, &Place::Span(span), who, &verdict)?;
            }
            "release_span" => {
                let who = owner(next(&mut args, "transaction")?)?;
                self.0.release_span(&span(&mut args)?, who.txn, &mut grants);
            }
            "cancel_span" => {
                let who = owner(next(&mut args, "transaction")?)?;
                let place = Place::Span(span(&mut args)?);
                self.0.cancel(&place, who.txn, &mut grants);
            }
            // The right-hand part is shown and forgotten.
            "split" => {
                let right = self.0.split_off(&key(next(&mut args, "key")?), &mut grants);
                right.check_invariants();
                dump(&mut out, &right)?;
            }
            // A new leader installs what the old one hands over.
            "hand_over" => {
                let carried = self.0.carried();
                self.0 = LockTable::new(8);
                for lock in carried {
                    let taken = if self.0.install(&lock) { "" } else { ": no" };
                    writeln!(out, "{} {}{taken}", lock.owner.txn, lock.place)?;
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
                let place = Place::Key(key(next(&mut args, "key")?));
                self.0.cancel(&place, who.txn, &mut grants);
            }
            "replicate" => {
                let who = owner(next(&mut args, "transaction")?)?;
                self.0.mark_replicated(&key(next(&mut args, "key")?), who.txn);
            }
            "adopt" => {
                let who = owner(next(&mut args, "transaction")?)?;
                self.0.adopt(&key(next(&mut args, "key")?), who, &mut grants);
            }
            "gone" => {
                let node: u64 = parse(next(&mut args, "node")?.trim_start_matches('n'))?;
                for txn in self.0.release_coordinator(NodeId(node), 1, &mut grants) {
                    writeln!(out, "{txn} is over")?;
                }
            }
            "dump" => dump(&mut out, &self.0)?,
            other => return Err(format!("unknown command {other}").into()),
        }
        args.reject_next()?;
        self.0.check_invariants();
        for grant in grants {
            writeln!(out, "{} gets {}", grant.txn, grant.place)?;
        }
        Ok(out)
    }
}

impl Table {
    fn tell(&self, out: &mut String, at: &Place, who: Owner, verdict: &Verdict) -> fmt::Result {
        match verdict {
            Verdict::Granted => writeln!(out, "granted"),
            Verdict::Waits => {
                let behind = self.0.blockers(at, who.txn);
                let behind: Vec<String> = behind.iter().map(|o| o.owner.txn.to_string()).collect();
                writeln!(out, "waits behind {}", behind.join(", "))
            }
            Verdict::Refused(holder) => match at {
                Place::Key(_) => writeln!(out, "refused: {}", holder.owner.txn),
                Place::Span(_) => writeln!(out, "refused: {} at {}", holder.owner.txn, holder.key),
            },
            Verdict::Full => writeln!(out, "the table is full"),
            Verdict::Crowded => writeln!(out, "too many spans"),
        }
    }
}

fn span(args: &mut ArgumentConsumer<'_>) -> Result<KeyRange, Box<dyn Error>> {
    let (start, end) = (key(next(args, "from")?), key(next(args, "to")?));
    Ok(KeyRange { start, end })
}

/// The strength; whether there is a row; whether to wait.
fn mode(args: &mut ArgumentConsumer<'_>) -> (Strength, bool, bool) {
    let flags: Vec<&str> = std::iter::from_fn(|| args.next_pos()).collect();
    let named = [
        ("key-share", Strength::KeyShare),
        ("share", Strength::Share),
        ("no-key-update", Strength::NoKeyUpdate),
    ];
    let named = named.into_iter().find(|(name, _)| flags.contains(name));
    let wish = named.map_or(Strength::Update, |(_, wish)| wish);
    (wish, flags.contains(&"row"), !flags.contains(&"nowait"))
}

fn dump(out: &mut String, table: &LockTable) -> fmt::Result {
    for (at, who, strength, granted) in table.rows() {
        let strength = match strength {
            Strength::KeyShare => "KS",
            Strength::Share => "S",
            Strength::NoKeyUpdate => "NKU",
            Strength::Update => "U",
        };
        let how = if granted { "holds" } else { "waits" };
        writeln!(out, "{at} {} {how} {strength}", who.txn)?;
    }
    Ok(())
}
