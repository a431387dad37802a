//! What may be committed under a later version of the schema than it was done under; and that an index that comes
//! about in steps is whole and has nothing stale, whoever writes meanwhile under whatever version the rule allows.

use std::collections::{BTreeMap, BTreeSet};

use catalog::succession::{Usage, writers_of};
use catalog::{
    Action, CatalogSnapshot, Change, Closing, Column, Constraint, ConstraintKind, ForeignKey,
    Index, IndexColumn, IndexState, PUBLIC_SCHEMA_ID, Table, Validation,
};
use pgtypes::PgType;
use proptest::prelude::*;

const T: u32 = 100;
const U: u32 = 200;
const BY_V: u32 = 300;

fn column(id: u32, name: &str) -> Column {
    Column::new(id, name.to_owned(), PgType::INT8)
}

fn table(id: u32, name: &str) -> Table {
    let mut primary = Index::new(id + 1, format!("{name}_pkey"), true);
    primary.columns = vec![IndexColumn::ascending(1)];
    let columns = vec![column(1, "id"), column(2, "v")];
    Table::new(id, PUBLIC_SCHEMA_ID, name.to_owned(), 10, columns, primary)
}

fn index(state: IndexState) -> Index {
    let mut index = Index::new(BY_V, "by_v".to_owned(), false);
    index.columns = vec![IndexColumn::ascending(2)];
    index.state = state;
    index
}

fn catalog(version: u64, tables: impl IntoIterator<Item = Table>) -> CatalogSnapshot {
    let changes = tables.into_iter().map(|table| Change::PutTable(Box::new(table)));
    CatalogSnapshot::bootstrap().with(version, changes)
}

fn used(table: u32, written: bool) -> Usage {
    let mut usage = Usage::default();
    usage.note(table, written);
    usage
}

/// Whether a reader, and whether a writer, of `t` goes on beside a change of it.
fn concerned(change: impl FnOnce(&mut Table)) -> (bool, bool) {
    let mut after = table(T, "t");
    change(&mut after);
    let (old, new) = (catalog(1, [table(T, "t")]), catalog(2, [after]));
    (!used(T, false).allows(&old, &new), !used(T, true).allows(&old, &new))
}

fn check(validation: Option<Validation>, validated: bool) -> Constraint {
    let kind = ConstraintKind::Check { expression: "v > 0".to_owned() };
    let made = Constraint::new(400, "c".to_owned(), kind);
    Constraint { validated, validation, ..made }
}

#[test]
fn who_has_not_used_a_table_is_not_concerned() {
    let old = catalog(1, [table(T, "t"), table(U, "u")]);
    let new = catalog(2, [table(T, "t")]);
    assert!(used(T, true).allows(&old, &new));
    assert!(!used(U, false).allows(&old, &new), "it is gone");
    let mut everything = used(T, true);
    everything.note_everything();
    assert!(!everything.allows(&old, &new));
    assert!(everything.allows(&old, &old));
}

#[test]
fn a_change_concerns_readers_writers_or_nobody() {
    let reading = |reading| Some(Validation { process: (1, 1), reading, keep: false });
    assert_eq!(concerned(|t| t.comments.push((0, "a comment".to_owned()))), (false, false));
    assert_eq!(concerned(|t| t.name = "renamed".to_owned()), (false, false));
    let closing = Closing { process: (1, 1), token: 7 };
    assert_eq!(concerned(|t| t.closed = Some(closing)), (false, false));
    assert_eq!(concerned(|t| t.columns.push(column(3, "w"))), (true, true));
    assert_eq!(concerned(|t| t.columns[1].ty = PgType::TEXT), (true, true));
    assert_eq!(concerned(|t| t.primary.id += 1), (true, true));
    assert_eq!(concerned(|t| t.columns[1].default = Some("7".to_owned())), (false, true));
    assert_eq!(concerned(|t| t.columns[1].nullable = false), (false, true));
    assert_eq!(concerned(|t| t.constraints.push(check(None, true))), (false, true));
    assert_eq!(concerned(|t| t.constraints.push(check(None, false))), (false, false));
    assert_eq!(concerned(|t| t.constraints.push(check(reading(false), false))), (false, false));
    assert_eq!(concerned(|t| t.constraints.push(check(reading(true), false))), (false, true));
    for (state, concerns) in [
        (IndexState::DeleteOnly, false),
        (IndexState::WriteOnly, true),
        (IndexState::Filling, true),
        (IndexState::Public, true),
    ] {
        assert_eq!(concerned(|t| t.indexes.push(index(state))), (false, concerns), "{state:?}");
    }
}

#[test]
fn a_reader_by_an_index_is_concerned_by_its_end() {
    let mut before = table(T, "t");
    before.indexes.push(index(IndexState::Public));
    let (old, new) = (catalog(1, [before]), catalog(2, [table(T, "t")]));
    assert!(!used(T, false).allows(&old, &new));
}

/// A table whose rows refer to those of another.
fn referring(id: u32, name: &str, to: u32) -> Table {
    let mut child = table(id, name);
    let key = ForeignKey {
        columns: vec![2],
        table: to,
        referenced: vec![1],
        index: to + 1,
        on_delete: Action::NoAction,
        on_update: Action::NoAction,
        full: false,
        deferrable: false,
        deferred: false,
    };
    let kind = ConstraintKind::ForeignKey(key);
    child.constraints.push(Constraint::new(id + 50, "fk".to_owned(), kind));
    child
}

#[test]
fn a_table_is_closed_to_those_whom_its_change_concerns() {
    let all = || {
        [
            table(T, "t"),
            referring(U, "child", T),
            referring(400, "grandchild", U),
            referring(500, "other child", T),
            table(600, "alone"),
        ]
    };
    let old = catalog(1, all());
    for changed in [T, U, 400, 500, 600] {
        let mut after = all();
        let moved = after.iter_mut().find(|table| table.id == changed).expect("one of them");
        moved.primary.id += 1_000;
        let new = catalog(2, after);
        let concerned: BTreeSet<u32> = [T, U, 400, 500, 600]
            .into_iter()
            .filter(|user| !used(*user, true).allows(&old, &new))
            .collect();
        assert_eq!(writers_of(&old, changed), concerned, "{changed}");
    }
}

#[test]
fn a_new_reference_concerns_who_writes_what_it_refers_to() {
    let child = referring(U, "u", T);
    let old = catalog(1, [table(T, "t"), table(U, "u")]);
    let new = catalog(2, [table(T, "t"), child.clone()]);
    assert!(used(T, false).allows(&old, &new));
    assert!(!used(T, true).allows(&old, &new));
    // Who writes a table also uses what refers to it: rows there may go with its own.
    let mut other = child.clone();
    other.columns[1].ty = PgType::TEXT;
    let (old, new) = (catalog(1, [table(T, "t"), child]), catalog(2, [table(T, "t"), other]));
    assert!(used(T, false).allows(&old, &new));
    assert!(!used(T, true).allows(&old, &new));
}

#[test]
fn a_name_that_means_something_else_now_concerns_who_used_it() {
    let old = catalog(1, [table(T, "t")]);
    let mut elsewhere = table(U, "t");
    elsewhere.schema = catalog::CONCLAVE_SCHEMA_ID;
    let new = catalog(2, [table(T, "t"), elsewhere]);
    assert!(!used(T, false).allows(&old, &new));
}

/// The table while an index comes about: the state of each version.
const STATES: [Option<IndexState>; 5] = [
    None,
    Some(IndexState::DeleteOnly),
    Some(IndexState::WriteOnly),
    Some(IndexState::Filling),
    Some(IndexState::Public),
];

fn at(version: usize) -> CatalogSnapshot {
    let mut table = table(T, "t");
    table.indexes.extend(STATES[version].map(index));
    catalog(version as u64 + 1, [table])
}

#[derive(Debug, Clone)]
enum Event {
    /// A row gets a value, or goes, by a transaction that began so many versions ago.
    Write { id: u8, value: Option<u8>, behind: usize },
    /// The next step, with the filling between the last two.
    Step,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let write = (0..6u8, proptest::option::of(0..3u8), 0..4usize);
    let write = write.prop_map(|(id, value, behind)| Event::Write { id, value, behind });
    proptest::collection::vec(prop_oneof![4 => write, 1 => Just(Event::Step)], 1..80)
}

proptest! {
    #[test]
    fn an_index_that_comes_about_beside_writers_is_right(events in events()) {
        let versions: Vec<CatalogSnapshot> = (0..STATES.len()).map(at).collect();
        let mut now = 0;
        let mut rows: BTreeMap<u8, u8> = BTreeMap::new();
        let mut entries: BTreeSet<(u8, u8)> = BTreeSet::new();
        let steps = std::iter::repeat_n(Event::Step, STATES.len());
        for event in events.into_iter().chain(steps) {
            match event {
                Event::Write { id, value, behind } => {
                    let began = now - behind.min(now);
                    if !used(T, true).allows(&versions[began], &versions[now]) {
                        continue;
                    }
                    let old = match value {
                        Some(value) => rows.insert(id, value),
                        None => rows.remove(&id),
                    };
                    let Some(state) = STATES[began] else { continue };
                    if let Some(old) = old {
                        entries.remove(&(old, id));
                    }
                    entries.extend(value.filter(|_| state.is_written()).map(|value| (value, id)));
                }
                Event::Step => {
                    if STATES[now] == Some(IndexState::Filling) {
                        entries.extend(rows.iter().map(|(id, value)| (*value, *id)));
                    }
                    now = (now + 1).min(STATES.len() - 1);
                }
            }
            if STATES[now].is_some_and(IndexState::is_public) {
                let wanted: BTreeSet<_> = rows.iter().map(|(id, value)| (*value, *id)).collect();
                prop_assert_eq!(&entries, &wanted);
            }
        }
    }
}
