//! Numbers and strings as clauses 2.1.6 and 4.3.2 ask for them, from a seed.
//!
//! The generator is written out here (SplitMix64), because what a library's makes of a seed may change with
//! its version (T1).

/// Added to the OR of two numbers (clause 2.1.6.1), the same for all: what the load added to numbers of
/// last names, and the runs, which lies 65 to 119 above it but for 96 and 112.
const LAST_NAME_LOAD: i32 = 100;
const LAST_NAME_RUN: i32 = 173;
const CUSTOMER: i32 = 259;
const ITEM: i32 = 7_911;

const SYLLABLES: [&str; 10] =
    ["BAR", "OUGHT", "ABLE", "PRI", "PRES", "ESE", "ANTI", "CALLY", "ATION", "EING"];
const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// A stream of random numbers.
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

impl Random {
    /// A stream of its own for each list of numbers.
    pub(super) fn new(seed: u64, of: &[i32]) -> Random {
        let mut random = Random(seed);
        for &part in of {
            random.0 = random.next() ^ u64::from(part.unsigned_abs());
        }
        random
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number of a closed interval.
    pub(super) fn within(&mut self, from: i32, to: i32) -> i32 {
        assert!(from <= to, "{from} to {to} is no interval");
        let span = u64::from(to.abs_diff(from)) + 1;
        let above = i64::try_from(self.next() % span).expect("below 2^32");
        i32::try_from(i64::from(from) + above).expect("within the interval")
    }

    /// Whether something of that many percent happens.
    pub(super) fn percent(&mut self, percent: i32) -> bool {
        self.within(1, 100) <= percent
    }

    /// NURand: the numbers of an interval, some more often than others.
    fn uneven(&mut self, mask: i32, add: i32, from: i32, to: i32) -> i32 {
        let both = self.within(0, mask) | self.within(from, to);
        (both + add) % (to - from + 1) + from
    }

    /// A customer of a district.
    pub(super) fn customer(&mut self, customers: i32) -> i32 {
        self.uneven(1_023, CUSTOMER, 1, customers)
    }

    /// An item.
    pub(super) fn item(&mut self, items: i32) -> i32 {
        self.uneven(8_191, ITEM, 1, items)
    }

    /// The last name of a customer beyond the first thousand.
    pub(super) fn last_name_of_load(&mut self, customers: i32) -> String {
        last_name(self.uneven(255, LAST_NAME_LOAD, 0, customers.min(1_000) - 1))
    }

    /// A last name that somebody has.
    pub(super) fn last_name(&mut self, customers: i32) -> String {
        last_name(self.uneven(255, LAST_NAME_RUN, 0, customers.min(1_000) - 1))
    }

    /// Letters and digits.
    pub(super) fn text(&mut self, from: i32, to: i32) -> String {
        let count = self.within(from, to);
        let last = i32::try_from(LETTERS.len()).expect("small") - 1;
        let mut letter = || usize::try_from(self.within(0, last)).expect("not negative");
        (0..count).map(|_| char::from(LETTERS[letter()])).collect()
    }

    /// Digits.
    pub(super) fn digits(&mut self, count: i32) -> String {
        (0..count).map(|_| self.within(0, 9).to_string()).collect()
    }

    /// A text of 26 to 50 characters, with ORIGINAL somewhere in one of ten.
    pub(super) fn data(&mut self) -> String {
        const MARK: &str = "ORIGINAL";
        let mut text = self.text(26, 50);
        if self.percent(10) {
            let room = i32::try_from(text.len() - MARK.len()).expect("at most 50");
            let at = usize::try_from(self.within(0, room)).expect("not negative");
            text.replace_range(at..at + MARK.len(), MARK);
        }
        text
    }

    /// The numbers from one on, in any order.
    pub(super) fn shuffled(&mut self, count: i32) -> Vec<i32> {
        let mut all: Vec<i32> = (1..=count).collect();
        for last in (1..all.len()).rev() {
            let with = self.within(0, i32::try_from(last).expect("it came from one"));
            all.swap(last, usize::try_from(with).expect("not negative"));
        }
        all
    }
}

/// Three syllables for three digits (clause 4.3.2.3).
pub(super) fn last_name(number: i32) -> String {
    let syllable = |digit: i32| SYLLABLES[usize::try_from(digit % 10).expect("a digit")];
    [number / 100, number / 10, number].map(syllable).concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_for_ever() {
        let mut random = Random::new(7, &[1, 2]);
        let numbers: Vec<i32> = (0..5).map(|_| random.within(1, 1_000)).collect();
        assert_eq!(numbers, [812, 445, 297, 573, 420]);
        assert_eq!(Random::new(7, &[2, 1]).text(12, 12), "xX6aEd7VjxNo");
    }

    #[test]
    fn names_are_made_of_syllables() {
        assert_eq!(last_name(371), "PRICALLYOUGHT");
        assert_eq!(last_name(40), "BARPRESBAR");
    }

    #[test]
    fn numbers_stay_within_their_bounds() {
        let mut random = Random::new(1, &[]);
        for _ in 0..10_000 {
            assert!((1..=30).contains(&random.customer(30)));
            assert!((1..=200).contains(&random.item(200)));
            assert!((26..=50).contains(&random.data().len()));
        }
        let mut all = random.shuffled(100);
        all.sort_unstable();
        assert!(all.into_iter().eq(1..=100));
    }
}
