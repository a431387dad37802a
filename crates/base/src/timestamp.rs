//! The one notion of order in the cluster.

use std::fmt;

/// A point in the total order of the cluster: physical milliseconds in the upper 46 bits, a logical
/// counter in the lower 18. Only the oracle makes new ones; the physical part means something to
/// humans and nothing to the protocol.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Bits of the logical counter.
    pub const LOGICAL_BITS: u32 = 18;
    /// Before everything.
    pub const ZERO: Timestamp = Timestamp(0);
    /// After everything: a read here sees the newest version of each key.
    pub const MAX: Timestamp = Timestamp(u64::MAX);

    /// The first timestamp of a millisecond (since the Unix epoch).
    #[must_use]
    pub fn from_millis(millis: u64) -> Self {
        Timestamp(millis << Self::LOGICAL_BITS)
    }

    /// The physical part: milliseconds since the Unix epoch, as the oracle's clock told them.
    #[must_use]
    pub fn millis(self) -> u64 {
        self.0 >> Self::LOGICAL_BITS
    }

    /// The next instant. Overflow means corrupt data, not load: it is 2,200 years of milliseconds.
    #[must_use]
    pub fn next(self) -> Self {
        Timestamp(self.0.checked_add(1).expect("timestamp overflow"))
    }

    /// The instant before, or zero.
    #[must_use]
    pub fn prev(self) -> Self {
        Timestamp(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Timestamp::MAX => write!(f, "max"),
            // Scripts use small logical timestamps; people read the two parts.
            ts if ts.millis() == 0 => write!(f, "{}", ts.0),
            ts => write!(f, "{}.{}", ts.millis(), ts.0 & ((1 << Self::LOGICAL_BITS) - 1)),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
