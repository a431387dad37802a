//! Constraints that are not indexes: CHECK and FOREIGN KEY, and NOT NULL while it is being added.

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
    /// Its rows are being looked at; none once they are known to meet it, or if nobody looks.
    #[serde(default)]
    pub validation: Option<Validation>,
    /// What COMMENT ON says of it.
    #[serde(default)]
    pub comment: Option<String>,
}

/// Rows are being looked at whether they meet a constraint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validation {
    /// The process that does: its node, and which of that node's.
    pub process: (u64, u64),
    /// Every writer knows of the constraint: rows are being read.
    pub reading: bool,
    /// The constraint was there before: it stays, not valid, if a row does not meet it.
    pub keep: bool,
}

/// How much of a constraint holds. Each step takes in the ones before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Demand {
    /// There is no such constraint.
    None,
    /// Whoever knows of it keeps to it.
    Enforced,
    /// All writers know of it; rows that are older are being read.
    Reading,
    /// All rows meet it.
    Validated,
}

impl Demand {
    /// For people to look at.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Demand::None => "none",
            Demand::Enforced => "enforced",
            Demand::Reading => "reading",
            Demand::Validated => "validated",
        }
    }

    /// Whether who kept to this much may commit where `later` is demanded.
    #[must_use]
    pub fn is_within_a_step_of(self, later: Demand) -> bool {
        later as u8 <= self as u8 + 1
    }
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
    /// The column is not NULL. Only until all rows are known to meet it: [`crate::Column::nullable`].
    NotNull {
        /// Which column.
        column: ColumnId,
    },
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
    /// A constraint that all rows meet.
    #[must_use]
    pub fn new(oid: u32, name: String, kind: ConstraintKind) -> Self {
        Constraint { oid, name, kind, validated: true, validation: None, comment: None }
    }

    /// The reference, if it is one.
    #[must_use]
    pub fn foreign_key(&self) -> Option<&ForeignKey> {
        match &self.kind {
            ConstraintKind::ForeignKey(key) => Some(key),
            ConstraintKind::Check { .. } | ConstraintKind::NotNull { .. } => None,
        }
    }

    /// The expression, if it is a CHECK.
    #[must_use]
    pub fn check(&self) -> Option<&str> {
        match &self.kind {
            ConstraintKind::Check { expression } => Some(expression),
            ConstraintKind::ForeignKey(_) | ConstraintKind::NotNull { .. } => None,
        }
    }

    /// The column, if it is a NOT NULL that is being added.
    #[must_use]
    pub fn not_null(&self) -> Option<ColumnId> {
        match self.kind {
            ConstraintKind::NotNull { column } => Some(column),
            ConstraintKind::Check { .. } | ConstraintKind::ForeignKey(_) => None,
        }
    }

    /// How much of it holds.
    #[must_use]
    pub fn demand(&self) -> Demand {
        match self.validation {
            _ if self.validated => Demand::Validated,
            Some(Validation { reading: true, .. }) => Demand::Reading,
            Some(_) | None => Demand::Enforced,
        }
    }
}
