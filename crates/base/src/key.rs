//! Keys and half-open spans of them.

use std::borrow::Borrow;
use std::fmt;

use bytes::Bytes;

/// A key: bytes, ordered bytewise. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Key(pub Bytes);

impl Key {
    /// The smallest key.
    pub const MIN: Key = Key(Bytes::new());

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The smallest key greater than this one.
    #[must_use]
    pub fn next(&self) -> Key {
        let mut bytes = Vec::with_capacity(self.0.len() + 1);
        bytes.extend_from_slice(&self.0);
        bytes.push(0);
        Key(bytes.into())
    }

    /// The smallest key greater than every key that starts with this one; the empty key (which, as
    /// a [`KeyRange::end`], means "to the end") if there is none.
    #[must_use]
    pub fn prefix_end(&self) -> Key {
        let mut bytes = self.0.to_vec();
        while let Some(last) = bytes.pop() {
            if last < u8::MAX {
                bytes.push(last + 1);
                return Key(bytes.into());
            }
        }
        Key::MIN
    }

    /// All keys that start with this one, itself among them.
    #[must_use]
    pub fn prefix_range(&self) -> KeyRange {
        KeyRange { start: self.clone(), end: self.prefix_end() }
    }
}

impl<T: Into<Bytes>> From<T> for Key {
    fn from(bytes: T) -> Self {
        Key(bytes.into())
    }
}

impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Half-open: `start` is in, `end` is not. An empty `end` means "to the end of the key space".
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct KeyRange {
    /// The first key inside.
    pub start: Key,
    /// The first key past the end, or empty for no end.
    pub end: Key,
}

impl KeyRange {
    /// Every key.
    pub const ALL: KeyRange = KeyRange { start: Key::MIN, end: Key::MIN };

    /// From `start` up to but without `end`.
    #[must_use]
    pub fn new(start: impl Into<Key>, end: impl Into<Key>) -> Self {
        KeyRange { start: start.into(), end: end.into() }
    }

    /// Just this key.
    #[must_use]
    pub fn point(key: Key) -> Self {
        let end = key.next();
        KeyRange { start: key, end }
    }

    /// Whether the span holds no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.end.0.is_empty() && self.start >= self.end
    }

    /// Whether `key` is inside.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        self.start.as_bytes() <= key && (self.end.0.is_empty() || key < self.end.as_bytes())
    }

    /// Whether every key of `other` is inside.
    #[must_use]
    pub fn contains_range(&self, other: &KeyRange) -> bool {
        self.start <= other.start
            && (self.end.0.is_empty() || (!other.end.0.is_empty() && other.end <= self.end))
    }

    /// Whether some key is in both.
    #[must_use]
    pub fn overlaps(&self, other: &KeyRange) -> bool {
        (self.end.0.is_empty() || other.start < self.end)
            && (other.end.0.is_empty() || self.start < other.end)
            && !self.is_empty()
            && !other.is_empty()
    }

    /// What is left of it without the keys of another span: nothing, one span, or two.
    #[must_use]
    pub fn without(&self, part: &KeyRange) -> Vec<KeyRange> {
        if !self.overlaps(part) {
            return vec![self.clone()];
        }
        let mut left = Vec::new();
        if self.start < part.start {
            left.push(KeyRange { start: self.start.clone(), end: part.start.clone() });
        }
        if !part.end.0.is_empty() && (self.end.0.is_empty() || part.end < self.end) {
            left.push(KeyRange { start: part.end.clone(), end: self.end.clone() });
        }
        left
    }

    /// The smallest span around both.
    #[must_use]
    pub fn hull(&self, other: &KeyRange) -> KeyRange {
        let end = match self.end.0.is_empty() || other.end.0.is_empty() {
            true => Key::MIN,
            false => self.end.clone().max(other.end.clone()),
        };
        KeyRange { start: self.start.clone().min(other.start.clone()), end }
    }

    /// The keys in both, if any.
    #[must_use]
    pub fn intersect(&self, other: &KeyRange) -> Option<KeyRange> {
        let start = self.start.clone().max(other.start.clone());
        let end = match (self.end.0.is_empty(), other.end.0.is_empty()) {
            (true, _) => other.end.clone(),
            (_, true) => self.end.clone(),
            _ => self.end.clone().min(other.end.clone()),
        };
        let both = KeyRange { start, end };
        (!both.is_empty()).then_some(both)
    }
}

impl fmt::Display for KeyRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, ", self.start)?;
        if self.end.0.is_empty() { write!(f, "∞)") } else { write!(f, "{})", self.end) }
    }
}

impl fmt::Debug for KeyRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
