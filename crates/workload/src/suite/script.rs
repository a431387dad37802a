//! What the parser of sqllogictest files does not know: halts with conditions, comments behind conditions,
//! results that a file has hashed.

/// The word that stands for many values: "30 values hashing to 3c13…".
const HASHED: &str = " values hashing to ";

/// `text` up to the first `halt` whose conditions hold, with the others taken out: the parser takes every
/// `halt` as unconditional. What follows the label of a condition, or a `halt`, behind `#` is a comment and
/// goes too. Lines keep their numbers.
pub(super) fn readable(text: &str, labels: &[&str]) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut conditions = 0;
    let mut holds = true;
    for line in text.lines() {
        let mut line = line;
        let mut words = line.split_ascii_whitespace();
        match (words.next(), words.next()) {
            (Some(word @ ("onlyif" | "skipif")), Some(label)) => {
                holds &= labels.contains(&label) == (word == "onlyif");
                conditions += 1;
                line = without_comment(line);
            }
            (Some("halt"), _) if without_comment(line).trim_end() == "halt" => {
                if holds {
                    break;
                }
                let from = kept.len() - conditions;
                kept[from..].fill("");
                kept.push("");
                (holds, conditions) = (true, 0);
                continue;
            }
            _ => (holds, conditions) = (true, 0),
        }
        kept.push(line);
    }
    kept.push("");
    kept.join("\n")
}

fn without_comment(line: &str) -> &str {
    line.split_once('#').map_or(line, |(before, _)| before)
}

/// Whether a record's result is the hash of its values.
pub(super) fn is_hashed(results: &[String]) -> bool {
    matches!(results, [only] if only.split_once(HASHED).is_some_and(|(count, hash)| {
        count.bytes().all(|b| b.is_ascii_digit())
            && hash.trim_end().len() == 32
            && hash.trim_end().bytes().all(|b| b.is_ascii_hexdigit())
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_halt_counts_where_its_conditions_hold() {
        let text =
            "a\nonlyif mssql\nhalt\nb\nskipif conclave\nonlyif x\nhalt\nc\nskipif mssql\nhalt\nd\n";
        assert_eq!(readable(text, &["conclave"]), "a\n\n\nb\n\n\n\nc\nskipif mssql\n");
        assert_eq!(readable(text, &["mssql"]), "a\nonlyif mssql\n");
        assert_eq!(readable("a\nhalt\nb", &[]), "a\n");
        assert_eq!(readable("a\nhalt # enough\nb", &[]), "a\n");
    }

    #[test]
    fn comments_behind_conditions_go() {
        let text =
            "skipif mysql # empty RHS\nonlyif sqlite # x # y\nquery I\nSELECT 1 # 2\n----\n1 # 2\n";
        let read = "skipif mysql \nonlyif sqlite \nquery I\nSELECT 1 # 2\n----\n1 # 2\n";
        assert_eq!(readable(text, &[]), read);
    }

    #[test]
    fn a_hash_is_known_by_its_words() {
        let one = |line: &str| is_hashed(&[line.to_owned()]);
        assert!(one("30 values hashing to 3c13dee48d9356ae19af2515e05e6b54"));
        assert!(!one("30 values hashing to"));
        assert!(!one("many values hashing to 3c13dee48d9356ae19af2515e05e6b54"));
        assert!(!is_hashed(&[]));
    }
}
