//! What a database, schema, table, column, index and constraint are.
//!
//! Descriptors are plain data, stored as JSON under [`base::keyspace::CATALOG`] and shared as
//! `Arc`s by a [`crate::CatalogSnapshot`]. Nothing here reads or writes.
//!
//! # Invariants
//!
//! - **D1** Ids of columns are unique within their table over its whole life, ids of indexes in the
//!   cluster: none is given out twice, not even after a rollback, so bytes written under an old id
//!   are never read as something else.
//! - **D2** `primary` is always there. A table without a primary key has one without columns: its
//!   rows are keyed by a hidden row id.
//! - **D3** Columns of the primary key are not nullable.
//! - **D4** The primary index has no computed column, no condition, and includes nothing.

use std::any::Any;
use std::sync::{Arc, OnceLock};

use pgtypes::PgType;
use serde::{Deserialize, Serialize};

use crate::acl::{Acl, RoleId};
use crate::{Constraint, Demand, ForeignKey, RowCodec};

/// Identity of a database. Also its oid.
pub type DatabaseId = u32;
/// Identity of a schema. Also its oid.
pub type SchemaId = u32;
/// Identity of a table, and the table part of its keys. Also its oid.
pub type TableId = u32;
/// Identity of a column within its table, from 1. Also its `attnum`.
pub type ColumnId = u32;
/// Identity of an index in the cluster, and the index part of its keys.
pub type IndexId = u32;

/// A database.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Database {
    /// Identity and oid.
    pub id: DatabaseId,
    /// Name, as written (already folded to lower case where it was not quoted).
    pub name: String,
    /// The owning role.
    #[serde(deserialize_with = "crate::role::owner")]
    pub owner: RoleId,
    /// What others may do with it; `None`: what [`Acl::default_of`] says.
    #[serde(default)]
    pub acl: Option<Acl>,
}

/// A schema: a namespace of tables within a database.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Schema {
    /// Identity and oid.
    pub id: SchemaId,
    /// The database it belongs to; 0 for the system schemas that every database shows.
    pub database: DatabaseId,
    /// Name.
    pub name: String,
    /// The owning role.
    #[serde(deserialize_with = "crate::role::owner")]
    pub owner: RoleId,
    /// What others may do with it; `None`: what [`Acl::default_of`] says.
    #[serde(default)]
    pub acl: Option<Acl>,
    /// What COMMENT ON says of it.
    #[serde(default)]
    pub comment: Option<String>,
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// Identity and `attnum`.
    pub id: ColumnId,
    /// Name.
    pub name: String,
    /// Type with its modifier.
    #[serde(with = "crate::type_serde")]
    pub ty: PgType,
    /// Whether NULL may be stored.
    pub nullable: bool,
    /// Default expression, as SQL. Objects are named by oid in it.
    pub default: Option<String>,
    /// The sequence that gives the column its value where none is given (SERIAL, IDENTITY); wins over
    /// `default`.
    #[serde(default)]
    pub sequence: Option<u32>,
    /// Whether it is an identity column, and which kind.
    #[serde(default)]
    pub identity: Option<Identity>,
    /// GENERATED ALWAYS AS … STORED: the expression over the other columns, as SQL.
    #[serde(default)]
    pub generated: Option<String>,
    /// What a row written before the column was added holds, as [`crate::RowCodec`] encodes one
    /// value; `None` is NULL.
    #[serde(default)]
    pub missing: Option<Vec<u8>>,
}

impl Column {
    /// A column that takes NULL and has nothing but a type.
    #[must_use]
    pub fn new(id: ColumnId, name: String, ty: PgType) -> Self {
        Column {
            id,
            name,
            ty,
            nullable: true,
            default: None,
            sequence: None,
            identity: None,
            generated: None,
            missing: None,
        }
    }
}

/// Kinds of identity columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Identity {
    /// A value may only be given with OVERRIDING SYSTEM VALUE.
    Always,
    /// A given value is taken.
    ByDefault,
}

/// One column of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexColumn {
    /// Which column of the table.
    pub column: ColumnId,
    /// Whether the index is descending in it (NULLs first, then).
    #[serde(default)]
    pub descending: bool,
    /// NULLs are at the other end: first in an ascending column, last in a descending one.
    #[serde(default)]
    pub nulls_reversed: bool,
    /// Declared with one of the operator classes for patterns. The order is bytewise either way.
    #[serde(default)]
    pub pattern: bool,
}

impl IndexColumn {
    /// An ascending column.
    #[must_use]
    pub fn ascending(column: ColumnId) -> Self {
        IndexColumn { column, descending: false, nulls_reversed: false, pattern: false }
    }

    /// Whether NULLs come before all values.
    #[must_use]
    pub fn nulls_first(&self) -> bool {
        self.descending != self.nulls_reversed
    }
}

/// How far an index has come into being: the states of F1, see [`crate::succession`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum IndexState {
    /// Writes remove entries, and add none.
    DeleteOnly,
    /// Maintained by writes, not yet complete.
    WriteOnly,
    /// The same, and known to all writers: older rows are being added.
    Filling,
    /// Complete: may be read.
    Public,
}

impl IndexState {
    /// Whether it may be read.
    #[must_use]
    pub fn is_public(self) -> bool {
        self == IndexState::Public
    }

    /// Whether writes keep it up to date.
    #[must_use]
    pub fn is_written(self) -> bool {
        self >= IndexState::WriteOnly
    }

    /// For people to look at.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            IndexState::DeleteOnly => "delete-only",
            IndexState::WriteOnly => "write-only",
            IndexState::Filling => "filling",
            IndexState::Public => "public",
        }
    }

    /// How many steps it is away from not being there.
    #[must_use]
    pub fn stage(self) -> u8 {
        self as u8 + 1
    }
}

/// An index, the primary one included.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Index {
    /// Identity: the index part of its keys. Changes when the index is rebuilt.
    pub id: IndexId,
    /// Oid in `pg_class`.
    pub oid: u32,
    /// Name, unique among the relations of the schema.
    pub name: String,
    /// Whether no two rows agree in all columns (none of them NULL).
    pub unique: bool,
    /// Columns, most significant first.
    pub columns: Vec<IndexColumn>,
    /// INCLUDE: columns whose values entries carry besides.
    #[serde(default)]
    pub include: Vec<ColumnId>,
    /// WHERE: the computed column that is true of the rows which have an entry.
    #[serde(default)]
    pub predicate: Option<ColumnId>,
    /// NULLS NOT DISTINCT: a unique index in which NULL equals NULL.
    #[serde(default)]
    pub nulls_not_distinct: bool,
    /// Whether it can be read.
    pub state: IndexState,
    /// The process that fills it while it is not public: its node, and which of that node's.
    #[serde(default)]
    pub builder: Option<(u64, u64)>,
    /// Whether it came from a UNIQUE or PRIMARY KEY constraint of the same name.
    #[serde(default)]
    pub constraint: bool,
    /// What COMMENT ON says of it.
    #[serde(default)]
    pub comment: Option<String>,
    /// What COMMENT ON CONSTRAINT says of the constraint it came from.
    #[serde(default)]
    pub constraint_comment: Option<String>,
}

impl Index {
    /// An index without columns, whose id is its oid.
    #[must_use]
    pub fn new(oid: u32, name: String, unique: bool) -> Self {
        Index {
            id: oid,
            oid,
            name,
            unique,
            columns: Vec::new(),
            include: Vec::new(),
            predicate: None,
            nulls_not_distinct: false,
            state: IndexState::Public,
            builder: None,
            constraint: false,
            comment: None,
            constraint_comment: None,
        }
    }

    /// Whether it mentions a column as key, included or as its condition.
    #[must_use]
    pub fn mentions(&self, column: ColumnId) -> bool {
        self.columns.iter().any(|c| c.column == column)
            || self.include.contains(&column)
            || self.predicate == Some(column)
    }
}

/// A table takes no new writers: somebody waits for those it has, to change it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closing {
    /// The process that does: its node, and which of that node's.
    pub process: (u64, u64),
    /// An oid that stands for the statement, and for nothing else.
    pub token: u32,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// Identity, oid, and the table part of its keys.
    pub id: TableId,
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
    /// Columns in the order of `SELECT *`.
    pub columns: Vec<Column>,
    /// What indexes hold besides columns: values computed of the row (`generated`), which are stored
    /// in entries only. Their positions follow those of the columns.
    #[serde(default)]
    pub computed: Vec<Column>,
    /// Where the rows are: key columns of the primary key, or none for a hidden row id (D2).
    pub primary: Index,
    /// Secondary indexes.
    pub indexes: Vec<Index>,
    /// Constraints that are not indexes.
    #[serde(default)]
    pub constraints: Vec<Constraint>,
    /// The id the next column gets (D1).
    pub next_column: ColumnId,
    /// Accepted storage parameters without meaning here (`fillfactor`), kept to be shown.
    #[serde(default)]
    pub options: Vec<(String, String)>,
    /// Comment on the table, and on columns by id.
    #[serde(default)]
    pub comments: Vec<(ColumnId, String)>,
    /// Who keeps writers out of it, for the moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<Closing>,
    #[serde(skip)]
    codec: CodecCell,
    #[serde(skip)]
    compiled: CompiledCell,
}

impl Table {
    /// A table without indexes; `primary` decides where its rows are.
    #[must_use]
    pub fn new(
        id: TableId,
        schema: SchemaId,
        name: String,
        owner: RoleId,
        columns: Vec<Column>,
        primary: Index,
    ) -> Self {
        let next_column = columns.iter().map(|c| c.id).max().unwrap_or(0) + 1;
        Table {
            id,
            schema,
            name,
            owner,
            acl: None,
            columns,
            computed: Vec::new(),
            primary,
            indexes: Vec::new(),
            constraints: Vec::new(),
            next_column,
            options: Vec::new(),
            comments: Vec::new(),
            closed: None,
            codec: CodecCell::default(),
            compiled: CompiledCell::default(),
        }
    }

    /// Whether rows are keyed by a hidden row id.
    #[must_use]
    pub fn has_hidden_row_id(&self) -> bool {
        self.primary.columns.is_empty()
    }

    /// The position of the column of that name.
    #[must_use]
    pub fn position(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|c| c.name == name)
    }

    /// The position of the column with that id, a computed one behind the others.
    #[must_use]
    pub fn position_of(&self, id: ColumnId) -> Option<usize> {
        self.columns.iter().chain(&self.computed).position(|c| c.id == id)
    }

    /// The column at a position, a computed one behind the others.
    #[must_use]
    pub fn column_at(&self, position: usize) -> &Column {
        match position.checked_sub(self.columns.len()) {
            None => &self.columns[position],
            Some(computed) => &self.computed[computed],
        }
    }

    /// Whether a position is that of a computed column.
    #[must_use]
    pub fn is_computed(&self, position: usize) -> bool {
        position >= self.columns.len()
    }

    /// Whether an index is made of columns alone and has an entry for every row.
    #[must_use]
    pub fn is_plain(&self, index: &Index) -> bool {
        index.predicate.is_none()
            && index.columns.iter().all(|c| self.columns.iter().any(|own| own.id == c.column))
    }

    /// Forgets computed columns that no index mentions.
    pub fn drop_unused_computed(&mut self) {
        let indexes = &self.indexes;
        self.computed.retain(|c| indexes.iter().any(|index| index.mentions(c.id)));
    }

    /// Positions of an index's columns, in the order of the index.
    #[must_use]
    pub fn index_positions(&self, index: &Index) -> Vec<usize> {
        let position = |c: &IndexColumn| self.position_of(c.column).expect("index of its column");
        index.columns.iter().map(position).collect()
    }

    /// The index of that id, the primary one included.
    #[must_use]
    pub fn index(&self, id: IndexId) -> Option<&Index> {
        std::iter::once(&self.primary).chain(&self.indexes).find(|i| i.id == id)
    }

    /// The references that its rows make.
    pub fn foreign_keys(&self) -> impl Iterator<Item = (&Constraint, &ForeignKey)> {
        self.constraints.iter().filter_map(|c| c.foreign_key().map(|key| (c, key)))
    }

    /// The constraints that have a name to users: NOT NULL is a matter of the column.
    pub fn named_constraints(&self) -> impl Iterator<Item = &Constraint> {
        self.constraints.iter().filter(|constraint| constraint.not_null().is_none())
    }

    /// How far it is known that a column of it holds no NULL.
    #[must_use]
    pub fn not_null(&self, column: &Column) -> Demand {
        let being_added = self.constraints.iter().find(|c| c.not_null() == Some(column.id));
        match being_added {
            _ if !column.nullable => Demand::Validated,
            Some(constraint) => constraint.demand(),
            None => Demand::None,
        }
    }

    /// The constraint of that oid.
    #[must_use]
    pub fn constraint_by_oid(&self, oid: u32) -> Option<&Constraint> {
        self.constraints.iter().find(|constraint| constraint.oid == oid)
    }

    /// The index of that oid, the primary one included.
    #[must_use]
    pub fn index_by_oid(&self, oid: u32) -> Option<&Index> {
        std::iter::once(&self.primary).chain(&self.indexes).find(|i| i.oid == oid)
    }

    /// Positions of some columns.
    #[must_use]
    pub fn positions(&self, columns: &[ColumnId]) -> Vec<usize> {
        columns.iter().map(|c| self.position_of(*c).expect("a column of the table")).collect()
    }

    /// What others have made of the descriptor's expressions, kept with it.
    #[must_use]
    pub fn compiled(&self) -> &OnceLock<Arc<dyn Any + Send + Sync>> {
        &self.compiled.0
    }

    /// How rows of this table are encoded. Computed once per descriptor.
    #[must_use]
    pub fn codec(&self) -> &Arc<RowCodec> {
        self.codec.0.get_or_init(|| Arc::new(RowCodec::new(self)))
    }
}

/// A codec computed at first use. A clone is made to be changed, so it starts empty.
#[derive(Default)]
struct CodecCell(OnceLock<Arc<RowCodec>>);

impl Clone for CodecCell {
    fn clone(&self) -> Self {
        CodecCell::default()
    }
}

impl PartialEq for CodecCell {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl std::fmt::Debug for CodecCell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CodecCell")
    }
}

/// What the descriptor's expressions are to those who evaluate them. Empty in a clone, as the codec is.
#[derive(Default)]
struct CompiledCell(OnceLock<Arc<dyn Any + Send + Sync>>);

impl Clone for CompiledCell {
    fn clone(&self) -> Self {
        CompiledCell::default()
    }
}

impl PartialEq for CompiledCell {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl std::fmt::Debug for CompiledCell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CompiledCell")
    }
}
