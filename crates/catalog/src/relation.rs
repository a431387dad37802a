//! What has a name in a schema but holds no rows: sequences, views, types.

use pgtypes::{PgType, TypeId};
use serde::{Deserialize, Serialize};

use crate::acl::{Acl, RoleId};
use crate::{ColumnId, SchemaId, TableId};

/// A sequence. Its values are kept apart ([`crate::store::sequence_key`]): they are not transactional.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sequence {
    /// Identity and oid.
    pub id: u32,
    /// The schema it is in.
    pub schema: SchemaId,
    /// Name, unique among the relations of the schema.
    pub name: String,
    /// The owning role.
    #[serde(deserialize_with = "crate::role::owner")]
    pub owner: RoleId,
    /// What others may do with it; `None`: what [`Acl::default_of`] says.
    #[serde(default)]
    pub acl: Option<Acl>,
    /// Where its values are: the number in their key. A restart gives it a new one, so that what a
    /// node or session has taken ahead is void, and a rollback brings the old values back.
    pub values: u32,
    /// int2, int4 or int8.
    #[serde(with = "crate::type_serde")]
    pub ty: PgType,
    /// First value, after a restart too.
    pub start: i64,
    /// Distance of two values; not 0.
    pub increment: i64,
    /// Least value.
    pub min: i64,
    /// Greatest value.
    pub max: i64,
    /// Values a session takes at a time; at least 1.
    pub cache: i64,
    /// Whether it begins anew behind its end.
    pub cycle: bool,
    /// The column it goes with: dropped together.
    #[serde(default)]
    pub owned_by: Option<(TableId, ColumnId)>,
    /// What COMMENT ON says of it.
    #[serde(default)]
    pub comment: Option<String>,
}

impl Sequence {
    /// A sequence with PostgreSQL's defaults for its type.
    #[must_use]
    pub fn new(id: u32, schema: SchemaId, name: String, owner: RoleId, ty: PgType) -> Self {
        Sequence {
            id,
            schema,
            name,
            owner,
            acl: None,
            values: id,
            ty,
            start: 1,
            increment: 1,
            min: 1,
            max: Sequence::bounds(ty).1,
            cache: 1,
            cycle: false,
            owned_by: None,
            comment: None,
        }
    }

    /// Least and greatest value of a type.
    #[must_use]
    pub fn bounds(ty: PgType) -> (i64, i64) {
        match ty.id {
            TypeId::Int2 => (i64::from(i16::MIN), i64::from(i16::MAX)),
            TypeId::Int4 => (i64::from(i32::MIN), i64::from(i32::MAX)),
            _ => (i64::MIN, i64::MAX),
        }
    }
}

/// A view: a query with a name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct View {
    /// Identity and oid.
    pub id: u32,
    /// The schema it is in.
    pub schema: SchemaId,
    /// Name, unique among the relations of the schema.
    pub name: String,
    /// The owning role.
    #[serde(deserialize_with = "crate::role::owner")]
    pub owner: RoleId,
    /// What others may do with it; `None`: what [`Acl::default_of`] says.
    #[serde(default)]
    pub acl: Option<Acl>,
    /// The query, as SQL.
    pub sql: String,
    /// Its columns.
    pub columns: Vec<ViewColumn>,
    /// The search path that names in the query are looked up by.
    pub path: Vec<String>,
    /// Relations that the query mentions, and which of their columns.
    pub uses: Vec<(u32, Vec<ColumnId>)>,
    /// Comment on the view (0), and on columns by number from 1.
    #[serde(default)]
    pub comments: Vec<(ColumnId, String)>,
}

/// A column of a view.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ViewColumn {
    /// Name.
    pub name: String,
    /// What the query calls it.
    pub source: String,
    /// Type.
    #[serde(with = "crate::type_serde")]
    pub ty: PgType,
}

/// An enumeration. The oid of its array type is the next one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EnumType {
    /// Identity and oid.
    pub id: u32,
    /// The schema it is in.
    pub schema: SchemaId,
    /// Name, unique among the types of the schema.
    pub name: String,
    /// The owning role.
    pub owner: RoleId,
    /// Its labels, in order.
    pub labels: Vec<EnumLabel>,
    /// What COMMENT ON says of it.
    #[serde(default)]
    pub comment: Option<String>,
}

/// A label of an enumeration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EnumLabel {
    /// Oid in `pg_enum`.
    pub oid: u32,
    /// What is stored for it; greater for later labels.
    pub value: i64,
    /// The label.
    pub label: String,
}

impl EnumType {
    /// Distance of the values of two labels given together: so often can it be halved.
    pub const STEP: i64 = 1 << 40;
}
