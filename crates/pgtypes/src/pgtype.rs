//! A type as a column, a parameter or an expression has it: base type, array-ness, modifier.

use std::fmt;

use crate::ty::{Category, TypeId};

/// A type as a column, parameter or expression has it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PgType {
    /// The type, or the element type of an array.
    pub id: TypeId,
    /// Is it an array of `id`, of any number of dimensions?
    pub array: bool,
    /// PostgreSQL's modifier (of the element, for arrays); -1 is none. Of an enumeration, whose values
    /// have no modifier, the oid of its type.
    pub typmod: i32,
}

impl PgType {
    /// The type without modifier.
    pub const fn new(id: TypeId) -> Self {
        Self { id, array: false, typmod: -1 }
    }

    /// Array of `id`, without modifier.
    pub const fn array_of(id: TypeId) -> Self {
        Self { id, array: true, typmod: -1 }
    }

    /// The enumeration of this oid.
    pub const fn enumeration(oid: u32) -> Self {
        Self { id: TypeId::Enum, array: false, typmod: oid as i32 }
    }

    /// The oid of the enumeration that it is, or is an array of.
    pub fn enum_oid(self) -> Option<u32> {
        (self.id == TypeId::Enum && self.typmod >= 0).then_some(self.typmod.unsigned_abs())
    }

    /// The same type with this modifier.
    #[must_use]
    pub const fn with_typmod(self, typmod: i32) -> Self {
        match self.id {
            TypeId::Enum => self,
            _ => Self { typmod, ..self },
        }
    }

    /// The same type without modifier. That of a row stays: it says what the fields are.
    #[must_use]
    pub const fn base(self) -> Self {
        if matches!(self.id, TypeId::Record) { self } else { self.with_typmod(-1) }
    }

    /// What the protocol and catalogs give as modifier: that of a row type, and of an enumeration, is none.
    pub const fn modifier(self) -> i32 {
        match self.id {
            TypeId::Record | TypeId::Enum => -1,
            _ => self.typmod,
        }
    }

    /// The array's element type, modifier kept.
    #[must_use]
    pub const fn element(self) -> Self {
        match self.id {
            TypeId::Int2vector => Self::INT2,
            TypeId::Oidvector => Self::OID,
            _ => Self { array: false, ..self },
        }
    }

    /// The array type of this element type, modifier kept.
    #[must_use]
    pub const fn to_array(self) -> Self {
        Self { array: true, ..self }
    }

    /// The same type, modifiers apart?
    pub fn same(self, other: Self) -> bool {
        self.id == other.id
            && self.array == other.array
            && (self.id != TypeId::Enum || self.typmod == other.typmod)
    }

    /// Is this an untyped literal, NULL or parameter?
    pub fn is_unknown(self) -> bool {
        self.id == TypeId::Unknown && !self.array
    }

    /// The object id, of the array type for arrays. That of an enumeration's array follows its own.
    pub fn oid(self) -> u32 {
        if let Some(oid) = self.enum_oid() {
            return oid + u32::from(self.array);
        }
        if self.is_plain_array() { self.id.array_oid() } else { self.id.oid() }
    }

    /// The type of an object id, array types included.
    pub fn from_oid(oid: u32) -> Option<Self> {
        if oid == 0 {
            return None;
        }
        TypeId::all().find_map(|id| match oid {
            _ if id.oid() == oid => Some(Self::named(id)),
            _ if id.array_oid() == oid => Some(Self::array_of(id)),
            _ => None,
        })
    }

    /// Is it an array that has a type of its own, unlike `int2vector`?
    pub const fn is_plain_array(self) -> bool {
        self.array && !self.id.is_vector()
    }

    /// The type that a name or object id without brackets stands for.
    pub const fn named(id: TypeId) -> Self {
        Self { id, array: id.is_vector(), typmod: -1 }
    }

    /// `pg_type.typlen`.
    #[expect(clippy::len_without_is_empty, reason = "bytes of a value, not a count")]
    pub fn len(self) -> i16 {
        if self.array { -1 } else { self.id.len() }
    }

    /// `pg_type.typcategory`.
    pub fn category(self) -> Category {
        if self.array { Category::Array } else { self.id.category() }
    }

    /// `pg_type.typispreferred`.
    pub fn is_preferred(self) -> bool {
        !self.array && self.id.is_preferred()
    }

    /// `pg_type.typname`: `int4`, `_int4`.
    pub fn type_name(self) -> String {
        if let Some(oid) = self.enum_oid() {
            let name = crate::enums::name(oid);
            return if self.array { format!("_{name}") } else { name };
        }
        if self.is_plain_array() {
            format!("_{}", self.id.name())
        } else {
            self.id.name().to_owned()
        }
    }

    /// SQL spelling without modifier, as error messages and `pg_typeof` print: `integer[]`.
    pub fn sql_name(self) -> String {
        if let Some(oid) = self.enum_oid() {
            let name = crate::registry::quote_ident(&crate::enums::name(oid));
            return if self.array { format!("{name}[]") } else { name };
        }
        if self.is_plain_array() {
            format!("{}[]", self.id.sql_name())
        } else {
            self.id.sql_name().to_owned()
        }
    }
}

impl From<TypeId> for PgType {
    fn from(id: TypeId) -> Self {
        Self::new(id)
    }
}

impl fmt::Display for PgType {
    /// SQL spelling with modifier: `numeric(10,2)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::typmod::format_type(*self))
    }
}

/// Shorthands for the types used most.
impl PgType {
    /// `boolean`
    pub const BOOL: Self = Self::new(TypeId::Bool);
    /// `smallint`
    pub const INT2: Self = Self::new(TypeId::Int2);
    /// `integer`
    pub const INT4: Self = Self::new(TypeId::Int4);
    /// `bigint`
    pub const INT8: Self = Self::new(TypeId::Int8);
    /// `real`
    pub const FLOAT4: Self = Self::new(TypeId::Float4);
    /// `double precision`
    pub const FLOAT8: Self = Self::new(TypeId::Float8);
    /// `numeric`
    pub const NUMERIC: Self = Self::new(TypeId::Numeric);
    /// `text`
    pub const TEXT: Self = Self::new(TypeId::Text);
    /// `name`
    pub const NAME: Self = Self::new(TypeId::Name);
    /// `oid`
    pub const OID: Self = Self::new(TypeId::Oid);
    /// `unknown`
    pub const UNKNOWN: Self = Self::new(TypeId::Unknown);
    /// `timestamp with time zone`
    pub const TIMESTAMPTZ: Self = Self::new(TypeId::Timestamptz);
}
