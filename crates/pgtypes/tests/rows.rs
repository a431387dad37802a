//! Vectors, row types and rows that functions return.

use std::sync::Arc;

use pgtypes::arrow_bridge::{build_array, datum_at};
use pgtypes::record::{Field, fields, row_type};
use pgtypes::registry::{array_of_arrays, field_of, resolve_set_function};
use pgtypes::{Datum, EvalEnv, PgType, TypeId, parse_binary, parse_text, text_of, to_binary};

fn int2s(values: &[i16]) -> Datum {
    Datum::vector(values.iter().map(|v| Datum::Int2(*v)).collect())
}

#[test]
fn a_vector_is_an_array_from_0_without_braces() {
    let env = EvalEnv::default();
    let ty = PgType::named(TypeId::Int2vector);
    let vector = parse_text(" 1 -2  3 ", ty, &env).expect("a vector");
    assert_eq!(vector, int2s(&[1, -2, 3]));
    assert_eq!(text_of(&vector, ty, &env), "1 -2 3");
    assert_eq!((ty.oid(), ty.type_name().as_str()), (22, "int2vector"));
    assert!(ty.element().same(PgType::INT2));
    assert_eq!(PgType::from_oid(22), Some(ty));
    let mut bytes = bytes::BytesMut::new();
    to_binary(&vector, ty, &mut bytes);
    assert_eq!(parse_binary(bytes.freeze(), ty).expect("its own form"), vector);
    assert_eq!(text_of(&parse_text("", ty, &env).expect("empty"), ty, &env), "");
    parse_text("1,2", ty, &env).expect_err("no commas");
}

#[test]
fn a_row_type_knows_its_fields() {
    let of = |name: &str, ty| (Arc::from(name), ty);
    let list: Vec<Field> = vec![of("a", PgType::INT4), of("b", PgType::TEXT)];
    let ty = row_type(&list);
    assert_eq!(row_type(&list), ty);
    assert_eq!(fields(ty).expect("known").to_vec(), list);
    assert_eq!(fields(ty.to_array()).expect("of the rows in it").to_vec(), list);
    assert_ne!(row_type(&list[..1]), ty);
    assert!(row_type(&list[..1]).same(ty), "the type is record, whatever the fields");
    assert_eq!(fields(PgType::new(TypeId::Record)), None);
    assert_eq!(ty.base(), ty);

    let inner =
        Datum::Record(Arc::new(vec![(PgType::INT4, Datum::Int4(7)), (PgType::TEXT, Datum::Null)]));
    let env = EvalEnv::default();
    let call = field_of(ty, PgType::INT4);
    assert_eq!(call.call(&env, &[inner.clone(), Datum::Int4(0)]), Ok(Datum::Int4(7)));
    assert_eq!(call.call(&env, &[Datum::Null, Datum::Int4(0)]), Ok(Datum::Null));

    // Rows in rows and in arrays are stored with all they are.
    let outer_ty = row_type(&[of("r", ty), of("v", PgType::named(TypeId::Int2vector))]);
    let outer = Datum::Record(Arc::new(vec![
        (ty, inner),
        (PgType::named(TypeId::Int2vector), int2s(&[4])),
    ]));
    let array = Datum::array(vec![outer.clone(), Datum::Null]);
    for (value, ty) in [(outer, outer_ty), (array, outer_ty.to_array())] {
        let stored = build_array(ty, std::slice::from_ref(&value));
        assert_eq!(datum_at(&stored, 0, ty), value);
    }
}

#[test]
fn functions_return_their_rows_as_one_array() {
    let env = EvalEnv::default();
    let array = PgType::array_of(TypeId::Text);
    let call = resolve_set_function("_pg_expandarray", &[array]).expect("it exists");
    assert_eq!(call.columns, [("x", PgType::TEXT), ("n", PgType::INT4)]);
    let rows = call.call(&env, &[Datum::array(vec![Datum::text("a")])]).expect("rows");
    assert_eq!(text_of(&rows, call.result, &env), "{\"(a,1)\"}");
    let call = resolve_set_function("generate_subscripts", &[array, PgType::INT4]).expect("exists");
    assert!(call.result.same(PgType::array_of(TypeId::Int4)));
    resolve_set_function("lower", &[PgType::TEXT]).expect_err("no set");
}

#[test]
fn arrays_of_arrays_have_one_shape() {
    let env = EvalEnv::default();
    let ty = PgType::array_of(TypeId::Int4);
    let parse = |text: &str| parse_text(text, ty, &env).expect("an array");
    let nest = |texts: &[&str]| {
        let arrays: Vec<Datum> = texts.iter().map(|text| parse(text)).collect();
        array_of_arrays(ty, texts.len()).call(&env, &arrays).map(|all| text_of(&all, ty, &env))
    };
    assert_eq!(nest(&["{1,2}", "{3,4}"]).as_deref(), Ok("{{1,2},{3,4}}"));
    assert_eq!(nest(&["{{1},{2}}"]).as_deref(), Ok("{{{1},{2}}}"));
    assert_eq!(nest(&["{}", "{}"]).as_deref(), Ok("{}"));
    for bad in [["{1,2}", "{3}"], ["{1}", "{}"]] {
        assert_eq!(nest(&bad).expect_err("shapes differ").sqlstate, "2202E");
    }
}
