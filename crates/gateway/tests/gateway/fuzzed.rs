//! Bytes that no client means: messages, refusals or a violation. The fuzz target `wire`
//! does it without end.

use gateway::decode_all;
use proptest::collection::vec;
use proptest::prelude::*;

/// A message that is whole, with a body that is nearly right or just bytes.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let tag = prop_oneof![proptest::sample::select(b"QPBdFCDEfpHSXc".to_vec()), any::<u8>()];
    let piece = prop_oneof![
        Just(b"\0".to_vec()),
        Just(b"select $1\0".to_vec()),
        Just(b"S".to_vec()),
        Just(b"P\0".to_vec()),
        Just(b"\0\0".to_vec()),
        Just(b"\0\x01".to_vec()),
        Just(b"\xff\xff".to_vec()),
        Just(b"\0\0\0\x02ab".to_vec()),
        Just(b"\xff\xff\xff\xff".to_vec()),
        Just(b"\x7f\xff\xff\xff".to_vec()),
        vec(any::<u8>(), 0..9),
    ];
    (tag, vec(piece, 0..8), -2..3_i32).prop_map(|(tag, pieces, wrong)| {
        let body = pieces.concat();
        let length = i32::try_from(body.len()).expect("short") + 4;
        // Mostly right: a wrong one ends what can be read.
        let length = if wrong == 2 { length + 1 } else { length };
        [vec![tag], length.to_be_bytes().to_vec(), body].concat()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_messages_are_decoded_or_refused(messages in vec(message(), 0..6), limit in 8..300_usize) {
        let bytes = messages.concat();
        prop_assert!(decode_all(&bytes, limit) <= messages.len() + bytes.len() / 5);
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in vec(any::<u8>(), 0..300)) {
        decode_all(&bytes, 1 << 20);
    }
}
