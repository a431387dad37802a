//! Which words can follow what was typed?
//!
//! Keywords are built in; names of tables and columns are read from the catalog between statements
//! and never while a person types.

/// Queried after every statement that may have changed the schema. One column of kinds, one of
/// names.
pub(crate) const NAMES_QUERY: &str = "\
SELECT 't' AS kind, table_name AS name FROM information_schema.tables \
WHERE table_schema NOT IN ('pg_catalog', 'information_schema', 'conclave') \
UNION SELECT 'c', column_name FROM information_schema.columns \
WHERE table_schema NOT IN ('pg_catalog', 'information_schema', 'conclave')";

const COMMANDS: &[&str] = &[
    "\\?",
    "\\c",
    "\\conninfo",
    "\\copy",
    "\\d",
    "\\di",
    "\\dn",
    "\\dt",
    "\\du",
    "\\dv",
    "\\echo",
    "\\g",
    "\\gx",
    "\\h",
    "\\i",
    "\\l",
    "\\p",
    "\\pset",
    "\\q",
    "\\r",
    "\\t",
    "\\timing",
    "\\x",
];

const KEYWORDS: &str = "\
    ADD ALL ALTER ANALYZE AND AS ASC BEGIN BETWEEN BIGINT BOOLEAN BY BYTEA CASCADE CASE CAST \
    CHAR CHECK COLUMN COMMIT CONFLICT CONSTRAINT COPY COUNT CREATE CROSS CURRENT_DATE \
    CURRENT_TIMESTAMP DATABASE DATE DEFAULT DELETE DESC DISTINCT DO DOUBLE DROP ELSE END \
    EXCEPT EXISTS EXPLAIN FALSE FOR FOREIGN FROM FULL GRANT GROUP HAVING IF ILIKE IN INDEX \
    INNER INSERT INT INTERSECT INTERVAL INTO IS ISOLATION JOIN JSONB KEY LEFT LEVEL LIKE \
    LIMIT NOT NOTHING NULL NULLS NUMERIC OFFSET ON OR ORDER OUTER PRECISION PRIMARY READ \
    REAL REFERENCES RELEASE RETURNING REVOKE RIGHT ROLE ROLLBACK SAVEPOINT SCHEMA SELECT \
    SEQUENCE SERIALIZABLE SET SHOW SMALLINT SPLIT SUM TABLE TEXT THEN TIME TIMESTAMP \
    TIMESTAMPTZ TO TRANSACTION TRUE TRUNCATE UNION UNIQUE UPDATE USER USING UUID VACUUM \
    VALUES VARCHAR VIEW WHEN WHERE WITH";

/// After these a table is named.
const BEFORE_TABLES: &[&str] = &["FROM", "JOIN", "INTO", "UPDATE", "TABLE", "TRUNCATE", "COPY"];

/// The names in the database, sorted.
#[derive(Debug, Default)]
pub(crate) struct Names {
    pub(crate) tables: Vec<String>,
    pub(crate) columns: Vec<String>,
}

impl Names {
    /// The start of the word that `text` ends with, and what it can become.
    pub(crate) fn complete(&self, text: &str) -> (usize, Vec<String>) {
        let start = text
            .rfind(|c: char| !(c.is_alphanumeric() || c == '_' || c == '\\' || c == '?'))
            .map_or(0, |at| at + text[at..].chars().next().map_or(1, char::len_utf8));
        let word = &text[start..];
        if word.starts_with('\\') {
            return (start, starting_with(word, COMMANDS.iter().copied()));
        }
        let before = text[..start].split_whitespace().next_back().unwrap_or_default();
        let names_a_table =
            BEFORE_TABLES.iter().any(|keyword| before.eq_ignore_ascii_case(keyword))
                || before.starts_with("\\d")
                || before == "\\copy";
        let mut found = starting_with(word, self.tables.iter().map(String::as_str));
        if !names_a_table && !word.is_empty() {
            found.extend(starting_with(word, self.columns.iter().map(String::as_str)));
            let lower = word.chars().all(|c| !c.is_uppercase());
            let case = |keyword: String| if lower { keyword.to_lowercase() } else { keyword };
            found.extend(starting_with(word, KEYWORDS.split_whitespace()).into_iter().map(case));
            found.sort();
            found.dedup();
        }
        (start, found)
    }
}

fn starting_with<'a>(word: &str, words: impl Iterator<Item = &'a str>) -> Vec<String> {
    let matches =
        |name: &&str| name.get(..word.len()).is_some_and(|s| s.eq_ignore_ascii_case(word));
    words.filter(matches).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::Names;

    #[test]
    fn tables_follow_from_and_keywords_keep_the_case() {
        let names = Names {
            tables: vec!["accounts".into(), "tellers".into()],
            columns: vec!["abalance".into()],
        };
        assert_eq!(names.complete("select * from a"), (14, vec!["accounts".to_owned()]));
        assert_eq!(names.complete("sel"), (0, vec!["select".to_owned()]));
        assert_eq!(names.complete("SELECT aba"), (7, vec!["abalance".to_owned()]));
        assert_eq!(names.complete("SEL").1, ["SELECT"]);
        assert_eq!(names.complete("\\ti").1, ["\\timing"]);
        assert_eq!(names.complete("\\d te").1, ["tellers"]);
    }
}
