//! Answers kept in files: a line of columns with their types' oids, then a line per row.
//!
//! Values stand between bars and `\N` is NULL; no value of these queries has a bar or a backslash in it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::compare::{Answer, Row};
use crate::error::CheckError;

const NULL: &str = "\\N";

fn path(folder: &Path, number: u8) -> PathBuf {
    folder.join(format!("{number:02}.txt"))
}

/// Writes an answer down; errors are not kept.
pub(super) fn keep(folder: &Path, number: u8, answer: &Answer) -> Result<(), CheckError> {
    let Answer::Rows { columns, rows, .. } = answer else { return Ok(()) };
    let heads: Vec<String> = columns.iter().map(|(name, ty)| format!("{name}:{ty}")).collect();
    let mut text = heads.join("|");
    for row in rows {
        let values: Vec<&str> = row.iter().map(|v| v.as_deref().unwrap_or(NULL)).collect();
        write!(text, "\n{}", values.join("|")).expect("a string");
    }
    text.push('\n');
    let path = path(folder, number);
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&path, text))
        .map_err(|source| CheckError::File { path, source })
}

/// Reads an answer.
pub(super) fn kept(folder: &Path, number: u8) -> Result<Answer, CheckError> {
    let path = path(folder, number);
    let text = std::fs::read_to_string(&path)
        .map_err(|source| CheckError::File { path: path.clone(), source })?;
    let broken = || CheckError::Refused(format!("{}: not an answer", path.display()));
    let mut lines = text.lines();
    let heads = lines.next().ok_or_else(broken)?.split('|').map(|head| {
        let (name, ty) = head.rsplit_once(':')?;
        Some((name.to_owned(), ty.parse().ok()?))
    });
    let columns: Vec<(String, u32)> = heads.collect::<Option<_>>().ok_or_else(broken)?;
    let value = |text: &str| (text != NULL).then(|| text.to_owned());
    let rows: Vec<Row> = lines.map(|line| line.split('|').map(value).collect()).collect();
    if rows.iter().any(|row| row.len() != columns.len()) {
        return Err(broken());
    }
    let count = rows.len() as u64;
    Ok(Answer::Rows { columns, rows, count })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let columns = vec![("a:b".to_owned(), 23), ("c".to_owned(), 25)];
        let rows = vec![vec![Some("1".to_owned()), None], vec![Some(String::new()), None]];
        let answer = Answer::Rows { columns, rows, count: 2 };
        keep(folder.path(), 3, &answer).expect("a file");
        assert_eq!(kept(folder.path(), 3).expect("the file"), answer);
    }
}
