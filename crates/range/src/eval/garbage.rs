//! Whether garbage collection is worth a pass over the range: an estimate, kept by the leader alone.
//!
//! A version is garbage once a newer one is old enough, and a transaction's record once the transaction
//! is. Nobody counts either. What is known is how much was written, and when last:
//!
//! ```text
//!   written ──────────────── last write ─────────────▶ time
//!      every so many bytes: a pass        │  point
//!      that finds what is old enough      └────┤ the point is past the last write:
//!                                              one more pass, and the range is clean
//! ```
//!
//! So the cost of all passes is in proportion to what was written, and a range where nothing happens is
//! not looked at. A new leader does not know what was written before it: one pass, when the point is
//! past its beginning.

use base::Timestamp;

/// A pass is worth it when so much of the range's size was written since the last: one n-th.
const SHARE: u64 = 8;
/// ... and at least so many bytes.
const BYTES_MIN: u64 = 64 << 10;

/// What may be garbage in one range.
#[derive(Debug, Clone)]
pub(super) struct Garbage {
    /// Bytes written since a pass began.
    written: u64,
    /// No write so far became visible above it.
    newest: Timestamp,
    /// There may be versions to collect, now or when they are old enough.
    versions: bool,
    /// Likewise records.
    records: bool,
    /// The safe point of the last pass that was through.
    through: Timestamp,
}

impl Garbage {
    /// For a leader that begins at `low_water`.
    pub(super) fn new(low_water: Timestamp) -> Self {
        Garbage {
            written: 0,
            newest: low_water,
            versions: true,
            records: true,
            through: Timestamp::ZERO,
        }
    }

    /// Something was written that becomes visible at `lands` at the latest.
    pub(super) fn written(&mut self, bytes: u64, lands: Timestamp) {
        self.written += bytes;
        self.newest = self.newest.max(lands);
        (self.versions, self.records) = (true, true);
    }

    /// A part of the range goes: the same may be true of it.
    pub(super) fn split(&self) -> Self {
        self.clone()
    }

    pub(super) fn has_versions(&self) -> bool {
        self.versions
    }

    /// Whether a pass with these points is worth it, in a range of about `size` bytes.
    pub(super) fn is_worth_it(
        &self,
        safe_point: Timestamp,
        records_below: Timestamp,
        size: u64,
    ) -> bool {
        let last = (self.versions && self.newest <= safe_point)
            || (self.records && self.newest <= records_below.min(safe_point));
        let much = self.written >= BYTES_MIN.max(size / SHARE) && safe_point > self.through;
        last || much
    }

    /// A pass begins: what is written from here on is for the next.
    pub(super) fn pass_began(&mut self) {
        self.written = 0;
    }

    /// A pass with these points is through.
    pub(super) fn collected(&mut self, safe_point: Timestamp, records_below: Timestamp) {
        self.through = self.through.max(safe_point);
        self.versions &= self.newest > safe_point;
        self.records &= self.newest > records_below;
    }
}
