//! FOR UPDATE and its kin: which scans they mean, and how.
//!
//! A clause without OF means every table of FROM, those inside derived tables included; it does not reach
//! into WITH queries. A table that several clauses mean is locked once, as strongly and as impatiently as
//! any of them says. What is locked, and when, is [`Rel::Lock`]'s business.

use std::sync::Arc;

use catalog::{Privileges, RoleId};
use pgtypes::{PgType, TypeId};
use sqlparser::ast;

use super::parse::LOCK_MARK;
use super::scope::Scope;
use super::{Binder, fold};
use crate::error::{SqlError, SqlState};
use crate::ir::{ColId, Join, JoinKind, LockStrength, LockWait, Rel, RelColumn, RowLock, Scalar};
use crate::privilege::{Access, Accessed};

/// A locking clause as written.
struct Clause {
    strength: LockStrength,
    wait: LockWait,
    of: Vec<String>,
}

/// An entry of FROM, and whether an outer join may have no row of it.
struct Entry<'r> {
    rel: &'r mut Rel,
    nullable: bool,
}

impl Binder<'_> {
    /// Who locks rows needs to be allowed to change them, as whoever reads them.
    fn access_lock(&mut self, table: u32) {
        let of = Accessed::Stored(table);
        let readers = self.accesses.iter().filter(|access| access.relation == of);
        let roles: Vec<Option<RoleId>> = readers.map(|access| access.as_role).collect();
        for as_role in roles {
            let wanted = Privileges::UPDATE;
            self.accesses.push(Access { relation: of.clone(), wanted, as_role });
        }
    }

    /// Puts row keys into the scans that the locking clauses mean.
    pub(crate) fn row_locks(
        &mut self,
        clauses: &[ast::LockClause],
        rel: &mut Rel,
        scope: &Scope<'_>,
    ) -> Result<Vec<RowLock>, SqlError> {
        let mut locks: Vec<RowLock> = Vec::new();
        for clause in clauses {
            let clause = read(clause)?;
            let name = clause.strength.name();
            if clause.of.is_empty() {
                let mut entries = Vec::new();
                entries_of(rel, false, &mut entries);
                for entry in entries {
                    self.lock_entry(entry, &clause, &mut locks)?;
                }
                continue;
            }
            for of in &clause.of {
                let Some(table) = scope.tables.iter().find(|t| *t.alias == **of) else {
                    return Err(SqlError::new(
                        SqlState::UNDEFINED_TABLE,
                        format!("relation \"{of}\" in {name} clause not found in FROM clause"),
                    ));
                };
                let ids: Vec<ColId> = table.columns.iter().map(|c| c.column.id).collect();
                let mut entries = Vec::new();
                entries_of(rel, false, &mut entries);
                let before = locks.len();
                let mut found = false;
                for entry in entries {
                    if entry.rel.columns().iter().any(|c| ids.contains(&c.id)) {
                        self.lock_entry(entry, &clause, &mut locks)?;
                        found = true;
                    }
                }
                let known = locks.iter().any(|lock| *lock.alias == **of);
                if !found || (locks.len() == before && !known) {
                    let is_with = scope.cte(of).is_some();
                    let what = if is_with { "WITH query" } else { "join, function or VALUES" };
                    return Err(SqlError::new(
                        SqlState::FEATURE_NOT_SUPPORTED,
                        format!("{name} cannot be applied to a {what}"),
                    ));
                }
            }
        }
        Ok(locks)
    }

    fn lock_entry(
        &mut self,
        entry: Entry<'_>,
        clause: &Clause,
        locks: &mut Vec<RowLock>,
    ) -> Result<(), SqlError> {
        let before = locks.len();
        self.lock_rel(entry.rel, clause, locks)?;
        if entry.nullable && locks.len() > before {
            return Err(SqlError::new(
                SqlState::FEATURE_NOT_SUPPORTED,
                format!(
                    "{} cannot be applied to the nullable side of an outer join",
                    clause.strength.name()
                ),
            ));
        }
        Ok(())
    }

    /// Makes a relation deliver the keys of the rows below it. Returns their columns.
    fn lock_rel(
        &mut self,
        rel: &mut Rel,
        clause: &Clause,
        locks: &mut Vec<RowLock>,
    ) -> Result<Vec<RelColumn>, SqlError> {
        let refused = |what: &str| {
            Err(SqlError::new(
                SqlState::FEATURE_NOT_SUPPORTED,
                format!("{} is not allowed with {what}", clause.strength.name()),
            ))
        };
        match rel {
            Rel::Scan(scan) if scan.lockable => {
                self.access_lock(scan.table.id);
                let column = match &scan.row_key {
                    Some(key) => key.clone(),
                    None => {
                        let column = self.fresh("row key", PgType::new(TypeId::Bytea));
                        scan.row_key = Some(column.clone());
                        column
                    }
                };
                let (strength, wait) = scan.lock.unwrap_or((clause.strength, clause.wait));
                scan.lock = Some((strength.max(clause.strength), wait.max(clause.wait)));
                match locks.iter_mut().find(|lock| lock.key == column.id) {
                    Some(lock) => {
                        lock.strength = lock.strength.max(clause.strength);
                        lock.wait = lock.wait.max(clause.wait);
                    }
                    None => locks.push(RowLock {
                        table: Arc::clone(&scan.table),
                        alias: Arc::clone(&scan.alias),
                        key: column.id,
                        strength: clause.strength,
                        wait: clause.wait,
                    }),
                }
                Ok(vec![column])
            }
            Rel::Scan(_)
            | Rel::OneRow
            | Rel::Empty { .. }
            | Rel::Virtual(_)
            | Rel::Work(_)
            | Rel::Recursive(_)
            | Rel::Values { .. }
            | Rel::Function(_) => Ok(Vec::new()),
            Rel::Filter { input, .. } | Rel::Sort { input, .. } | Rel::Lock { input, .. } => {
                self.lock_rel(input, clause, locks)
            }
            Rel::Project { input, exprs } => {
                let keys = self.lock_rel(input, clause, locks)?;
                for key in &keys {
                    if !exprs.iter().any(|(column, _)| column.id == key.id) {
                        exprs.push((key.clone(), Scalar::Column(key.id, key.ty)));
                    }
                }
                Ok(keys)
            }
            Rel::Join(_) => {
                let mut entries = Vec::new();
                entries_of(rel, false, &mut entries);
                let mut keys = Vec::new();
                for entry in entries {
                    let before = locks.len();
                    let nullable = entry.nullable;
                    keys.extend(self.lock_rel(entry.rel, clause, locks)?);
                    if nullable && locks.len() > before {
                        return refused("the nullable side of an outer join");
                    }
                }
                Ok(keys)
            }
            Rel::Aggregate { .. } => refused("GROUP BY clause or aggregate functions"),
            Rel::Window { .. } => refused("window functions"),
            Rel::Distinct { .. } | Rel::DistinctOn { .. } => refused("DISTINCT clause"),
            Rel::SetOp { .. } => refused("UNION/INTERSECT/EXCEPT"),
            Rel::Limit { .. } => Err(SqlError::unsupported(format!(
                "{} over a subquery with LIMIT",
                clause.strength.name()
            ))
            .hint("Write the locking clause inside of the subquery.")),
            Rel::Apply { .. } | Rel::ApplyRows { .. } | Rel::Waiting { .. } => {
                Err(SqlError::internal("made by execution only"))
            }
        }
    }
}

/// What a clause says. `parse` has put what its grammar lacks into the first name of OF.
fn read(clause: &ast::LockClause) -> Result<Clause, SqlError> {
    let ast::LockClause { lock_type: _, of, nonblock } = clause;
    let wait = match nonblock {
        None => LockWait::Block,
        Some(ast::NonBlock::Nowait) => LockWait::NoWait,
        Some(ast::NonBlock::SkipLocked) => LockWait::SkipLocked,
    };
    let strength = strength(clause);
    let mut of: Vec<String> = match of {
        None => Vec::new(),
        Some(name) => name.0.iter().filter_map(|part| part.as_ident()).map(fold).collect(),
    };
    match of.first().is_some_and(|first| first.starts_with(LOCK_MARK)) {
        true => drop(of.remove(0)),
        false if of.len() > 1 => {
            return Err(SqlError::syntax(format!(
                "{} must specify unqualified relation names",
                strength.name()
            )));
        }
        false => {}
    }
    Ok(Clause { strength, wait, of })
}

/// How strong a clause is.
pub(crate) fn strength(clause: &ast::LockClause) -> LockStrength {
    let marked = clause.of.as_ref().and_then(|of| of.0.first()?.as_ident());
    let marked = marked.and_then(|ident| ident.value.strip_prefix(LOCK_MARK));
    match (marked, &clause.lock_type) {
        (Some("no key"), ast::LockType::Update) => LockStrength::NoKeyUpdate,
        (Some("key"), ast::LockType::Share) => LockStrength::KeyShare,
        (_, ast::LockType::Update) => LockStrength::Update,
        (_, ast::LockType::Share) => LockStrength::Share,
    }
}

/// The entries of a FROM: what its joins join.
fn entries_of<'r>(rel: &'r mut Rel, nullable: bool, found: &mut Vec<Entry<'r>>) {
    match rel {
        Rel::Filter { input, .. } => entries_of(input, nullable, found),
        Rel::Join(join) => {
            let Join { kind, left, right, .. } = &mut **join;
            let (l, r) = match kind {
                JoinKind::Inner => (false, false),
                JoinKind::Left => (false, true),
                JoinKind::Right => (true, false),
                JoinKind::Full => (true, true),
            };
            entries_of(left, nullable || l, found);
            entries_of(right, nullable || r, found);
        }
        // A join with USING computes a column on top.
        Rel::Project { input, .. } if matches!(**input, Rel::Join(_)) => {
            found.push(Entry { rel, nullable });
        }
        _ => found.push(Entry { rel, nullable }),
    }
}
