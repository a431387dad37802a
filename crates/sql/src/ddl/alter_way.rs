//! How an ALTER TABLE goes about a table that others write: told by its words, before it begins.

use catalog::Table;
use sqlparser::ast::{
    AlterColumnOperation, AlterTableOperation, ColumnOption, Expr, ObjectName, TableConstraint,
};

use super::closing;
use super::column::serial_type;
use crate::SqlError;
use crate::bind::fold;
use crate::session::Session;

/// How a statement that is a transaction by itself goes about a table that others write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// In steps, beside the writers (`online`).
    Steps,
    /// In one transaction. If it looks at all rows or moves them, the table is closed first (`closing`).
    Once,
}

pub(super) fn way(operations: &[AlterTableOperation]) -> Way {
    use AlterTableOperation as Operation;
    match operations {
        [Operation::AddConstraint { constraint, not_valid: false }] if takes_steps(constraint) => {
            Way::Steps
        }
        [
            Operation::ValidateConstraint { .. }
            | Operation::AlterColumn { op: AlterColumnOperation::SetNotNull, .. },
        ] => Way::Steps,
        _ => Way::Once,
    }
}

/// Whether it looks at the rows, or builds an index, without moving rows.
fn takes_steps(constraint: &TableConstraint) -> bool {
    use TableConstraint as Kind;
    !matches!(
        constraint,
        Kind::PrimaryKey(_) | Kind::PrimaryKeyUsingIndex(_) | Kind::UniqueUsingIndex(_)
    )
}

/// Whether an operation, within one transaction, looks at all rows, moves them, or takes an index away.
fn closes(operation: &AlterTableOperation, table: &Table) -> bool {
    use AlterTableOperation as Operation;
    match operation {
        Operation::AddColumn { column_def, .. } => {
            column_def.options.iter().any(|option| {
                !matches!(
                    &option.option,
                    ColumnOption::Null
                        | ColumnOption::NotNull
                        | ColumnOption::Comment(_)
                        | ColumnOption::Collation(_)
                        | ColumnOption::Default(Expr::Value(_))
                )
            }) || serial_type(&column_def.data_type).is_some()
        }
        Operation::DropColumn { .. } | Operation::ValidateConstraint { .. } => true,
        Operation::AlterColumn { op, .. } => matches!(
            op,
            AlterColumnOperation::SetDataType { .. } | AlterColumnOperation::SetNotNull
        ),
        Operation::AddConstraint { constraint, not_valid } => match constraint {
            TableConstraint::UniqueUsingIndex(_) => false,
            _ => !not_valid,
        },
        Operation::DropConstraint { name, .. } => {
            let name = fold(name);
            let mut indexes = std::iter::once(&table.primary).chain(&table.indexes);
            indexes.any(|index| index.constraint && index.name == name)
        }
        _ => false,
    }
}

/// Closes the table if one of the operations is such that it has to be.
pub(super) async fn close<'a, I: Iterator<Item = &'a AlterTableOperation>>(
    session: &mut Session,
    name: &ObjectName,
    operations: impl Fn() -> I,
) -> Result<(), SqlError> {
    closing::close(session, |session, ddl| {
        let table = ddl.own_table(session, name)?;
        let closes = operations().any(|operation| closes(operation, &table));
        Ok(closes.then_some(table).into_iter().collect())
    })
    .await
}
