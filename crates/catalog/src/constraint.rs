//! Constraints that are not indexes: CHECK and FOREIGN KEY.

use serde::{Deserialize, Serialize};

use crate::{ColumnId, TableId};

/// A constraint that is not an index.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Constraint {
    /// Oid in `pg_constraint`.
    pub oid: u32,
    /// Name, unique within the table.
    pub name: String,
    /// What it demands.
    pub kind: ConstraintKind,
    /// Whether all rows are known to meet it; false after NOT VALID.
    #[serde(default = "yes")]
    pub validated: bool,
    /// What COMMENT ON says of it.
    #[serde(default)]
    pub comment: Option<String>,
}

fn yes() -> bool {
    true
}

/// What a constraint demands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ConstraintKind {
    /// The expression is not false.
    Check {
        /// The expression, as SQL.
        expression: String,
    },
    /// Some row of another table has the same key.
    ForeignKey(ForeignKey),
}

/// A reference to the rows of a table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ForeignKey {
    /// The columns that refer.
    pub columns: Vec<ColumnId>,
    /// The table they refer to; may be their own.
    pub table: TableId,
    /// Its columns, in the order of `columns`.
    pub referenced: Vec<ColumnId>,
    /// Oid of its unique index over exactly these columns.
    pub index: u32,
    /// What becomes of the row when the one it refers to goes.
    pub on_delete: Action,
    /// What becomes of it when the key of the one it refers to changes.
    pub on_update: Action,
    /// MATCH FULL: either all columns are NULL or none.
    #[serde(default)]
    pub full: bool,
    /// Whether SET CONSTRAINTS may put the check off to the commit.
    #[serde(default)]
    pub deferrable: bool,
    /// Whether it is put off unless SET CONSTRAINTS says otherwise.
    #[serde(default)]
    pub deferred: bool,
}

/// A referential action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// An error if rows still refer when the check is made.
    NoAction,
    /// An error at once.
    Restrict,
    /// The same happens to the rows that refer.
    Cascade,
    /// They refer to nothing.
    SetNull,
    /// They refer to what their columns have as default.
    SetDefault,
}

impl Action {
    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Action::NoAction => "NO ACTION",
            Action::Restrict => "RESTRICT",
            Action::Cascade => "CASCADE",
            Action::SetNull => "SET NULL",
            Action::SetDefault => "SET DEFAULT",
        }
    }
}

impl Constraint {
    /// The reference, if it is one.
    #[must_use]
    pub fn foreign_key(&self) -> Option<&ForeignKey> {
        match &self.kind {
            ConstraintKind::ForeignKey(key) => Some(key),
            ConstraintKind::Check { .. } => None,
        }
    }

    /// The expression, if it is a CHECK.
    #[must_use]
    pub fn check(&self) -> Option<&str> {
        match &self.kind {
            ConstraintKind::Check { expression } => Some(expression),
            ConstraintKind::ForeignKey(_) => None,
        }
    }
}
