//! Sets of characters: brackets, `.`, `\d`.

/// A named class of characters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Class {
    Alnum,
    Alpha,
    Blank,
    Cntrl,
    Digit,
    Graph,
    Lower,
    Print,
    Punct,
    Space,
    Upper,
    Word,
    Xdigit,
}

impl Class {
    pub(super) fn by_name(name: &str) -> Option<Self> {
        Some(match name {
            "alnum" => Self::Alnum,
            "alpha" => Self::Alpha,
            "blank" => Self::Blank,
            "cntrl" => Self::Cntrl,
            "digit" => Self::Digit,
            "graph" => Self::Graph,
            "lower" => Self::Lower,
            "print" => Self::Print,
            "punct" => Self::Punct,
            "space" => Self::Space,
            "upper" => Self::Upper,
            "word" => Self::Word,
            "xdigit" => Self::Xdigit,
            _ => return None,
        })
    }

    fn has(self, c: char) -> bool {
        match self {
            Self::Alnum => c.is_alphanumeric(),
            Self::Alpha => c.is_alphabetic(),
            Self::Blank => matches!(c, ' ' | '\t'),
            Self::Cntrl => c.is_control(),
            Self::Digit => c.is_ascii_digit(),
            Self::Graph => !c.is_control() && !c.is_whitespace(),
            Self::Lower => c.is_lowercase(),
            Self::Print => !c.is_control(),
            Self::Punct => c.is_ascii_punctuation(),
            Self::Space => c.is_whitespace(),
            Self::Upper => c.is_uppercase(),
            Self::Word => is_word(c),
            Self::Xdigit => c.is_ascii_hexdigit(),
        }
    }

    /// As the `regex` crate writes it within brackets.
    pub(super) fn written(self, negated: bool) -> &'static str {
        match (self, negated) {
            (Self::Alnum, _) => r"\p{Alphabetic}\p{N}",
            (Self::Alpha, _) => r"\p{Alphabetic}",
            (Self::Blank, _) => r" \t",
            (Self::Cntrl, _) => r"\p{Cc}",
            (Self::Digit, false) => "0-9",
            (Self::Digit, true) => "[^0-9]",
            (Self::Graph, _) => r"[^\p{Cc}\s]",
            (Self::Lower, _) => r"\p{Lowercase}",
            (Self::Print, _) => r"[^\p{Cc}]",
            (Self::Punct, _) => "[:punct:]",
            (Self::Space, false) => r"\s",
            (Self::Space, true) => r"\S",
            (Self::Upper, _) => r"\p{Uppercase}",
            (Self::Word, false) => r"\p{Alphabetic}\p{N}_",
            (Self::Word, true) => r"[^\p{Alphabetic}\p{N}_]",
            (Self::Xdigit, _) => "0-9A-Fa-f",
        }
    }
}

/// A letter, a digit or an underscore.
pub(super) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// A part of a set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Item {
    Range(char, char),
    Class(Class, bool),
}

/// Characters that one place of an expression takes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Set {
    pub(super) items: Vec<Item>,
    pub(super) negated: bool,
    pub(super) insensitive: bool,
}

impl Set {
    pub(super) fn one(c: char, insensitive: bool) -> Self {
        Self { items: vec![Item::Range(c, c)], negated: false, insensitive }
    }

    fn lists(&self, c: char) -> bool {
        self.items.iter().any(|item| match item {
            Item::Range(from, to) => (*from..=*to).contains(&c),
            Item::Class(class, negated) => class.has(c) != *negated,
        })
    }

    pub(super) fn has(&self, c: char) -> bool {
        let mut listed = self.lists(c);
        if !listed && self.insensitive {
            listed =
                c.to_lowercase().any(|c| self.lists(c)) || c.to_uppercase().any(|c| self.lists(c));
        }
        listed != self.negated
    }
}
