//! What the parser of sqllogictest files does not know.

/// `text` up to the first `halt` whose conditions hold, with the others taken out: the parser takes every
/// `halt` as unconditional. Lines keep their numbers.
pub(super) fn without_halts(text: &str, labels: &[&str]) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut conditions = 0;
    let mut holds = true;
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        match (words.next(), words.next()) {
            (Some("onlyif"), Some(label)) => {
                holds &= labels.contains(&label);
                conditions += 1;
            }
            (Some("skipif"), Some(label)) => {
                holds &= !labels.contains(&label);
                conditions += 1;
            }
            (Some("halt"), None) if holds => break,
            (Some("halt"), None) => {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_halt_counts_where_its_conditions_hold() {
        let text =
            "a\nonlyif mssql\nhalt\nb\nskipif conclave\nonlyif x\nhalt\nc\nskipif mssql\nhalt\nd\n";
        assert_eq!(without_halts(text, &["conclave"]), "a\n\n\nb\n\n\n\nc\nskipif mssql\n");
        assert_eq!(without_halts(text, &["mssql"]), "a\nonlyif mssql\n");
        assert_eq!(without_halts("a\nhalt\nb", &[]), "a\n");
    }
}
