//! Values as parameters come: text or binary, of any type. What is read can be written and read again.

#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use pgtypes::{EvalEnv, PgType, TypeId};

fuzz_target!(|bytes: &[u8]| {
    let [which, data @ ..] = bytes else { return };
    let ids: Vec<TypeId> = TypeId::all().collect();
    let id = ids[usize::from(which >> 1) % ids.len()];
    let ty = if which & 1 == 1 { PgType::array_of(id) } else { PgType::new(id) };
    let env = EvalEnv::default();
    if let Ok(text) = std::str::from_utf8(data) {
        drop(pgtypes::parse_text(text, ty, &env));
    }
    if let Ok(datum) = pgtypes::parse_binary(Bytes::copy_from_slice(data), ty) {
        let mut out = BytesMut::new();
        pgtypes::to_binary(&datum, ty, &mut out);
        pgtypes::parse_binary(out.freeze(), ty).expect("what was written is read");
    }
});
