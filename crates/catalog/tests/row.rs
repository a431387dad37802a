//! Rows and index entries as bytes: what `row.rs` promises, for random rows of all kinds of types.

use std::cmp::Ordering;

use base::Key;
use bytes::Bytes;
use catalog::{Column, ColumnId, Index, IndexColumn, Table, encode_single};
use pgtypes::arrow_bridge::ColumnBuilder;
use pgtypes::{Datum, Interval, Numeric, PgType, TypeId, compare_as};
use proptest::prelude::*;

const WIDTH: usize = 14;

fn types() -> [PgType; WIDTH] {
    [
        PgType::INT8,
        PgType::INT4,
        PgType::TEXT,
        PgType::NUMERIC,
        PgType::BOOL,
        PgType::FLOAT8,
        PgType::new(TypeId::Bytea),
        PgType::new(TypeId::Uuid),
        PgType::new(TypeId::Interval),
        PgType::new(TypeId::Date),
        PgType::new(TypeId::Timestamptz),
        PgType::new(TypeId::Float4),
        PgType::new(TypeId::Oid),
        PgType::INT4.to_array(),
    ]
}

fn value(ty: PgType) -> BoxedStrategy<Datum> {
    if ty.array {
        let items = proptest::collection::vec(any::<i32>().prop_map(Datum::Int4), 1..4);
        return items.prop_map(Datum::array).boxed();
    }
    match ty.id {
        TypeId::Int8 => any::<i64>().prop_map(Datum::Int8).boxed(),
        TypeId::Int4 => any::<i32>().prop_map(Datum::Int4).boxed(),
        TypeId::Text => "[a-c]{0,3}|.{0,20}".prop_map(|text: String| Datum::text(text)).boxed(),
        TypeId::Numeric => "-?[0-9]{1,30}(\\.[0-9]{0,20})?|NaN|-?Infinity"
            .prop_map(|text| Datum::Numeric(Numeric::parse(&text).expect("a number")))
            .boxed(),
        TypeId::Bool => any::<bool>().prop_map(Datum::Bool).boxed(),
        TypeId::Float8 => any::<f64>().prop_map(Datum::Float8).boxed(),
        TypeId::Float4 => any::<f32>().prop_map(Datum::Float4).boxed(),
        TypeId::Bytea => proptest::collection::vec(any::<u8>(), 0..20)
            .prop_map(|bytes| Datum::Bytea(bytes.into()))
            .boxed(),
        TypeId::Uuid => any::<[u8; 16]>().prop_map(Datum::Uuid).boxed(),
        TypeId::Interval => (-50..50i32, -50..50i32, any::<i32>())
            .prop_map(|(months, days, micros)| {
                Datum::Interval(Interval { months, days, micros: i64::from(micros) })
            })
            .boxed(),
        TypeId::Date => any::<i32>().prop_map(Datum::Date).boxed(),
        TypeId::Timestamptz => any::<i64>().prop_map(Datum::Timestamptz).boxed(),
        TypeId::Oid => any::<u32>().prop_map(Datum::Oid).boxed(),
        _ => unreachable!("{ty} is not among the types"),
    }
}

/// A row; the key's column, the first, is not NULL.
fn row() -> impl Strategy<Value = Vec<Datum>> {
    let present = proptest::collection::vec(proptest::bool::weighted(0.8), WIDTH);
    (types().map(value), present).prop_map(|(values, present)| {
        let keep = |(at, (value, present)): (usize, (Datum, bool))| match present || at == 0 {
            true => value,
            false => Datum::Null,
        };
        values.into_iter().zip(present).enumerate().map(keep).collect()
    })
}

/// A table of these types with ids `gap` apart, an index on each column that can have one, and, if
/// `grown`, the second column added when there were rows, with 7 for those.
fn table(gap: u32, descending: bool, grown: bool) -> Table {
    let id = |at: usize| 1 + ColumnId::try_from(at).expect("a small number") * gap;
    let columns = types().into_iter().enumerate().map(|(at, ty)| Column {
        nullable: at > 0,
        missing: (at == 1 && grown)
            .then(|| encode_single(&Datum::Int4(7), ty).expect("a value of its type")),
        ..Column::new(id(at), format!("c{at}"), ty)
    });
    let mut primary = Index::new(7, "t_pkey".to_owned(), true);
    primary.columns = vec![IndexColumn::ascending(id(0))];
    let mut table = Table::new(5, 2, "t".to_owned(), 10, columns.collect(), primary);
    let indexed = types().into_iter().enumerate().filter(|(_, ty)| catalog::is_indexable(*ty));
    table.indexes = indexed
        .map(|(at, _)| {
            let oid = 100 + u32::try_from(at).expect("a small number");
            let mut index = Index::new(oid, format!("t_{at}"), false);
            index.id = 2 + oid;
            index.columns = vec![IndexColumn { descending, ..IndexColumn::ascending(id(at)) }];
            index
        })
        .collect();
    table
}

/// A column's values as an Arrow array, shown.
fn array(ty: PgType, push: impl FnOnce(&mut ColumnBuilder)) -> String {
    let mut column = ColumnBuilder::new(ty, 1);
    push(&mut column);
    format!("{:?}", column.finish())
}

/// PostgreSQL's order of two values that may be NULL.
fn order(ty: PgType, descending: bool, a: &Datum, b: &Datum) -> Ordering {
    let ascending = match (a.is_null(), b.is_null()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) => compare_as(ty, a, b),
    };
    if descending { ascending.reverse() } else { ascending }
}

proptest! {
    /// C1, for any columns in any order, and however far ids are apart (C3).
    #[test]
    fn a_row_is_what_was_encoded(
        row in row(),
        gap in 1u32..40,
        wanted in Just((0..WIDTH).collect::<Vec<_>>()).prop_shuffle(),
        count in 0..=WIDTH,
    ) {
        let table = table(gap, false, false);
        let key = table.codec().key(&row).expect("a key");
        let value = table.codec().value(&row).expect("a value");
        prop_assert_eq!(&table.codec().decode(&key, &value).expect("the row"), &row);
        let wanted = &wanted[..count];
        let mut some = Vec::new();
        table.codec().decoder(wanted).decode(&key, &value, &mut some).expect("the columns");
        let expected: Vec<Datum> = wanted.iter().map(|&at| row[at].clone()).collect();
        prop_assert_eq!(some, expected);
    }

    /// The way from bytes to Arrow that goes by no datum leads to the same arrays.
    #[test]
    fn stored_values_are_arrow_values(
        row in row(),
        gap in 1u32..40,
        wanted in Just((0..WIDTH).collect::<Vec<_>>()).prop_shuffle(),
        count in 0..=WIDTH,
        older in any::<bool>(),
    ) {
        let key = table(gap, false, false).codec().key(&row).expect("a key");
        let value = table(gap, false, false).codec().value(&row).expect("a value");
        let table = table(gap, false, older);
        let decoder = table.codec().decoder(&wanted[..count]);
        let mut datums = Vec::new();
        decoder.decode(&key, &value, &mut datums).expect("the columns");
        let mut arrays = vec![None; count];
        decoder
            .each(&key, &value, |slot, stored| {
                let mut pushed = Ok(());
                let made = array(types()[wanted[slot]], |column| pushed = stored.push_to(column));
                assert!(arrays[slot].replace(made).is_none(), "column {slot} came twice");
                pushed
            })
            .expect("the columns");
        for (slot, datum) in datums.iter().enumerate() {
            let expected = array(types()[wanted[slot]], |column| column.push(datum));
            prop_assert_eq!(arrays[slot].as_ref(), Some(&expected));
        }
    }

    /// C2.
    #[test]
    fn entries_order_as_values_do(a in row(), b in row(), descending in any::<bool>()) {
        let table = table(1, descending, false);
        let codec = table.codec();
        for index in codec.indexes() {
            let at = index.positions().next().expect("it has a column");
            let entry = |row: &Vec<Datum>| {
                index.key_prefix(&[row[at].clone()]).expect("a key")
            };
            let expected = order(types()[at], descending, &a[at], &b[at]);
            prop_assert_eq!(entry(&a).cmp(&entry(&b)), expected, "{:?} {:?}", &a[at], &b[at]);
        }
    }

    /// Whatever stands in the store, reading it ends with a row or an error.
    #[test]
    fn bytes_that_are_no_row_do_no_harm(
        row in row(),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
        noise in proptest::collection::vec(any::<u8>(), 0..60),
    ) {
        let table = table(1, false, false);
        let key = table.codec().key(&row).expect("a key");
        let mut bytes = table.codec().value(&row).expect("a value").to_vec();
        for (at, to) in changes {
            let at = at.index(bytes.len());
            bytes[at] = to;
        }
        let decoder = table.codec().decoder(&(0..WIDTH).collect::<Vec<_>>());
        for (key, bytes) in [(key.clone(), bytes), (key, noise.clone()), (Key(noise.into()), vec![1])] {
            let value = Bytes::from(bytes);
            if let Ok(row) = table.codec().decode(&key, &value) {
                prop_assert_eq!(row.len(), WIDTH);
            }
            let mut columns = types().map(|ty| ColumnBuilder::new(ty, 1));
            drop(decoder.each(&key, &value, |slot, stored| stored.push_to(&mut columns[slot])));
        }
    }
}
