//! Chance, all of it from one seed.

/// SplitMix64: many numbers of fair quality, and cheap to fork.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// From a seed. Seeds that differ by little give runs that differ in everything.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng(seed ^ 0x6A09_E667_F3BC_C909);
        rng.any();
        rng
    }

    /// A generator of its own, so that what it is used for does not disturb what this one decides.
    #[must_use]
    pub fn fork(&mut self) -> Rng {
        Rng::new(self.any())
    }

    /// Any number.
    pub fn any(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `n`; zero if `n` is.
    pub fn below(&mut self, n: u64) -> u64 {
        if n == 0 { 0 } else { self.any() % n }
    }

    /// An index into something of length `n`.
    pub fn index(&mut self, n: usize) -> usize {
        usize::try_from(self.below(n as u64)).expect("below a usize")
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// True in so many of a million cases.
    pub fn chance(&mut self, of_a_million: u64) -> bool {
        of_a_million > 0 && self.below(1_000_000) < of_a_million
    }
}
