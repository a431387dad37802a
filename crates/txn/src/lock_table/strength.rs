//! How much a lock excludes.

/// How much a lock excludes: PostgreSQL's strengths of row locks, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Strength {
    /// Nobody deletes the row or changes its key.
    KeyShare,
    /// Nobody changes the row.
    Share,
    /// For changing what is not part of the key.
    NoKeyUpdate,
    /// For everything else; compatible with nothing.
    Update,
}

impl Strength {
    /// Whether two locks of different transactions on one key exclude each other. The table in the
    /// header of [`crate::lock_table`] happens to be a sum.
    #[must_use]
    pub fn conflicts(self, other: Strength) -> bool {
        self as u8 + other as u8 >= Strength::Update as u8
    }

    /// Whether its holder may write the row.
    #[must_use]
    pub fn may_write(self) -> bool {
        self >= Strength::NoKeyUpdate
    }
}
