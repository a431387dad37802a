//! `LIKE other INCLUDING …` among the elements of a CREATE TABLE.

use catalog::Column;
use sqlparser::ast::{Expr, Ident, ObjectName, TableConstraint};

use super::Ddl;
use super::column::{ColumnDef, IndexColumnDef, KeyDef};
use super::constraint::{CheckDef, Def};
use super::create_table::Elements;
use super::parse::SequenceOption;
use crate::SqlError;
use crate::session::{Session, stored_expr};

/// A LIKE as written.
pub(super) struct Like {
    /// How many elements stand before it.
    pub(super) at: usize,
    table: ObjectName,
    options: Vec<(bool, String)>,
}

/// The LIKE that a constraint stands for: see [`crate::bind::like_of`].
pub(super) fn of(constraint: &TableConstraint) -> Option<Like> {
    let TableConstraint::Check(check) = constraint else { return None };
    let (at, options) = crate::bind::like_of(check.name.as_ref()?)?;
    let parts: Vec<Ident> = match &*check.expr {
        Expr::Identifier(ident) => vec![ident.clone()],
        Expr::CompoundIdentifier(parts) => parts.clone(),
        _ => return None,
    };
    Some(Like { at, table: ObjectName::from(parts), options })
}

impl Like {
    fn includes(&self, what: &str) -> bool {
        let said = self.options.iter().rev().find(|(_, option)| option == what || option == "all");
        said.is_some_and(|(including, _)| *including)
    }
}

/// Adds what a LIKE copies.
pub(super) fn copy(
    session: &Session,
    ddl: &Ddl,
    like: &Like,
    elements: &mut Elements,
) -> Result<(), SqlError> {
    const KNOWN: &[&str] = &[
        "all",
        "comments",
        "compression",
        "constraints",
        "defaults",
        "generated",
        "identity",
        "indexes",
        "statistics",
        "storage",
    ];
    for (_, option) in &like.options {
        if !KNOWN.contains(&option.as_str()) {
            return Err(SqlError::syntax(format!("syntax error at or near \"{option}\"")));
        }
    }
    let table = ddl.table(session, &like.table)?;
    let first = elements.columns.len();
    let new_id = |id: u32| {
        let at = table.position_of(id).expect("a column of the table");
        u32::try_from(first + at).unwrap_or(u32::MAX - 1) + 1
    };
    for column in &table.columns {
        let identity = column.identity.filter(|_| like.includes("identity"));
        let serial = column.sequence.filter(|_| column.identity.is_none());
        let defaults = like.includes("defaults");
        let copied = Column {
            id: new_id(column.id),
            default: match serial.filter(|_| defaults) {
                // The copy draws from the same sequence, as in PostgreSQL.
                Some(sequence) => Some(format!("nextval('{sequence}'::regclass)")),
                None => column.default.clone().filter(|_| defaults),
            },
            sequence: None,
            identity,
            generated: None,
            missing: None,
            ..column.clone()
        };
        let options = column.sequence.and_then(|id| ddl.catalog.sequence_by_id(id)).map(|s| {
            vec![
                SequenceOption::Increment(s.increment),
                SequenceOption::Min(Some(s.min)),
                SequenceOption::Max(Some(s.max)),
                SequenceOption::Start(s.start),
                SequenceOption::Cache(s.cache),
                SequenceOption::Cycle(s.cycle),
            ]
        });
        let generated = column.generated.as_ref().filter(|_| like.includes("generated"));
        elements.add(ColumnDef {
            column: copied,
            keys: Vec::new(),
            constraints: Vec::new(),
            sequence: options.filter(|_| identity.is_some()),
            generated: generated.map(|sql| stored_expr(sql)).transpose()?,
        })?;
    }
    if like.includes("constraints") {
        for constraint in table.named_constraints() {
            if let Some(sql) = constraint.check() {
                let name = Some(constraint.name.clone());
                let expr = stored_expr(sql)?;
                elements.constraints.push(Def::Check(CheckDef { name, expr }));
            }
        }
    }
    if like.includes("comments") {
        let columns = table.comments.iter().filter(|(id, _)| *id != 0);
        elements.comments.extend(columns.map(|(id, text)| (new_id(*id), text.clone())));
    }
    if like.includes("indexes") {
        let primary = std::iter::once(&table.primary).filter(|i| !i.columns.is_empty());
        for index in primary.chain(&table.indexes) {
            if index.constraint {
                let positions = table.index_positions(index);
                let columns = positions.iter().zip(&index.columns).map(|(&p, c)| IndexColumnDef {
                    name: table.columns[p].name.clone(),
                    descending: c.descending,
                });
                let primary = index.id == table.primary.id;
                let nulls_not_distinct = index.nulls_not_distinct;
                let columns = columns.collect();
                elements.keys.push(KeyDef { name: None, columns, primary, nulls_not_distinct });
                continue;
            }
            let mut copied = index.clone();
            let mut moved = |id: &mut u32| match table.computed.iter().find(|c| c.id == *id) {
                None => *id = new_id(*id),
                Some(column) => {
                    *id = FIRST_COPIED + u32::try_from(elements.computed.len()).unwrap_or(0);
                    elements.computed.push(Column { id: *id, ..column.clone() });
                }
            };
            copied.columns.iter_mut().for_each(|c| moved(&mut c.column));
            copied.include.iter_mut().for_each(&mut moved);
            copied.predicate.iter_mut().for_each(&mut moved);
            copied.comment = None;
            elements.indexes.push(copied);
        }
    }
    Ok(())
}

/// Ids that copied expressions have until the table has its columns.
const FIRST_COPIED: u32 = 1 << 30;

/// Gives the expressions of a copied index ids among the table's columns.
pub(super) fn place_computed(
    table: &mut catalog::Table,
    copied: &[Column],
    index: &mut catalog::Index,
) {
    let mut place = |id: &mut u32| {
        let Some(column) = copied.iter().find(|c| c.id == *id) else { return };
        let same = |c: &&Column| c.generated == column.generated && c.ty == column.ty;
        if let Some(known) = table.computed.iter().find(same) {
            *id = known.id;
            return;
        }
        *id = table.next_column;
        table.next_column += 1;
        table.computed.push(Column { id: *id, ..column.clone() });
    };
    index.columns.iter_mut().for_each(|c| place(&mut c.column));
    index.predicate.iter_mut().for_each(&mut place);
}
