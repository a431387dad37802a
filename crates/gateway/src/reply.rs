//! How does what a session says become messages?
//!
//! [`Reply`] is the session's sink for one message of the client. Rows are written straight into
//! the output buffer, each value behind its length, which is filled in afterwards.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use futures::FutureExt;
use futures::future::BoxFuture;
use pgtypes::{Datum, EvalEnv, PgType};
use pgwire::messages::copy::{CopyDone, CopyInResponse, CopyOutResponse};
use pgwire::messages::response::{CommandComplete, EmptyQueryResponse};
use pgwire::messages::startup::ParameterStatus;
use sql::SqlError;
use sql::session::{CopyShape, ResultColumn, Severity, Sink};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::formats::Formats;
use crate::wire::Wire;
use crate::{description, sqlstate};

/// A value of a gigabyte cannot be told from a broken length by most clients.
const ROW_BYTES_MAX: usize = 1 << 30;

/// The columns of the rows that come.
#[derive(Debug)]
pub(crate) enum Shape {
    /// Described when the session tells them: the simple protocol.
    Told(Vec<PgType>),
    /// Known from Bind, described by Describe.
    Known(Option<Arc<[ResultColumn]>>, Formats),
}

/// The shapes of a run of the extended protocol, one per Execute: Sync may run any of them again.
#[derive(Debug)]
pub(crate) struct Shapes {
    all: Vec<Shape>,
    /// The one whose rows come.
    at: usize,
}

impl Shapes {
    pub(crate) fn new(shape: Shape) -> Self {
        Self { all: vec![shape], at: 0 }
    }

    /// The next Execute begins.
    pub(crate) fn push(&mut self, shape: Shape) {
        self.all.push(shape);
        self.at = self.all.len() - 1;
    }

    /// The run is over.
    pub(crate) fn clear(&mut self) {
        self.all.clear();
        self.at = 0;
    }
}

impl Shape {
    fn column(&self, at: usize) -> (PgType, bool) {
        match self {
            Self::Told(types) => (types[at], false),
            Self::Known(Some(columns), formats) => (columns[at].ty, formats.is_binary(at)),
            Self::Known(None, _) => unreachable!("a statement without columns has no rows"),
        }
    }
}

/// The sink of one message.
pub(crate) struct Reply<'a, S> {
    pub(crate) wire: &'a mut Wire<S>,
    pub(crate) shapes: &'a mut Shapes,
    /// The settings that text depends on, kept from one statement to the next.
    pub(crate) env: &'a mut EvalEnv,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Sink for Reply<'_, S> {
    fn environment(&mut self, env: &EvalEnv) {
        keep_output_settings(self.env, env);
    }

    fn columns(&mut self, columns: &[ResultColumn]) -> Result<(), SqlError> {
        let shapes = &mut *self.shapes;
        if let Some(Shape::Told(types)) = shapes.all.get_mut(shapes.at) {
            types.clear();
            types.extend(columns.iter().map(|column| column.ty));
            description::encode(&mut self.wire.output, columns, &Formats::Text);
        }
        Ok(())
    }

    fn row(&mut self, row: &[Datum]) -> Result<(), SqlError> {
        let shape = &self.shapes.all[self.shapes.at];
        encode_row(&mut self.wire.output, row, shape, self.env)
    }

    fn complete(&mut self, tag: &str) {
        self.wire.put(&CommandComplete::new(tag.to_owned()));
    }

    fn empty(&mut self) {
        self.wire.put(&EmptyQueryResponse::new());
    }

    fn notice(&mut self, severity: Severity, notice: &SqlError) {
        self.wire.put(&sqlstate::notice_response(severity.as_str(), notice));
    }

    fn parameter_status(&mut self, name: &str, value: &str) {
        self.wire.put(&ParameterStatus::new(name.to_owned(), value.replace('\0', "")));
    }

    fn mark(&self) -> u64 {
        self.wire.mark()
    }

    fn rewind(&mut self, mark: u64) -> bool {
        self.wire.rewind(mark)
    }

    fn executions(&self) -> usize {
        self.shapes.all.len()
    }

    fn reopen(&mut self, mark: u64) -> bool {
        self.wire.reopen(mark)
    }

    fn resume(&mut self, from: u64, to: u64, nth: usize) {
        self.wire.put_back(from, Some(to));
        self.shapes.at = nth - 1;
    }

    fn close_reopened(&mut self, from: Option<u64>) {
        if let Some(from) = from {
            self.wire.put_back(from, None);
        }
        self.wire.close_reopened();
        self.shapes.at = self.shapes.all.len().saturating_sub(1);
    }

    fn flush(&mut self) -> BoxFuture<'_, Result<(), SqlError>> {
        if !self.wire.is_full() {
            return futures::future::ready(Ok(())).boxed();
        }
        async { self.wire.send().await.map_err(|_| sqlstate::connection_lost()) }.boxed()
    }

    fn copy_in_start(&mut self, shape: CopyShape) -> BoxFuture<'_, Result<(), SqlError>> {
        let (format, columns, formats) = copy_formats(shape);
        self.wire.reply(&CopyInResponse::new(format, columns, formats));
        async { self.wire.send().await.map_err(|_| sqlstate::connection_lost()) }.boxed()
    }

    fn copy_in(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, SqlError>> {
        self.wire.copy_in().boxed()
    }

    fn copy_out_start(&mut self, shape: CopyShape) {
        let (format, columns, formats) = copy_formats(shape);
        self.wire.put(&CopyOutResponse::new(format, columns, formats));
    }

    fn copy_out(&mut self, data: &[u8]) {
        let out = &mut self.wire.output;
        out.reserve(data.len() + 5);
        out.put_u8(b'd');
        out.put_u32(u32::try_from(data.len() + 4).expect("a piece of COPY is below 4 GB"));
        out.put_slice(data);
    }

    fn copy_out_done(&mut self) {
        self.wire.put(&CopyDone::new());
    }
}

fn copy_formats(shape: CopyShape) -> (i8, i16, Vec<i16>) {
    let format = i16::from(shape.binary);
    let columns = i16::try_from(shape.columns).unwrap_or(i16::MAX);
    (i8::from(shape.binary), columns, vec![format; shape.columns.min(i16::MAX as usize)])
}

/// Copies what text depends on, if it differs: comparing costs nothing, copying a little.
fn keep_output_settings(kept: &mut EvalEnv, env: &EvalEnv) {
    // What a `regclass` is printed as.
    let same_names = match (&kept.names.0, &env.names.0) {
        (Some(kept), Some(names)) => std::sync::Arc::ptr_eq(kept, names),
        (kept, names) => kept.is_none() && names.is_none(),
    };
    if !same_names {
        kept.names = env.names.clone();
    }
    let same = kept.date_format == env.date_format
        && kept.date_order == env.date_order
        && kept.interval_style == env.interval_style
        && kept.bytea_output == env.bytea_output
        && kept.extra_float_digits == env.extra_float_digits
        && kept.time_zone == env.time_zone;
    if !same {
        kept.date_format = env.date_format;
        kept.date_order = env.date_order;
        kept.interval_style = env.interval_style;
        kept.bytea_output = env.bytea_output;
        kept.extra_float_digits = env.extra_float_digits;
        kept.time_zone = env.time_zone.clone();
    }
}

/// Writes one DataRow.
fn encode_row(
    out: &mut BytesMut,
    row: &[Datum],
    shape: &Shape,
    env: &EvalEnv,
) -> Result<(), SqlError> {
    let start = out.len();
    out.reserve(7 + row.len() * 16);
    out.put_u8(b'D');
    out.put_u32(0);
    out.put_u16(u16::try_from(row.len()).expect("a row has at most 1,664 columns"));
    for (at, value) in row.iter().enumerate() {
        if value.is_null() {
            out.put_i32(-1);
            continue;
        }
        let length_at = out.len();
        out.put_u32(0);
        let (ty, binary) = shape.column(at);
        if binary {
            match pgtypes::enums::to_wire(value, ty, env) {
                Some(label) => pgtypes::to_binary(&label, ty, out),
                None => pgtypes::to_binary(value, ty, out),
            }
        } else {
            pgtypes::to_text(value, ty, env, out);
        }
        let bytes = out.len() - length_at - 4;
        if out.len() - start > ROW_BYTES_MAX {
            out.truncate(start);
            return Err(sqlstate::row_too_large(bytes));
        }
        patch(out, length_at, bytes);
    }
    let bytes = out.len() - start - 1;
    patch(out, start + 1, bytes);
    Ok(())
}

/// Fills in a length that was left open.
fn patch(out: &mut BytesMut, at: usize, bytes: usize) {
    let length = u32::try_from(bytes).expect("checked against the limit of a row");
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
}
