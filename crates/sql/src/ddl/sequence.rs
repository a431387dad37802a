//! CREATE, ALTER and DROP SEQUENCE, and the sequences of SERIAL and IDENTITY columns.

use std::sync::Arc;

use catalog::store::SequenceState;
use catalog::{CatalogSnapshot, Change, ObjectKind, Sequence, Table};
use pgtypes::PgType;
use sqlparser::ast::ObjectName;

use super::parse::SequenceOption;
use super::{Ddl, duplicate_relation, new_oids, notice};
use crate::bind::{name_parts, relation_name, type_of};
use crate::session::api::Sink;
use crate::session::{Session, Tag};
use crate::{SqlError, SqlState};

fn invalid(message: String) -> SqlError {
    SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message)
}

/// Applies options to a sequence. Returns where it is to go on from, if it is restarted.
pub(super) fn apply(
    sequence: &mut Sequence,
    options: &[SequenceOption],
    is_new: bool,
) -> Result<Option<SequenceState>, SqlError> {
    for (n, option) in options.iter().enumerate() {
        if options[..n].iter().any(|o| o.kind() == option.kind()) {
            return Err(SqlError::syntax("conflicting or redundant options"));
        }
    }
    let (mut start, mut min, mut max, mut restart) = (None, None, None, None);
    let before = sequence.ty;
    for option in options {
        match option {
            SequenceOption::As(ty) => {
                sequence.ty = type_of(ty)?;
                let integers = [PgType::INT2, PgType::INT4, PgType::INT8];
                if !integers.iter().any(|ty| ty.same(sequence.ty)) {
                    return Err(invalid(
                        "sequence type must be smallint, integer, or bigint".to_owned(),
                    ));
                }
            }
            SequenceOption::Increment(0) => {
                return Err(invalid("INCREMENT must not be zero".to_owned()));
            }
            SequenceOption::Increment(by) => sequence.increment = *by,
            SequenceOption::Min(value) => min = Some(*value),
            SequenceOption::Max(value) => max = Some(*value),
            SequenceOption::Start(value) => start = Some(*value),
            SequenceOption::Restart(value) => restart = Some(*value),
            SequenceOption::Cache(value) if *value < 1 => {
                return Err(invalid(format!("CACHE ({value}) must be greater than zero")));
            }
            SequenceOption::Cache(value) => sequence.cache = *value,
            SequenceOption::Cycle(cycle) => sequence.cycle = *cycle,
            SequenceOption::OwnedBy(_) => {}
            // Of an identity column that is being made, by its name; of no other sequence.
            SequenceOption::Name(_) if is_new && sequence.owned_by.is_some() => {}
            SequenceOption::Name(_) => {
                return Err(SqlError::syntax("invalid sequence option SEQUENCE NAME"));
            }
        }
    }
    bounds(sequence, before, min, max, is_new)?;
    if let Some(start) = start {
        sequence.start = start;
    } else if is_new {
        sequence.start = if sequence.increment > 0 { sequence.min } else { sequence.max };
    }
    let Sequence { start, min, max, .. } = *sequence;
    let check = |what: &str, value: i64| {
        if value < min {
            return Err(invalid(format!(
                "{what} value ({value}) cannot be less than MINVALUE ({min})"
            )));
        }
        if value > max {
            return Err(invalid(format!(
                "{what} value ({value}) cannot be greater than MAXVALUE ({max})"
            )));
        }
        Ok(())
    };
    check("START", start)?;
    let Some(restart) = restart else { return Ok(None) };
    let last = restart.unwrap_or(start);
    check("RESTART", last)?;
    Ok(Some(SequenceState { last, called: false }))
}

/// Least and greatest value: as given, or the type's.
fn bounds(
    sequence: &mut Sequence,
    before: PgType,
    min: Option<Option<i64>>,
    max: Option<Option<i64>>,
    is_new: bool,
) -> Result<(), SqlError> {
    let (least, most) = Sequence::bounds(sequence.ty);
    let (was_least, was_most) = Sequence::bounds(before);
    let retyped = !before.same(sequence.ty);
    let ascends = sequence.increment > 0;
    let resets_max = retyped && sequence.max == was_most;
    sequence.max = match max {
        Some(Some(max)) => max,
        None if !is_new && !resets_max => sequence.max,
        _ => {
            if ascends {
                most
            } else {
                -1
            }
        }
    };
    let resets_min = retyped && sequence.min == was_least;
    sequence.min = match min {
        Some(Some(min)) => min,
        None if !is_new && !resets_min => sequence.min,
        _ => {
            if ascends {
                1
            } else {
                least
            }
        }
    };
    let ty = sequence.ty.sql_name();
    if !(least..=most).contains(&sequence.max) {
        return Err(invalid(format!(
            "MAXVALUE ({}) is out of range for sequence data type {ty}",
            sequence.max
        )));
    }
    if !(least..=most).contains(&sequence.min) {
        return Err(invalid(format!(
            "MINVALUE ({}) is out of range for sequence data type {ty}",
            sequence.min
        )));
    }
    if sequence.min >= sequence.max {
        return Err(invalid(format!(
            "MINVALUE ({}) must be less than MAXVALUE ({})",
            sequence.min, sequence.max
        )));
    }
    Ok(())
}

/// OWNED BY, if it is among the options.
fn own(
    session: &Session,
    ddl: &Ddl,
    sequence: &mut Sequence,
    options: &[SequenceOption],
) -> Result<(), SqlError> {
    let owner = options.iter().find_map(|option| match option {
        SequenceOption::OwnedBy(owner) => Some(owner),
        _ => None,
    });
    let Some(owner) = owner else { return Ok(()) };
    let Some(owner) = owner else {
        sequence.owned_by = None;
        return Ok(());
    };
    let mut table = owner.clone();
    let column = match table.0.pop() {
        Some(sqlparser::ast::ObjectNamePart::Identifier(column)) if !table.0.is_empty() => {
            crate::bind::fold(&column)
        }
        _ => {
            return Err(SqlError::syntax("invalid OWNED BY option")
                .hint("Specify OWNED BY table.column or OWNED BY NONE."));
        }
    };
    let table = ddl.own_table(session, &table)?;
    if table.owner != sequence.owner {
        return Err(SqlError::new(
            SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
            "sequence must have same owner as table it is linked to",
        ));
    }
    if table.schema != sequence.schema {
        return Err(SqlError::new(
            SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
            "sequence must be in same schema as table it is linked to",
        ));
    }
    let at = table.position(&column).ok_or_else(|| {
        SqlError::new(
            SqlState::UNDEFINED_COLUMN,
            format!("column \"{column}\" of relation \"{}\" does not exist", table.name),
        )
    })?;
    sequence.owned_by = Some((table.id, table.columns[at].id));
    Ok(())
}

pub(super) async fn create(
    session: &mut Session,
    if_not_exists: bool,
    name: &ObjectName,
    options: &[SequenceOption],
    sink: &mut dyn Sink,
) -> Result<Tag, SqlError> {
    let mut ddl = Ddl::begin(session).await?;
    let (schema, name) = ddl.target(session, name)?;
    if ddl.catalog.relation_exists(schema.id, &name) {
        if if_not_exists {
            let message = format!("relation \"{name}\" already exists, skipping");
            notice(sink, SqlState::DUPLICATE_TABLE, message);
            return Ok(Tag::Text("CREATE SEQUENCE"));
        }
        return Err(duplicate_relation(&name));
    }
    let id = new_oids(session, 1).await?;
    let owner = session.authority().user();
    let mut sequence = Sequence::new(id, schema.id, name, owner, PgType::INT8);
    sequence.acl = ddl.catalog.acl_of_new(ObjectKind::Sequence, owner, schema.id);
    apply(&mut sequence, options, true)?;
    own(session, &ddl, &mut sequence, options)?;
    ddl.write(session, vec![Change::PutSequence(Box::new(sequence))]).await?;
    Ok(Tag::Text("CREATE SEQUENCE"))
}

/// The sequence of that name; `None` if nothing has it.
pub(super) fn find(
    session: &Session,
    ddl: &Ddl,
    name: &ObjectName,
) -> Result<Option<Arc<Sequence>>, SqlError> {
    let (schema, short) = relation_name(name, &session.env().database)?;
    let path = schema.map_or_else(|| session.search_path(), |schema| vec![schema]);
    let schemas = path.iter().filter_map(|s| ddl.catalog.schema(session.database(), s));
    for schema in schemas {
        if let Some(sequence) = ddl.catalog.sequence(schema.id, &short) {
            return Ok(Some(sequence.clone()));
        }
        if ddl.catalog.relation_exists(schema.id, &short) {
            return Err(SqlError::new(
                SqlState::WRONG_OBJECT_TYPE,
                format!("\"{short}\" is not a sequence"),
            ));
        }
    }
    Ok(None)
}

pub(super) async fn alter(
    session: &mut Session,
    if_exists: bool,
    name: &ObjectName,
    options: &[SequenceOption],
    sink: &mut dyn Sink,
) -> Result<Tag, SqlError> {
    let mut ddl = Ddl::begin(session).await?;
    let Some(sequence) = find(session, &ddl, name)? else {
        let shown = name_parts(name)?.join(".");
        if if_exists {
            let message = format!("relation \"{shown}\" does not exist, skipping");
            notice(sink, SqlState::UNDEFINED_TABLE, message);
            return Ok(Tag::Text("ALTER SEQUENCE"));
        }
        return Err(SqlError::new(
            SqlState::UNDEFINED_TABLE,
            format!("relation \"{shown}\" does not exist"),
        ));
    };
    session.authority().must_own(&*sequence)?;
    if options.iter().any(|o| matches!(o, SequenceOption::OwnedBy(_))) {
        refuse_identity(&ddl.catalog, &sequence, "cannot change ownership of identity sequence")?;
    }
    let mut next = Sequence::clone(&sequence);
    own(session, &ddl, &mut next, options)?;
    let change = changed(session, next, options).await?;
    ddl.write(session, vec![change]).await?;
    Ok(Tag::Text("ALTER SEQUENCE"))
}

/// A sequence with new options. It goes on from where it is, at a new place: what others have taken
/// ahead under the old options is void, and a rollback brings the old place back.
pub(super) async fn changed(
    session: &Session,
    mut next: Sequence,
    options: &[SequenceOption],
) -> Result<Change, SqlError> {
    let db = session.engine().db().clone();
    let now = crate::session::sequence_state(&db, &next).await?;
    let restarted = apply(&mut next, options, false)?;
    let state = restarted.unwrap_or(now);
    if restarted.is_none() && state.last > next.max {
        return Err(invalid(format!(
            "RESTART value ({}) cannot be greater than MAXVALUE ({})",
            state.last, next.max
        )));
    }
    if restarted.is_none() && state.last < next.min {
        return Err(invalid(format!(
            "RESTART value ({}) cannot be less than MINVALUE ({})",
            state.last, next.min
        )));
    }
    move_to(session, &mut next, state).await?;
    Ok(Change::PutSequence(Box::new(next)))
}

/// Gives a sequence a new place for its values, where it is in `state`.
async fn move_to(
    session: &Session,
    sequence: &mut Sequence,
    state: SequenceState,
) -> Result<(), SqlError> {
    sequence.values = new_oids(session, 1).await?;
    place(session, sequence, state).await
}

/// Puts a sequence into a state.
pub(super) async fn place(
    session: &Session,
    sequence: &Sequence,
    state: SequenceState,
) -> Result<(), SqlError> {
    let own = crate::session::SessionSequences::default();
    let engine = session.engine();
    let catalog = CatalogSnapshot::bootstrap();
    let catalog = catalog.with(0, [Change::PutSequence(Box::new(sequence.clone()))]);
    let calls =
        crate::session::SequenceCalls::new(engine.db(), &engine.sequences, &own, &catalog, false);
    calls.place(sequence.id, state).await
}

/// Sequences that belong to columns of a table begin anew (TRUNCATE … RESTART IDENTITY).
pub(super) async fn restarted(
    session: &Session,
    ddl: &Ddl,
    table: &Table,
) -> Result<Vec<Change>, SqlError> {
    let mut changes = Vec::new();
    for sequence in owned(&ddl.catalog, table, None) {
        let mut next = Sequence::clone(&sequence);
        next.values = new_oids(session, 1).await?;
        changes.push(Change::PutSequence(Box::new(next)));
    }
    Ok(changes)
}

/// The sequences that go with a table, or with one of its columns.
pub(super) fn owned(
    catalog: &CatalogSnapshot,
    table: &Table,
    column: Option<u32>,
) -> Vec<Arc<Sequence>> {
    let goes = |s: &&Arc<Sequence>| {
        s.owned_by.is_some_and(|(t, c)| t == table.id && column.is_none_or(|column| c == column))
    };
    catalog.sequences_of(table.schema).filter(goes).cloned().collect()
}

/// The column whose identity a sequence is.
pub(crate) fn identity_of<'a>(
    catalog: &'a CatalogSnapshot,
    sequence: &Sequence,
) -> Option<(&'a Arc<Table>, &'a catalog::Column)> {
    let (table, column) = sequence.owned_by?;
    let table = catalog.table_by_id(table)?;
    let column = table.columns.iter().find(|c| c.id == column)?;
    (column.identity.is_some() && column.sequence == Some(sequence.id)).then_some((table, column))
}

pub(super) fn refuse_identity(
    catalog: &CatalogSnapshot,
    sequence: &Sequence,
    message: &str,
) -> Result<(), SqlError> {
    let Some((table, _)) = identity_of(catalog, sequence) else { return Ok(()) };
    Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message)
        .detail(format!("Sequence \"{}\" is linked to table \"{}\".", sequence.name, table.name)))
}
