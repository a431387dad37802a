//! What an engine should hold, as four maps, and the sequence that the operations are drawn from.

use std::collections::BTreeMap;
use std::ops::Bound;

use base::KeyRange;

use crate::{EngineRead, Family, IterOptions, WriteBatch};

/// Pseudo-random numbers that are the same in every run (Knuth's linear congruence).
pub(super) struct Sequence(u64);

impl Sequence {
    pub(super) fn new(seed: u64) -> Self {
        Sequence(seed)
    }

    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn key(&mut self) -> Vec<u8> {
        let len = self.below(4);
        (0..len).map(|_| [0, 1, b'a', b'b', 0xFE, 0xFF][self.below(6) as usize]).collect()
    }
}

type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// What an engine should hold.
#[derive(Default)]
pub(super) struct Model {
    families: [Entries; 4],
}

impl Model {
    pub(super) fn random_op(&mut self, random: &mut Sequence, batch: &mut WriteBatch) {
        let family = Family::ALL[random.below(4) as usize];
        let entries = &mut self.families[family.index()];
        let key = random.key();
        match random.below(10) {
            0..6 => {
                let value = vec![random.below(256) as u8; random.below(40) as usize];
                batch.put(family, &key, &value);
                entries.insert(key, value);
            }
            6..9 => {
                batch.delete(family, &key);
                entries.remove(&key);
            }
            _ => {
                let end = random.key();
                batch.delete_range(family, &key, &end);
                entries.retain(|k, _| k < &key || (!end.is_empty() && k >= &end));
            }
        }
    }

    /// Compares points, whole families, and steps from a random place in a random span.
    pub(super) fn check(&self, engine: &dyn EngineRead, random: &mut Sequence) {
        for family in Family::ALL {
            let entries = &self.families[family.index()];
            let key = random.key();
            let value = engine.get(family, &key).expect("get");
            assert_eq!(
                value.as_deref(),
                entries.get(&key).map(Vec::as_slice),
                "{family:?} {key:?}"
            );
            check_walk(entries, engine, family, &KeyRange::ALL, b"");
            let span = KeyRange::new(random.key(), random.key());
            if !span.is_empty() {
                check_walk(entries, engine, family, &span, &random.key());
            }
        }
    }
}

fn check_walk(
    entries: &Entries,
    engine: &dyn EngineRead,
    family: Family,
    span: &KeyRange,
    from: &[u8],
) {
    let inside: Entries = entries
        .iter()
        .filter(|(key, _)| span.contains(key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let mut iter = engine.iter(family, span, IterOptions::default()).expect("iter");
    let mut found = iter.seek(from).expect("seek");
    for (key, value) in inside.range::<[u8], _>((Bound::Included(from), Bound::Unbounded)) {
        assert!(found, "{family:?} {span} from {from:?}: {key:?} is missing");
        assert_eq!((iter.key(), iter.value().as_slice()), (&key[..], &value[..]));
        found = iter.next().expect("next");
    }
    assert!(!found, "{family:?} {span}: an entry too many");
    let mut found = iter.seek_for_prev(from).expect("seek");
    for (key, value) in inside.range::<[u8], _>((Bound::Unbounded, Bound::Included(from))).rev() {
        assert!(found, "{family:?} {span} back from {from:?}: {key:?} is missing");
        assert_eq!((iter.key(), iter.value().as_slice()), (&key[..], &value[..]));
        found = iter.prev().expect("prev");
    }
    assert!(!found, "{family:?} {span}: an entry too many");
}
