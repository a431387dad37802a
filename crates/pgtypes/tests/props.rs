//! Properties that hold for every value: text and binary round trips, and keys that order as
//! PostgreSQL does.

use std::cmp::Ordering;

use bytes::{Bytes, BytesMut};
use pgtypes::arrow_bridge::{build_array, datum_at, sort_key};
use pgtypes::sortkey::value_of_key;
use pgtypes::{
    Datum, EvalEnv, Interval, Numeric, PgType, TypeId, compare_as, parse_binary, parse_text,
    text_of, to_binary,
};
use proptest::prelude::*;

fn numeric() -> impl Strategy<Value = Datum> {
    let digits = prop_oneof![
        5 => (any::<i64>(), 0u16..20).prop_map(|(v, s)| Numeric::from_parts(i128::from(v), s)),
        3 => (-1000i128..1000, 0u16..4).prop_map(|(v, s)| Numeric::from_parts(v, s)),
        3 => "-?[0-9]{1,80}(\\.[0-9]{1,60})?".prop_map(|t| Numeric::parse(&t).expect("digits")),
        1 => (-300i32..300, 1u32..9)
            .prop_map(|(e, d)| Numeric::parse(&format!("{d}e{e}")).expect("digits")),
        1 => prop_oneof![
            Just(Numeric::NAN),
            Just(Numeric::INFINITY),
            Just(Numeric::NEG_INFINITY),
            Just(Numeric::ZERO)
        ],
    ];
    digits.prop_map(Datum::Numeric)
}

fn scalar() -> impl Strategy<Value = (PgType, Datum)> {
    let interval =
        (any::<i32>(), any::<i32>(), any::<i32>()).prop_map(|(months, days, seconds)| {
            Datum::Interval(Interval {
                months: months / 2,
                days,
                micros: i64::from(seconds) * 1_000_003,
            })
        });
    let of = |id: TypeId| move |datum: Datum| (PgType::new(id), datum);
    prop_oneof![
        any::<bool>().prop_map(Datum::Bool).prop_map(of(TypeId::Bool)),
        any::<i16>().prop_map(Datum::Int2).prop_map(of(TypeId::Int2)),
        any::<i32>().prop_map(Datum::Int4).prop_map(of(TypeId::Int4)),
        any::<i64>().prop_map(Datum::Int8).prop_map(of(TypeId::Int8)),
        any::<f32>().prop_map(Datum::Float4).prop_map(of(TypeId::Float4)),
        any::<f64>().prop_map(Datum::Float8).prop_map(of(TypeId::Float8)),
        numeric().prop_map(of(TypeId::Numeric)),
        "[^\\x00]{0,12}".prop_map(Datum::from).prop_map(of(TypeId::Text)),
        proptest::collection::vec(any::<u8>(), 0..12)
            .prop_map(|b| Datum::Bytea(b.into()))
            .prop_map(of(TypeId::Bytea)),
        (-2_451_545i32..2_145_031_949).prop_map(Datum::Date).prop_map(of(TypeId::Date)),
        (0i64..86_400_000_000).prop_map(Datum::Time).prop_map(of(TypeId::Time)),
        (-211_813_488_000_000_000i64..9_223_371_331_200_000_000)
            .prop_map(Datum::Timestamp)
            .prop_map(of(TypeId::Timestamp)),
        (-211_813_488_000_000_000i64..9_223_371_331_200_000_000)
            .prop_map(Datum::Timestamptz)
            .prop_map(of(TypeId::Timestamptz)),
        interval.prop_map(of(TypeId::Interval)),
        any::<[u8; 16]>().prop_map(Datum::Uuid).prop_map(of(TypeId::Uuid)),
        any::<u32>().prop_map(Datum::Oid).prop_map(of(TypeId::Oid)),
    ]
}

fn value() -> impl Strategy<Value = (PgType, Datum)> {
    prop_oneof![
        4 => scalar(),
        1 => (scalar(), 0usize..4, any::<bool>()).prop_map(|((ty, datum), n, null)| {
            let mut items = vec![datum; n];
            if null {
                items.push(Datum::Null);
            }
            (ty.to_array(), Datum::array(items))
        }),
    ]
}

/// NaN differs from itself as a Rust value, so texts are compared.
fn same(a: &Datum, b: &Datum, ty: PgType) -> bool {
    let env = EvalEnv::default();
    text_of(a, ty, &env) == text_of(b, ty, &env)
}

proptest! {
    #[test]
    fn text_round_trips((ty, datum) in value()) {
        let env = EvalEnv::default();
        let text = text_of(&datum, ty, &env);
        let back = parse_text(&text, ty, &env).expect("what was printed can be read");
        prop_assert!(same(&datum, &back, ty), "{text}");
    }

    #[test]
    fn binary_round_trips((ty, datum) in value()) {
        let mut bytes = BytesMut::new();
        to_binary(&datum, ty, &mut bytes);
        let back = parse_binary(Bytes::from(bytes), ty).expect("what was written can be read");
        prop_assert!(same(&datum, &back, ty));
    }

    #[test]
    fn arrow_round_trips((ty, datum) in value()) {
        let array = build_array(ty, &[Datum::Null, datum.clone()]);
        prop_assert!(datum_at(&array, 0, ty).is_null());
        prop_assert!(same(&datum, &datum_at(&array, 1, ty), ty));
    }

    #[test]
    fn numeric_keys_order_as_values(a in numeric(), b in numeric()) {
        let ty = PgType::NUMERIC;
        let (mut key_a, mut key_b) = (Vec::new(), Vec::new());
        sort_key(&a, ty, &mut key_a);
        sort_key(&b, ty, &mut key_b);
        prop_assert_eq!(key_a.cmp(&key_b), compare_as(ty, &a, &b));
        // K2: no key is a prefix of another.
        prop_assert!(key_a == key_b || !(key_a.starts_with(&key_b) || key_b.starts_with(&key_a)));
        let again = value_of_key(&key_a, ty).expect("numbers can be told");
        prop_assert!(compare_as(ty, &a, &again).is_eq());
    }

    #[test]
    fn numeric_sortable_round_trips(a in numeric()) {
        let Datum::Numeric(value) = a else { unreachable!() };
        let mut bytes = Vec::new();
        value.encode_sortable(&mut bytes);
        prop_assert!(Numeric::is_sortable(&bytes));
        prop_assert_eq!(Numeric::decode_sortable(&bytes), Some(value));
    }

    #[test]
    fn what_is_taken_for_a_numeric_is_one(
        a in numeric(),
        at in any::<proptest::sample::Index>(),
        to in any::<u8>(),
        cut in 0usize..3,
    ) {
        let Datum::Numeric(value) = a else { unreachable!() };
        let mut bytes = Vec::new();
        value.encode_sortable(&mut bytes);
        let at = at.index(bytes.len());
        // An exponent spelled out is as large as it says: no other than there was.
        prop_assume!(!(1..5).contains(&at) || !matches!(bytes[0], 0x90 | 0xef | 0x6f | 0x10));
        bytes[at] = if at == 0 && matches!(to, 0x90 | 0xef | 0x6f | 0x10) { 0 } else { to };
        bytes.drain(..cut.min(bytes.len()));
        let wide = bytes.first().is_some_and(|class| matches!(class, 0x90 | 0xef | 0x6f | 0x10));
        prop_assume!(cut == 0 || !wide);
        prop_assert!(!Numeric::is_sortable(&bytes) || Numeric::decode_sortable(&bytes).is_some());
    }

    #[test]
    fn keys_order_as_values((ty, a) in scalar(), (_, b) in scalar()) {
        let alike = std::mem::discriminant(&a) == std::mem::discriminant(&b);
        let b = if alike { b } else { a.clone() };
        let (mut key_a, mut key_b) = (Vec::new(), Vec::new());
        sort_key(&a, ty, &mut key_a);
        sort_key(&b, ty, &mut key_b);
        prop_assert_eq!(key_a.cmp(&key_b), compare_as(ty, &a, &b));
        if let Some(again) = value_of_key(&key_a, ty) {
            prop_assert!(compare_as(ty, &a, &again).is_eq());
        }
    }

    #[test]
    fn float_keys_order_as_values(a in any::<f64>(), b in any::<f64>()) {
        let ty = PgType::FLOAT8;
        let (mut key_a, mut key_b) = (Vec::new(), Vec::new());
        sort_key(&Datum::Float8(a), ty, &mut key_a);
        sort_key(&Datum::Float8(b), ty, &mut key_b);
        let order = compare_as(ty, &Datum::Float8(a), &Datum::Float8(b));
        prop_assert_eq!(key_a.cmp(&key_b), order);
    }

    #[test]
    fn numeric_arithmetic_is_exact(a in -1_000_000i64..1_000_000, b in 1i64..1000, s in 0u16..6) {
        let (x, y) = (Numeric::from_parts(i128::from(a), s), Numeric::from(b));
        let sum = x.add(&y).expect("small");
        prop_assert_eq!(sum.sub(&y).expect("small"), x.clone());
        let rest = x.rem(&y).expect("not zero");
        let whole = x.div_trunc(&y).expect("not zero");
        let again = whole.mul(&y).expect("small").add(&rest).expect("small");
        prop_assert_eq!(again.cmp_value(&x), Ordering::Equal);
    }

    #[test]
    fn reading_never_panics(text in "[ -~]{0,20}", at in 0usize..20) {
        let ids: Vec<TypeId> = TypeId::all().collect();
        let ty = PgType { id: ids[at % ids.len()], array: at % 3 == 0, typmod: -1 };
        std::hint::black_box(parse_text(&text, ty, &EvalEnv::default()).is_ok());
    }

    #[test]
    fn reading_bytes_never_panics(
        bytes in proptest::collection::vec(any::<u8>(), 0..40),
        at in 0usize..40,
    ) {
        let ids: Vec<TypeId> = TypeId::all().collect();
        let ty = PgType { id: ids[at % ids.len()], array: at % 2 == 0, typmod: -1 };
        std::hint::black_box(parse_binary(Bytes::from(bytes), ty).is_ok());
    }

    #[test]
    fn dates_never_panic(text in "[0-9a-z:+./ -]{0,24}") {
        let env = EvalEnv::default();
        for id in [TypeId::Date, TypeId::Time, TypeId::Timestamptz, TypeId::Interval] {
            std::hint::black_box(parse_text(&text, PgType::new(id), &env).is_ok());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    /// What a client sends as a parameter. The target `values` in `crates/gateway/fuzz/` does it without end.
    #[test]
    fn any_bytes_are_a_value_or_an_error(
        id in proptest::sample::select(TypeId::all().collect::<Vec<_>>()),
        array in any::<bool>(),
        head in proptest::sample::select(vec![&b""[..], b"\0\0\0\x01\0\0\0\0", b"\0\x02\0\x01\0\0", b"\x01", b"{", b"1"]),
        tail in proptest::collection::vec(prop_oneof![Just(0_u8), Just(255), any::<u8>()], 0..40),
    ) {
        let bytes = [head, &tail].concat();
        let ty = if array { PgType::array_of(id) } else { PgType::new(id) };
        if let Ok(text) = std::str::from_utf8(&bytes) {
            drop(parse_text(text, ty, &EvalEnv::default()));
        }
        if let Ok(datum) = parse_binary(Bytes::from(bytes), ty) {
            let mut out = BytesMut::new();
            to_binary(&datum, ty, &mut out);
            prop_assert!(parse_binary(out.freeze(), ty).is_ok(), "{datum:?} of {ty:?} is not read again");
        }
    }
}
