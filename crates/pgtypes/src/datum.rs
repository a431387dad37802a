//! What one value is in memory.
//!
//! A [`Datum`] is self-describing down to its storage class, not to its type: `text`, `varchar`,
//! `char(n)`, `name`, `"char"` and `json` are all [`Datum::Text`]. Who needs the type carries a
//! [`crate::PgType`] beside it. Clones are cheap: long values are reference-counted.
//!
//! Dates count days and timestamps microseconds from 2000-01-01, as in PostgreSQL; the extremes of
//! the integer are -infinity and infinity.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;

use crate::datetime::civil::DAY_MICROS;
use crate::error::{Result, TypeError, sqlstate};
use crate::numeric::Numeric;
use crate::ty::PgType;

/// UTF-8 text over shared bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Str(ByteString);

impl Str {
    /// Text that lives as long as the program; no allocation.
    pub const fn from_static(text: &'static str) -> Self {
        Self(ByteString::from_static(text))
    }

    /// The bytes as text, shared and not copied, if they are UTF-8.
    pub fn from_utf8(bytes: Bytes) -> Option<Self> {
        ByteString::try_from(bytes).ok().map(Self)
    }

    /// As a string slice.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The shared bytes.
    pub fn into_bytes(self) -> Bytes {
        self.0.into_bytes()
    }
}

impl std::ops::Deref for Str {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Str {
    fn from(text: &str) -> Self {
        Self(ByteString::from(text))
    }
}

impl From<String> for Str {
    fn from(text: String) -> Self {
        Self(ByteString::from(text))
    }
}

impl AsRef<str> for Str {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Str {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Str {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// PostgreSQL's interval: the three parts do not carry into one another.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Interval {
    /// Years and months.
    pub months: i32,
    /// Weeks and days.
    pub days: i32,
    /// The rest, in microseconds.
    pub micros: i64,
}

/// Microseconds of a day without a time zone.
const DAY: i128 = DAY_MICROS as i128;

impl Interval {
    /// An interval of so many microseconds: one of days and time.
    pub fn of_span(micros: i128) -> Option<Interval> {
        let days = i32::try_from(micros / DAY).ok()?;
        Some(Interval { months: 0, days, micros: i64::try_from(micros % DAY).ok()? })
    }

    /// What PostgreSQL compares by: microseconds, with months of 30 days and days of 24 hours.
    pub fn span_micros(self) -> i128 {
        i128::from(self.micros) + (i128::from(self.months) * 30 + i128::from(self.days)) * DAY
    }
}

/// One dimension of an array.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Dim {
    /// Number of elements.
    pub len: i32,
    /// Subscript of the first, 1 unless said otherwise.
    pub lower: i32,
}

/// Most elements of an array, as in PostgreSQL.
const ELEMENTS_MAX: usize = 134_217_727;

/// Most bytes that the elements of an array take by themselves, as many as PostgreSQL allocates at once.
const ELEMENTS_SIZE_MAX: usize = (1 << 30) - 1;

impl Dim {
    /// Its number of elements.
    pub(crate) fn count(self) -> usize {
        usize::try_from(self.len).expect("not negative")
    }

    /// How many elements an array of these dimensions has. Errors: 54000, it is too large, or its last
    /// subscript is.
    pub(crate) fn count_all(dims: &[Dim]) -> Result<usize> {
        let count = dims.iter().try_fold(1usize, |all, dim| {
            all.checked_mul(usize::try_from(dim.len).ok()?).filter(|all| *all <= ELEMENTS_MAX)
        });
        let failed = |message| Err(TypeError::new(sqlstate::LIMIT_EXCEEDED, message));
        let Some(count) = count else {
            return failed(format!("array size exceeds the maximum allowed ({ELEMENTS_MAX})"));
        };
        if count * size_of::<Datum>() > ELEMENTS_SIZE_MAX {
            return failed(format!("an array of {count} elements takes more than 1 GB of memory"));
        }
        match dims.iter().find(|dim| dim.lower.checked_add(dim.len).is_none()) {
            Some(dim) => failed(format!("array lower bound is too large: {}", dim.lower)),
            None => Ok(count),
        }
    }
}

/// An array: elements in row-major order. No dimension at all is the empty array.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ArrayValue {
    /// Outermost first; the product of lengths is the number of elements.
    pub dims: Vec<Dim>,
    /// The elements, of one type, NULLs included.
    pub items: Vec<Datum>,
}

impl ArrayValue {
    /// A one-dimensional array with subscripts from 1.
    pub fn vector(items: Vec<Datum>) -> Self {
        if items.is_empty() {
            return Self::default();
        }
        let len = i32::try_from(items.len()).expect("arrays are limited to ELEMENTS_MAX elements");
        Self { dims: vec![Dim { len, lower: 1 }], items }
    }
}

/// One value of any type.
#[derive(Clone, PartialEq, Debug, Default)]
pub enum Datum {
    /// NULL of every type.
    #[default]
    Null,
    /// `boolean`
    Bool(bool),
    /// `smallint`
    Int2(i16),
    /// `integer`
    Int4(i32),
    /// `bigint`
    Int8(i64),
    /// `real`
    Float4(f32),
    /// `double precision`
    Float8(f64),
    /// `numeric`
    Numeric(Numeric),
    /// `text`, `varchar`, `char(n)` (padded), `name`, `"char"`, `json` (verbatim), `unknown`
    Text(Str),
    /// `bytea`
    Bytea(Bytes),
    /// Days since 2000-01-01; `i32::MIN` and `MAX` are the infinities.
    Date(i32),
    /// Microseconds since midnight.
    Time(i64),
    /// Microseconds since 2000-01-01 00:00:00, no zone; `i64::MIN` and `MAX` are the infinities.
    Timestamp(i64),
    /// The same, in UTC.
    Timestamptz(i64),
    /// `interval`
    Interval(Interval),
    /// `uuid`
    Uuid([u8; 16]),
    /// `jsonb`, as its canonical text (see [`crate::json`]).
    Jsonb(Str),
    /// `oid` and its aliases.
    Oid(u32),
    /// An array of any element type.
    Array(Arc<ArrayValue>),
    /// A row: types and values of the fields.
    Record(Arc<Vec<(PgType, Datum)>>),
}

const _: () = assert!(std::mem::size_of::<Datum>() <= 40);

impl Datum {
    /// Is it NULL?
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// A text value.
    pub fn text(text: impl Into<Str>) -> Self {
        Self::Text(text.into())
    }

    /// A one-dimensional array.
    pub fn array(items: Vec<Datum>) -> Self {
        Self::Array(Arc::new(ArrayValue::vector(items)))
    }

    /// An `int2vector` or `oidvector`: subscripts from 0.
    pub fn vector(items: Vec<Datum>) -> Self {
        if items.is_empty() {
            return Self::Array(Arc::default());
        }
        let len = i32::try_from(items.len()).expect("vectors are short");
        Self::Array(Arc::new(ArrayValue { dims: vec![Dim { len, lower: 0 }], items }))
    }

    /// Bytes this value accounts for: itself and what it keeps alive on the heap.
    pub fn size(&self) -> usize {
        let heap = match self {
            Self::Text(text) | Self::Jsonb(text) => text.len(),
            Self::Bytea(bytes) => bytes.len(),
            Self::Numeric(numeric) => numeric.heap_size(),
            Self::Array(array) => {
                array.items.iter().map(Self::size).sum::<usize>()
                    + std::mem::size_of::<ArrayValue>()
                    + array.dims.len() * std::mem::size_of::<Dim>()
            }
            Self::Record(fields) => {
                fields.iter().map(|(_, datum)| datum.size() + std::mem::size_of::<PgType>()).sum()
            }
            _ => 0,
        };
        std::mem::size_of::<Self>() + heap
    }

    /// The boolean inside; `None` for NULL. Anything else is a caller's type error.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Null => None,
            Self::Bool(value) => Some(*value),
            other => panic!("not a boolean: {other:?}"),
        }
    }

    /// Any integer type widened; `None` for NULL and non-integers.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Int2(value) => Some(i64::from(*value)),
            Self::Int4(value) => Some(i64::from(*value)),
            Self::Int8(value) => Some(*value),
            Self::Oid(value) => Some(i64::from(*value)),
            _ => None,
        }
    }

    /// The text inside, of text and jsonb values.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Jsonb(text) => Some(text),
            _ => None,
        }
    }
}

impl From<bool> for Datum {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i32> for Datum {
    fn from(value: i32) -> Self {
        Self::Int4(value)
    }
}

impl From<i64> for Datum {
    fn from(value: i64) -> Self {
        Self::Int8(value)
    }
}

impl From<f64> for Datum {
    fn from(value: f64) -> Self {
        Self::Float8(value)
    }
}

impl From<&str> for Datum {
    fn from(value: &str) -> Self {
        Self::text(value)
    }
}

impl From<String> for Datum {
    fn from(value: String) -> Self {
        Self::text(value)
    }
}

impl<T: Into<Datum>> From<Option<T>> for Datum {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}
