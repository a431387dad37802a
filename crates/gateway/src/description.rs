//! What does RowDescription say?
//!
//! A prepared statement is described again and again (sysbench describes the portal at every
//! execution), so the encoded messages are kept, found by the identity of the column list.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use pgwire::messages::Message;
use pgwire::messages::data::{
    FORMAT_CODE_BINARY, FORMAT_CODE_TEXT, FieldDescription, RowDescription,
};
use sql::session::ResultColumn;

use crate::formats::Formats;

/// How many messages a connection keeps.
const KEPT_MAX: usize = 32;

/// The descriptions used last by one connection.
#[derive(Debug, Default)]
pub(crate) struct Descriptions {
    kept: Vec<(Arc<[ResultColumn]>, Formats, Bytes)>,
    /// Where the next one goes when all places are taken.
    oldest: usize,
}

impl Descriptions {
    /// The message for these columns in these formats.
    pub(crate) fn get(&mut self, columns: &Arc<[ResultColumn]>, formats: &Formats) -> Bytes {
        let known = self
            .kept
            .iter()
            .find(|(kept, with, _)| Arc::ptr_eq(kept, columns) && with == formats)
            .map(|(_, _, message)| message.clone());
        if let Some(message) = known {
            return message;
        }
        let mut message = BytesMut::new();
        encode(&mut message, columns, formats);
        let entry = (columns.clone(), formats.clone(), message.freeze());
        let message = entry.2.clone();
        if self.kept.len() < KEPT_MAX {
            self.kept.push(entry);
        } else {
            self.kept[self.oldest] = entry;
            self.oldest = (self.oldest + 1) % KEPT_MAX;
        }
        message
    }
}

/// Writes the message.
pub(crate) fn encode(out: &mut BytesMut, columns: &[ResultColumn], formats: &Formats) {
    let fields = columns.iter().enumerate().map(|(at, column)| {
        let format = if formats.is_binary(at) { FORMAT_CODE_BINARY } else { FORMAT_CODE_TEXT };
        FieldDescription::new(
            column.name.replace('\0', "\u{fffd}"),
            // An oid is unsigned, pgwire's field is not; the bits are the same.
            i32::from_ne_bytes(column.table.to_ne_bytes()),
            column.column,
            column.ty.oid(),
            column.ty.len(),
            column.ty.modifier(),
            format,
        )
    });
    let description = RowDescription::new(fields.collect());
    description.encode(out).expect("a row description is far below the limit of 2 GB");
}
