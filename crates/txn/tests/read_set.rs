//! The read set covers what was added, and stays small.

use base::{Key, KeyRange};
use proptest::prelude::*;
use txn::read_set::ReadSet;

fn key(n: u64) -> Key {
    Key::from(format!("k{n:03}").into_bytes())
}

proptest! {
    #[test]
    fn covers_what_was_read(
        spans in prop::collection::vec((0..100u64, prop::option::of(0..100u64)), 1..60),
        max in 1..12usize,
    ) {
        let mut set = ReadSet::new(max);
        let mut added: Vec<KeyRange> = Vec::new();
        for (from, to) in spans {
            match to {
                // A third of them points.
                Some(to) if to % 3 == 0 => {
                    set.add_key(&key(from));
                    added.push(KeyRange::point(key(from)));
                }
                to => {
                    let span = KeyRange { start: key(from), end: to.map_or(Key::MIN, key) };
                    set.add(span.clone());
                    added.push(span);
                }
            }
            prop_assert!(set.len() <= max);
            for n in 0..100 {
                if added.iter().any(|span| span.contains(key(n).as_bytes())) {
                    prop_assert!(set.covers(key(n).as_bytes()), "S1: {} was read", key(n));
                } else if set.len() < max && added.len() < max {
                    prop_assert!(!set.covers(key(n).as_bytes()), "{} was not read", key(n));
                }
            }
            let spans: Vec<KeyRange> = set.iter().collect();
            for pair in spans.windows(2) {
                let apart = !pair[0].end.0.is_empty() && pair[0].end < pair[1].start;
                prop_assert!(apart, "S2: {pair:?}");
            }
        }
    }
}
