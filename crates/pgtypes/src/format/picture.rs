//! Splitting a template into fields and literal text.

/// One piece of a template.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Node {
    Field {
        /// The keyword in upper case, except `Day`, `Dy`, `Month`, `Mon` as written.
        key: &'static str,
        /// The template had it in lower case.
        lower: bool,
        /// `FM` before it.
        fill: bool,
        /// `TH` (true) or `th` (false) behind it.
        ordinal: Option<bool>,
    },
    /// A character to print, or to skip when reading.
    Literal(char),
    /// The same from quotes, which no separator rule applies to.
    Quoted(char),
}

/// Keywords of dates; a longer one comes before its beginnings.
const DATE_KEYS: &[&str] = &[
    "A.D.", "A.M.", "AD", "AM", "B.C.", "BC", "CC", "DAY", "DDD", "DD", "DY", "Day", "Dy", "D",
    "FF1", "FF2", "FF3", "FF4", "FF5", "FF6", "HH24", "HH12", "HH", "IDDD", "ID", "IW", "IYYY",
    "IYY", "IY", "I", "J", "MI", "MM", "MONTH", "MON", "MS", "Month", "Mon", "OF", "P.M.", "PM",
    "Q", "RM", "SSSSS", "SSSS", "SS", "TZH", "TZM", "TZ", "US", "WW", "W", "Y,YYY", "YYYY", "YYY",
    "YY", "Y",
];

/// Keywords of numbers.
const NUMBER_KEYS: &[&str] = &[
    ",", ".", "0", "9", "B", "D", "EEEE", "FM", "G", "L", "MI", "PL", "PR", "RN", "SG", "SP", "S",
    "TH", "V",
];

fn find(keys: &[&'static str], rest: &str) -> Option<(&'static str, bool)> {
    keys.iter().find_map(|key| {
        if rest.starts_with(key) {
            return Some((*key, false));
        }
        let lower = rest.get(..key.len())?;
        (key.to_ascii_lowercase() == lower && key.chars().all(|c| !c.is_ascii_lowercase()))
            .then_some((*key, true))
    })
}

/// Text in quotes and after backslashes; returns what it used.
fn literal(rest: &str, out: &mut Vec<Node>) -> usize {
    let mut chars = rest.char_indices();
    let (_, first) = chars.next().expect("not at the end");
    match first {
        '"' => {
            while let Some((at, c)) = chars.next() {
                match c {
                    '"' => return at + 1,
                    '\\' => match chars.next() {
                        Some((_, next)) => out.push(Node::Quoted(next)),
                        None => return rest.len(),
                    },
                    _ => out.push(Node::Quoted(c)),
                }
            }
            rest.len()
        }
        '\\' if rest[1..].starts_with('"') => {
            out.push(Node::Literal('"'));
            2
        }
        _ => {
            out.push(Node::Literal(first));
            first.len_utf8()
        }
    }
}

/// A date template; `fx` tells whether it says `FX`.
pub(super) fn date(template: &str) -> (Vec<Node>, bool) {
    let mut nodes = Vec::new();
    let mut at = 0;
    let mut exact = false;
    while at < template.len() {
        let rest = &template[at..];
        let mut skipped = 0;
        let mut fill = false;
        loop {
            let prefix = rest[skipped..].get(..2).unwrap_or("");
            match prefix {
                "FM" | "fm" => fill = true,
                "FX" | "fx" => exact = true,
                // Names of the locale are not padded.
                "TM" | "tm" => fill = true,
                _ => break,
            }
            skipped += 2;
        }
        let Some((key, lower)) = find(DATE_KEYS, &rest[skipped..]) else {
            at += if skipped > 0 { skipped } else { literal(rest, &mut nodes) };
            continue;
        };
        let mut used = skipped + key.len();
        let ordinal = match rest[used..].get(..2) {
            Some("TH") => Some(true),
            Some("th") => Some(false),
            _ => None,
        };
        used += if ordinal.is_some() { 2 } else { 0 };
        if matches!(rest[used..].get(..2), Some("SP" | "sp")) {
            used += 2;
        }
        nodes.push(Node::Field { key, lower, fill, ordinal });
        at += used;
    }
    (nodes, exact)
}

/// A number template.
pub(super) fn number(template: &str) -> Vec<Node> {
    let mut nodes = Vec::new();
    let mut at = 0;
    while at < template.len() {
        let rest = &template[at..];
        match find(NUMBER_KEYS, rest) {
            Some((key, lower)) => {
                nodes.push(Node::Field { key, lower, fill: false, ordinal: None });
                at += key.len();
            }
            None => at += literal(rest, &mut nodes),
        }
    }
    nodes
}
