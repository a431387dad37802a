//! The extended protocol: one statement in five messages.
//!
//! ```text
//!   Parse ──▶ statement ──Bind──▶ portal ──Execute──▶ rows, tag │ PortalSuspended
//!                 └──Describe──▶ parameters, columns     (Sync ends the run: `connection`)
//! ```

use std::sync::Arc;

use pgtypes::PgType;
use pgwire::messages::data::{NoData, ParameterDescription};
use pgwire::messages::extendedquery::{
    Bind, BindComplete, Close, CloseComplete, Describe, Execute, Parse, ParseComplete,
    PortalSuspended, TARGET_TYPE_BYTE_STATEMENT,
};
use sql::SqlError;
use sql::session::{Completion, Prepared, ResultColumn};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::connection::{Connection, OpenPortal};
use crate::formats::Formats;
use crate::reply::{Reply, Shape};
use crate::{parameters, sqlstate};

/// What a client declares when it leaves the type of a parameter to us.
const UNSPECIFIED: u32 = 0;
/// PostgreSQL's `unknown`, which some clients declare for the same.
const UNKNOWN: u32 = 705;

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Connection<S> {
    pub(crate) async fn parse(&mut self, parse: &Parse) -> Result<(), SqlError> {
        let name = parse.name.as_deref().unwrap_or_default();
        if !name.is_empty() && self.session.prepared(name).is_some() {
            return Err(self.failed(sqlstate::statement_exists(name)));
        }
        let types = parse.type_oids.iter().map(|&oid| self.parameter_type(oid));
        let types = match types.collect::<Result<Vec<_>, _>>() {
            Ok(types) => types,
            Err(error) => return Err(self.failed(error)),
        };
        let prepared = self.session.parse(&parse.query, &types).await?;
        self.session.put_prepared(name, prepared)?;
        self.wire.reply(&ParseComplete::new());
        Ok(())
    }

    pub(crate) fn bind(&mut self, bind: Bind) -> Result<(), SqlError> {
        let statement = bind.statement_name.as_deref().unwrap_or_default();
        let prepared = self.statement(statement)?;
        let decoded = parameters::decode(
            statement,
            bind.parameters,
            &bind.parameter_format_codes,
            prepared.params(),
            self.session.env(),
        );
        let columns = prepared.columns().map_or(0, |columns| columns.len());
        let formats = Formats::parse("result column", &bind.result_column_format_codes, columns);
        let (values, formats) = match (decoded, formats) {
            (Ok(values), Ok(formats)) => (values, formats),
            (Err(error), _) | (_, Err(error)) => return Err(self.failed(error)),
        };
        let open = |portal| OpenPortal { portal, formats };
        match bind.portal_name {
            None => self.unnamed_portal = Some(open(self.session.bind(prepared, values)?)),
            Some(name) => {
                let epoch = self.session.epoch();
                if self.portals.get(&name).is_some_and(|open| open.portal.epoch() == epoch) {
                    return Err(self.failed(sqlstate::portal_exists(&name)));
                }
                let portal = self.session.bind(prepared, values)?;
                self.portals.insert(name, open(portal));
            }
        }
        self.wire.reply(&BindComplete::new());
        Ok(())
    }

    pub(crate) fn describe(&mut self, describe: &Describe) -> Result<(), SqlError> {
        let name = describe.name.as_deref().unwrap_or_default();
        if describe.target_type == TARGET_TYPE_BYTE_STATEMENT {
            let prepared = self.statement(name)?;
            let oids = prepared.params().iter().map(|ty| ty.oid()).collect();
            self.wire.reply(&ParameterDescription::new(oids));
            self.describe_columns(prepared.columns(), &Formats::Text);
            return Ok(());
        }
        let epoch = self.session.epoch();
        let open = match name {
            "" => self.unnamed_portal.as_ref(),
            name => self.portals.get(name),
        };
        match open.filter(|open| open.portal.epoch() == epoch) {
            Some(open) => {
                let (columns, formats) = (open.portal.columns().cloned(), open.formats.clone());
                self.describe_columns(columns.as_ref(), &formats);
                Ok(())
            }
            // One that SQL has declared: psycopg describes it before it fetches.
            None => match self.session.cursor_columns(name) {
                Some((columns, binary)) => {
                    let formats = if binary { Formats::Binary } else { Formats::Text };
                    self.describe_columns(Some(&columns), &formats);
                    Ok(())
                }
                None => Err(self.failed(sqlstate::no_portal(name))),
            },
        }
    }

    pub(crate) async fn execute(&mut self, execute: &Execute) -> Result<(), SqlError> {
        let name = execute.name.as_deref().unwrap_or_default();
        let epoch = self.session.epoch();
        let open = match name {
            "" => self.unnamed_portal.as_mut(),
            name => self.portals.get_mut(name),
        };
        let Some(open) = open.filter(|open| open.portal.epoch() == epoch) else {
            return Err(self.failed(sqlstate::no_portal(name)));
        };
        let rows_max = usize::try_from(execute.max_rows).unwrap_or(0);
        self.executed.push(Shape::Known(open.portal.columns().cloned(), open.formats.clone()));
        let shapes = &mut self.executed;
        let mut reply = Reply { wire: &mut self.wire, shapes, env: &mut self.env };
        match self.session.execute(&mut open.portal, rows_max, &mut reply).await? {
            Completion::Complete => {}
            Completion::Suspended => self.wire.reply(&PortalSuspended::new()),
        }
        Ok(())
    }

    pub(crate) fn close(&mut self, close: &Close) -> Result<(), SqlError> {
        let name = close.name.as_deref().unwrap_or_default();
        if close.target_type == TARGET_TYPE_BYTE_STATEMENT {
            self.session.close_prepared(name);
        } else if name.is_empty() {
            self.unnamed_portal = None;
        } else if self.portals.remove(name).is_none() {
            self.session.drop_cursor(name);
        }
        self.wire.reply(&CloseComplete::new());
        Ok(())
    }

    fn statement(&mut self, name: &str) -> Result<Arc<Prepared>, SqlError> {
        match self.session.prepared(name) {
            Some(prepared) => Ok(prepared),
            None => Err(self.failed(sqlstate::no_statement(name))),
        }
    }

    fn describe_columns(&mut self, columns: Option<&Arc<[ResultColumn]>>, formats: &Formats) {
        match columns {
            Some(columns) => {
                let message = self.descriptions.get(columns, formats);
                self.wire.reply_bytes(&message);
            }
            None => self.wire.reply(&NoData::new()),
        }
    }

    /// An error of the protocol fails the transaction like one of a statement.
    fn failed(&mut self, error: SqlError) -> SqlError {
        self.session.fail_statement();
        error
    }

    fn parameter_type(&self, oid: u32) -> Result<Option<PgType>, SqlError> {
        match oid {
            UNSPECIFIED | UNKNOWN => Ok(None),
            oid => match self.session.type_of_oid(oid) {
                Some(ty) => Ok(Some(ty)),
                None => Err(sqlstate::unknown_type(oid)),
            },
        }
    }
}
