//! PostgreSQL's "advanced" regular expressions.
//!
//! ```text
//!   pattern ── parse ──▶ Tree ── program ──▶ NFA of a part: where may it end, from here on?
//!                          └── find ──▶ the leftmost match, then what each group took
//! ```
//!
//! Which of several matches counts is decided otherwise than by most engines. Of the matches that begin
//! leftmost the longest wins, or the shortest if the first quantifier with a preference is `*?` and its kind;
//! within it, groups that begin earlier take as much, or as little, as they prefer. So the span is found
//! first, by simulating all ways at once, and taken apart afterwards.
//!
//! The `regex` crate finds where a match begins, and whether there is one, for expressions without
//! back-references and lookaround: that is the same in both.
//!
//! Tests: `sql-tests/patterns.slt`.

mod accelerate;
mod class;
mod find;
mod parse;
mod program;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use crate::error::{Result, TypeError, sqlstate};

/// Expressions compiled per thread; a query has few.
const CACHE_SIZE: usize = 32;

thread_local! {
    static CACHE: RefCell<HashMap<(String, String), Rc<Regex>>> = RefCell::new(HashMap::new());
}

/// What flag letters and embedded options choose.
#[derive(Clone, Copy, Default, Debug)]
struct Flags {
    insensitive: bool,
    /// `.` and `[^…]` do not match a newline.
    lines_stop: bool,
    /// `^` and `$` match at newlines.
    lines_anchor: bool,
    expanded: bool,
    literal: bool,
}

impl Flags {
    /// Applies a letter. None: there is no such option.
    fn set(&mut self, letter: char) -> Result<Option<()>> {
        match letter {
            'i' => self.insensitive = true,
            'c' => self.insensitive = false,
            'n' | 'm' => (self.lines_stop, self.lines_anchor) = (true, true),
            'p' => (self.lines_stop, self.lines_anchor) = (true, false),
            'w' => (self.lines_stop, self.lines_anchor) = (false, true),
            's' => (self.lines_stop, self.lines_anchor) = (false, false),
            'x' => self.expanded = true,
            't' => self.expanded = false,
            'q' => self.literal = true,
            'b' | 'e' => {
                let what = if letter == 'b' { "basic" } else { "extended" };
                return Err(TypeError::not_supported(format!(
                    "{what} regular expressions (option \"{letter}\") are not supported"
                )));
            }
            _ => return Ok(None),
        }
        Ok(Some(()))
    }
}

/// The characters of a match, and those of each group.
pub(crate) type Span = (usize, usize);

/// A compiled expression.
pub(crate) struct Regex {
    tree: parse::Tree,
    fast: Option<regex::Regex>,
}

/// A match: characters, half-open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Found {
    /// All of it.
    pub(crate) whole: Span,
    /// Groups, the first one first; none where a group took no part.
    pub(crate) groups: Vec<Option<Span>>,
}

/// A text, by characters and by bytes.
pub(crate) struct Subject<'t> {
    text: &'t str,
    chars: Vec<char>,
    /// The byte at which each character begins, and the end; empty if all are one byte long.
    bytes: Vec<usize>,
}

impl<'t> Subject<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        let bytes = match text.is_ascii() {
            true => Vec::new(),
            false => text.char_indices().map(|(at, _)| at).chain([text.len()]).collect(),
        };
        Self { text, chars: text.chars().collect(), bytes }
    }

    /// Characters.
    pub(crate) fn len(&self) -> usize {
        self.chars.len()
    }

    fn byte(&self, at: usize) -> usize {
        if self.bytes.is_empty() { at } else { self.bytes[at] }
    }

    fn char_of_byte(&self, at: usize) -> usize {
        if self.bytes.is_empty() { at } else { self.bytes.partition_point(|byte| *byte < at) }
    }

    /// The characters from `from` up to `to`.
    pub(crate) fn part(&self, (from, to): Span) -> &'t str {
        &self.text[self.byte(from)..self.byte(to)]
    }
}

impl Regex {
    /// The compiled form of a pattern under flag letters, `g` not among them.
    pub(crate) fn new(pattern: &str, letters: &str) -> Result<Rc<Self>> {
        let key = (pattern.to_owned(), letters.to_owned());
        if let Some(found) = CACHE.with(|cache| cache.borrow().get(&key).cloned()) {
            return Ok(found);
        }
        let mut flags = Flags::default();
        for letter in letters.chars() {
            flags.set(letter)?.ok_or_else(|| {
                TypeError::new(
                    sqlstate::INVALID_PARAMETER,
                    format!("invalid regular expression option: \"{letter}\""),
                )
            })?;
        }
        let tree = parse::parse(pattern, flags)?;
        let fast = accelerate::regex_of(&tree);
        let made = Rc::new(Self { tree, fast });
        CACHE.with(|cache| {
            let mut cache = cache.borrow_mut();
            if cache.len() >= CACHE_SIZE {
                cache.clear();
            }
            cache.insert(key, made.clone());
        });
        Ok(made)
    }

    /// Number of groups.
    pub(crate) fn groups(&self) -> usize {
        self.tree.groups
    }

    /// Is there a match anywhere?
    pub(crate) fn is_match(&self, text: &str) -> bool {
        match &self.fast {
            Some(fast) => fast.is_match(text),
            None => self.find(&Subject::new(text), 0).is_some(),
        }
    }

    /// The first match that begins at character `from` or later. What stands before is seen by `^` and its
    /// kind.
    pub(crate) fn find(&self, subject: &Subject<'_>, from: usize) -> Option<Found> {
        if from > subject.len() {
            return None;
        }
        let from = match &self.fast {
            Some(fast) => {
                let found = fast.find_at(subject.text, subject.byte(from))?;
                subject.char_of_byte(found.start())
            }
            None => from,
        };
        find::find(&self.tree, &subject.chars, from)
    }
}

fn invalid(reason: &str) -> TypeError {
    TypeError::new(sqlstate::INVALID_REGEX, format!("invalid regular expression: {reason}"))
}
