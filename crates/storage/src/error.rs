//! What can go wrong below, one variant per thing the caller can do about it.

/// Why the engine or the log store could not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// Stored bytes are not what was written. What was read must not be used, and the replica must
    /// stop serving: a wrong row is worse than no row.
    #[error("stored data is corrupt in {file}: {detail}")]
    Corrupt {
        /// The file, or what is known of the place (family and key).
        file: String,
        /// What did not match.
        detail: String,
    },
    /// The disk is full. Nothing of the write is visible.
    #[error("no space left on device: {detail}")]
    NoSpace {
        /// The engine's own words.
        detail: String,
    },
    /// The disk refused. After a failed sync nobody knows what is durable, so the process must not
    /// go on and retry: a second sync may succeed without having written the lost pages.
    #[error("storage input or output failed: {detail}")]
    Io {
        /// The engine's own words.
        detail: String,
    },
}

/// What the caller of a failed operation may do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// This replica must stop serving and be replaced.
    StopReplica,
    /// Refuse writes until there is room.
    RefuseWrites,
    /// The process must end; it recovers what is durable when it starts again.
    StopNode,
}

impl EngineError {
    /// What the caller may do next. No wildcard arm: a new variant must choose.
    #[must_use]
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::Corrupt { .. } => Remedy::StopReplica,
            Self::NoSpace { .. } => Remedy::RefuseWrites,
            Self::Io { .. } => Remedy::StopNode,
        }
    }

    /// Bytes that no encoder of ours writes.
    #[must_use]
    pub fn malformed(place: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Corrupt { file: place.into(), detail: detail.into() }
    }
}
