//! RocksDB's errors, told apart by what the caller can do.
//!
//! RocksDB hands over text only: the kind before the first colon, the file somewhere behind it.

use rocksdb::{Error, ErrorKind};
use storage::EngineError;

/// What an error of RocksDB means.
pub(crate) fn engine_error(error: Error) -> EngineError {
    let kind = error.kind();
    let detail = error.into_string();
    match kind {
        ErrorKind::Corruption => EngineError::Corrupt { file: file_of(&detail), detail },
        // The data directory is wrong in a way that no retry mends: a file is missing or is no
        // table.
        ErrorKind::InvalidArgument => EngineError::Io { detail },
        _ if detail.contains("No space left") || detail.contains("Disk quota exceeded") => {
            EngineError::NoSpace { detail }
        }
        _ => EngineError::Io { detail },
    }
}

/// An error of the file system outside of RocksDB.
pub(crate) fn io_error(what: &str, error: &std::io::Error) -> EngineError {
    let detail = format!("{what}: {error}");
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            EngineError::NoSpace { detail }
        }
        _ => EngineError::Io { detail },
    }
}

/// The file that a message names.
fn file_of(message: &str) -> String {
    let words = message.split(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | '\'' | '"'));
    let named = words.map(|word| word.trim_end_matches([':', '.'])).find(|word| {
        let name = word.rsplit('/').next().unwrap_or(word);
        name.ends_with(".sst")
            || name.ends_with(".log")
            || name.starts_with("MANIFEST-")
            || name.starts_with("CURRENT")
    });
    named.unwrap_or("a file that RocksDB does not name").to_owned()
}

#[cfg(test)]
mod tests {
    use super::file_of;

    #[test]
    fn the_file_is_found_in_the_message() {
        let message = "Corruption: block checksum mismatch: stored = 1, computed = 2, type = 4  \
                       in /data/kv/000012.sst offset 0 size 1234";
        assert_eq!(file_of(message), "/data/kv/000012.sst");
        assert_eq!(file_of("Corruption: bad record in 000007.log: x"), "000007.log");
        assert_eq!(file_of("Corruption: bad block"), "a file that RocksDB does not name");
    }
}
