//! What the binder and the executor ask of the world: tables by name, and tables computed on the
//! fly.
//!
//! The session implements [`CatalogView`] over the catalog as its transaction sees it, so a bound
//! statement is valid for one catalog version.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use catalog::Table;
use futures::future::BoxFuture;
use pgtypes::{Datum, PgType};

use crate::error::SqlError;
use crate::exec::ExecContext;

/// What a table name stands for.
#[derive(Clone, Debug)]
pub enum Relation {
    /// A stored table.
    Table(Arc<Table>),
    /// A computed table.
    Virtual(Arc<dyn VirtualTable>),
    /// A view: its text is bound where the name stands.
    View(Arc<catalog::View>),
}

/// Names, as one statement sees them. Synchronous: a session that needs to read the catalog from
/// the cluster prefetches what the statement mentions ([`crate::bind::mentioned_tables`]).
pub trait CatalogView {
    /// The relation of that name; without a schema, along the search path. `None`: no such one.
    fn relation(&self, schema: Option<&str>, name: &str) -> Result<Option<Relation>, SqlError>;
    /// The enumeration of that name; without a schema, along the search path.
    fn enum_type(&self, _schema: Option<&str>, _name: &str) -> Option<PgType> {
        None
    }
    /// The same names by another search path: a view's.
    fn under(&self, path: &[String]) -> Box<dyn CatalogView + '_>;
}

/// One column of a [`VirtualTable`].
#[derive(Clone, Debug, PartialEq)]
pub struct VirtualColumn {
    /// Name.
    pub name: &'static str,
    /// Type.
    pub ty: PgType,
}

/// What the rows of a computed table depend on: they are the same under an equal one.
#[derive(Clone)]
pub struct Version {
    /// What they were computed from; kept alive, so that its address is not another's.
    pub of: Arc<dyn Any + Send + Sync>,
    /// Who reads them, and how: what else makes a difference.
    pub reader: String,
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.of, &other.of) && self.reader == other.reader
    }
}

/// A table computed on the fly: pg_catalog, information_schema, conclave's own.
pub trait VirtualTable: fmt::Debug + Send + Sync {
    /// Its name, for errors and EXPLAIN.
    fn name(&self) -> &str;
    /// Its schema.
    fn schema(&self) -> &str;
    /// Its oid.
    fn oid(&self) -> u32;
    /// Its columns.
    fn columns(&self) -> &[VirtualColumn];
    /// What its rows depend on, if they may be kept for other statements.
    fn version(&self, _ctx: &ExecContext) -> Option<Version> {
        None
    }
    /// All its rows. `ctx.session` is whatever the session put there.
    fn rows<'a>(&'a self, ctx: &'a ExecContext)
    -> BoxFuture<'a, Result<Vec<Vec<Datum>>, SqlError>>;
}
