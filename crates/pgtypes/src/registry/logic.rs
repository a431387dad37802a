//! Functions on booleans and on any value. AND, OR, NOT, IS … are forms of the binder.

use super::Registry;
use super::args::boolean;
use crate::datum::Datum;

pub(super) fn register(r: &mut Registry) {
    r.f("booland_statefunc(bool,bool) bool", |_, a| {
        Ok(Datum::Bool(boolean(&a[0]) && boolean(&a[1])))
    });
    r.f("boolor_statefunc(bool,bool) bool", |_, a| {
        Ok(Datum::Bool(boolean(&a[0]) || boolean(&a[1])))
    });
    r.f("num_nulls(variadic any) int4", |_, a| Ok(Datum::Int4(count(a, true)))).nonstrict();
    r.f("num_nonnulls(variadic any) int4", |_, a| Ok(Datum::Int4(count(a, false)))).nonstrict();
}

fn count(args: &[Datum], null: bool) -> i32 {
    let count = args.iter().filter(|arg| arg.is_null() == null).count();
    i32::try_from(count).expect("at most 100 arguments")
}
