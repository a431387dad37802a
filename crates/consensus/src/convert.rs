//! Raft entries as the log store keeps them.
//!
//! ```text
//!   data empty           a leader's first entry
//!   00 | payload         a proposal: the proposer writes the 00 itself, so nothing is copied
//!   01 | len u32 | context | change    a change of members
//! ```

use bytes::Bytes;
use raft::eraftpb::{Entry, EntryType};
use storage::{EngineError, LogEntry};

/// First byte of a proposal.
pub(crate) const NORMAL: u8 = 0;
const CHANGE: u8 = 1;

pub(crate) fn to_log(entry: &Entry) -> LogEntry {
    let data = match entry.get_entry_type() {
        EntryType::EntryNormal => Bytes::copy_from_slice(&entry.data),
        EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => {
            let context = u32::try_from(entry.context.len()).expect("a context is small");
            let mut data = Vec::with_capacity(5 + entry.context.len() + entry.data.len());
            data.push(CHANGE);
            data.extend_from_slice(&context.to_be_bytes());
            data.extend_from_slice(&entry.context);
            data.extend_from_slice(&entry.data);
            data.into()
        }
    };
    LogEntry { index: entry.index, term: entry.term, data }
}

pub(crate) fn from_log(entry: LogEntry) -> Result<Entry, EngineError> {
    let LogEntry { index, term, data } = entry;
    let mut raft = Entry { index, term, ..Default::default() };
    match data.split_first() {
        None => {}
        Some((&NORMAL, _)) => raft.data = data.into(),
        Some((&CHANGE, rest)) => {
            let malformed = || EngineError::malformed("raft log", format!("entry {index}"));
            let (len, rest) = rest.split_first_chunk::<4>().ok_or_else(malformed)?;
            let len = u32::from_be_bytes(*len) as usize;
            let (context, change) = rest.split_at_checked(len).ok_or_else(malformed)?;
            raft.entry_type = EntryType::EntryConfChangeV2 as i32;
            raft.context = context.to_vec();
            raft.data = change.to_vec();
        }
        Some((tag, _)) => {
            return Err(EngineError::malformed("raft log", format!("entry {index}: tag {tag}")));
        }
    }
    Ok(raft)
}
