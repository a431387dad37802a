//! Encoded order is value order, and decoding gives back what was encoded.

use base::codec::{put_bytes, put_f64, put_i64, take_bytes, take_f64, take_i64};
use proptest::prelude::*;

fn bytes_of(v: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes(&mut out, v);
    out
}

fn small_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop_oneof![Just(0u8), Just(1), Just(255), any::<u8>()], 0..6)
}

proptest! {
    #[test]
    fn byte_strings_keep_their_order_as_tuples(
        a in (small_bytes(), small_bytes()), b in (small_bytes(), small_bytes())
    ) {
        let encode = |(x, y): &(Vec<u8>, Vec<u8>)| [bytes_of(x), bytes_of(y)].concat();
        prop_assert_eq!(a.cmp(&b), encode(&a).cmp(&encode(&b)));
        let encoded = encode(&a);
        let mut rest = encoded.as_slice();
        prop_assert_eq!(take_bytes(&mut rest), Ok(a.0));
        prop_assert_eq!(take_bytes(&mut rest), Ok(a.1));
        prop_assert!(rest.is_empty());
    }

    #[test]
    fn integers_and_floats_keep_their_order(a in any::<i64>(), b in any::<i64>(), x: f64, y: f64) {
        let int = |v| { let mut out = Vec::new(); put_i64(&mut out, v); out };
        prop_assert_eq!(a.cmp(&b), int(a).cmp(&int(b)));
        prop_assert_eq!(take_i64(&mut int(a).as_slice()), Ok(a));
        let float = |v| { let mut out = Vec::new(); put_f64(&mut out, v); out };
        if let Some(order) = x.partial_cmp(&y) {
            prop_assert_eq!(order, float(x).cmp(&float(y)));
            prop_assert_eq!(take_f64(&mut float(x).as_slice()), Ok(x));
        }
    }
}
