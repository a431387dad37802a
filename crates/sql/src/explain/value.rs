//! What stands behind a key in an explained plan, as text and as JSON.

use std::time::Duration;

use kv::Trips;

/// A figure or a text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Text(String),
    /// Several texts: a line each.
    List(Vec<String>),
    /// Several texts in one line.
    Keys(Vec<String>),
    Number(u64),
    Millis(Duration),
    /// How many round trips; `false`: as far as can be told.
    Trips(Trips, bool),
    /// How long, in how many waits.
    Wait(Duration, u64),
    /// How many ranges, and which.
    Ranges(u64, String),
}

impl Value {
    /// The lines of text.
    pub(super) fn lines(&self, key: &str, indent: usize, lines: &mut Vec<String>) {
        let mut line = |shown: &str| lines.push(format!("{:indent$}{key}: {shown}", ""));
        match self {
            Value::Text(text) => line(text),
            Value::List(texts) => texts.iter().for_each(|text| line(text)),
            Value::Keys(texts) => line(&texts.join(", ")),
            Value::Number(number) => line(&number.to_string()),
            Value::Millis(duration) => line(&format!("{:.3} ms", millis(*duration))),
            Value::Trips(trips, certain) => {
                let about = if *certain { "" } else { "about " };
                let Trips { local, remote } = trips;
                line(&format!("{about}{} (local {local}, remote {remote})", trips.total()));
            }
            Value::Wait(duration, times) => {
                line(&format!("{:.3} ms ({times})", millis(*duration)));
            }
            Value::Ranges(count, which) if which.is_empty() => line(&count.to_string()),
            Value::Ranges(count, which) => line(&format!("{count} ({which})")),
        }
    }

    /// The fields of JSON: names and values.
    pub(super) fn fields(&self, key: &str) -> Vec<(String, String)> {
        let one = |value: String| vec![(key.to_owned(), value)];
        match self {
            Value::Text(text) => one(quoted(text)),
            Value::List(texts) | Value::Keys(texts) => {
                let texts: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
                one(format!("[{}]", texts.join(", ")))
            }
            Value::Number(number) => one(number.to_string()),
            Value::Millis(duration) => one(format!("{:.3}", millis(*duration))),
            Value::Trips(trips, certain) => {
                let mut fields = one(trips.total().to_string());
                fields.push((format!("{key} Local"), trips.local.to_string()));
                fields.push((format!("{key} Remote"), trips.remote.to_string()));
                if !certain {
                    fields.push((format!("{key} Certain"), "false".to_owned()));
                }
                fields
            }
            Value::Wait(duration, times) => {
                let mut fields = one(format!("{:.3}", millis(*duration)));
                fields.push((format!("{key} Count"), times.to_string()));
                fields
            }
            Value::Ranges(count, which) => {
                let mut fields = one(count.to_string());
                if !which.is_empty() {
                    fields.push((format!("{key} Leaders"), quoted(which)));
                }
                fields
            }
        }
    }
}

pub(super) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
