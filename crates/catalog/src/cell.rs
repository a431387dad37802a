//! How one stored value looks: a header byte, then a payload whose length the header tells.
//!
//! ```text
//!   header   dddd kkkk     d: column id minus that of the cell before, 15: a varint follows
//!   kind     0 false  1 true  2 varint (zigzag)  3 eight bytes  4 four bytes
//!            5 bytes, with a varint length       6 null
//! ```
//!
//! A cell can be skipped without knowing its column's type, so a reader decodes what it wants and
//! columns dropped long ago cost nothing but their bytes.

use bytes::{Bytes, BytesMut};
use pgtypes::arrow_bridge::ColumnBuilder;
use pgtypes::{Datum, PgType, TypeId};

use crate::CodecError;
use crate::row::FORMAT;

const FALSE: u8 = 0;
const TRUE: u8 = 1;
const VARINT: u8 = 2;
const EIGHT: u8 = 3;
const FOUR: u8 = 4;
const BYTES: u8 = 5;
const NULL: u8 = 6;

/// A delta of this size or more is spelled out behind the header.
const DELTA_ESCAPE: u32 = 15;

pub(crate) fn put_varint(out: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        out.extend_from_slice(&[(value as u8) | 0x80]);
        value >>= 7;
    }
    out.extend_from_slice(&[value as u8]);
}

pub(crate) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

pub(crate) fn unzigzag(value: u64) -> i64 {
    ((value >> 1) as i64) ^ -((value & 1) as i64)
}

fn put_header(out: &mut BytesMut, delta: u32, kind: u8) {
    if delta < DELTA_ESCAPE {
        out.extend_from_slice(&[((delta as u8) << 4) | kind]);
    } else {
        out.extend_from_slice(&[0xF0 | kind]);
        put_varint(out, u64::from(delta));
    }
}

/// Appends one cell. `delta` is the column's id minus that of the cell before.
pub(crate) fn put(
    out: &mut BytesMut,
    delta: u32,
    ty: PgType,
    datum: &Datum,
) -> Result<(), CodecError> {
    let int = |out: &mut BytesMut, value: i64| {
        put_header(out, delta, VARINT);
        put_varint(out, zigzag(value));
    };
    match datum {
        Datum::Null => put_header(out, delta, NULL),
        Datum::Bool(b) => put_header(out, delta, if *b { TRUE } else { FALSE }),
        Datum::Int2(v) => int(out, i64::from(*v)),
        Datum::Int4(v) | Datum::Date(v) => int(out, i64::from(*v)),
        Datum::Int8(v) | Datum::Time(v) | Datum::Timestamp(v) | Datum::Timestamptz(v) => {
            int(out, *v);
        }
        Datum::Oid(v) => int(out, i64::from(*v)),
        Datum::Float4(v) => {
            put_header(out, delta, FOUR);
            out.extend_from_slice(&v.to_be_bytes());
        }
        Datum::Float8(v) => {
            put_header(out, delta, EIGHT);
            out.extend_from_slice(&v.to_be_bytes());
        }
        Datum::Text(v) => put_bytes(out, delta, v.as_bytes()),
        Datum::Bytea(v) => put_bytes(out, delta, v),
        Datum::Uuid(v) => put_bytes(out, delta, v),
        other => {
            let mut bytes = BytesMut::new();
            crate::binary::encode(other, ty, &mut bytes)?;
            put_bytes(out, delta, &bytes);
        }
    }
    Ok(())
}

fn put_bytes(out: &mut BytesMut, delta: u32, bytes: &[u8]) {
    put_header(out, delta, BYTES);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends a cell as it stands in another row.
pub(crate) fn copy(out: &mut BytesMut, delta: u32, row: &Bytes, cell: Cell) {
    put_header(out, delta, cell.kind);
    let payload = &row[cell.start..cell.end];
    if cell.kind == BYTES {
        put_varint(out, payload.len() as u64);
    }
    out.extend_from_slice(payload);
}

/// A position in a row's cells.
pub(crate) struct Cells<'a> {
    row: &'a Bytes,
    at: usize,
    column: u32,
}

/// One cell, not yet decoded.
#[derive(Clone, Copy)]
pub(crate) struct Cell {
    /// The id of its column.
    pub(crate) column: u32,
    kind: u8,
    start: usize,
    end: usize,
}

impl<'a> Cells<'a> {
    pub(crate) fn new(row: &'a Bytes, at: usize) -> Self {
        Cells { row, at, column: 0 }
    }

    /// The cells of a stored value, behind its format.
    pub(crate) fn open(value: &'a Bytes) -> Result<Self, CodecError> {
        match value.first() {
            Some(&FORMAT) => Ok(Cells::new(value, 1)),
            _ => Err(CodecError::Corrupt("unknown row format")),
        }
    }

    fn byte(&mut self) -> Result<u8, CodecError> {
        let byte = *self.row.get(self.at).ok_or(CodecError::Corrupt("row cut short"))?;
        self.at += 1;
        Ok(byte)
    }

    pub(crate) fn varint(&mut self) -> Result<u64, CodecError> {
        let mut value = 0u64;
        let mut shift = 0;
        loop {
            let byte = self.byte()?;
            if shift > 63 {
                return Err(CodecError::Corrupt("varint too long"));
            }
            value |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
            shift += 7;
        }
    }

    /// Takes `len` raw bytes.
    pub(crate) fn raw(&mut self, len: usize) -> Result<Bytes, CodecError> {
        let end = self.at.checked_add(len).filter(|&end| end <= self.row.len());
        let end = end.ok_or(CodecError::Corrupt("row cut short"))?;
        let bytes = self.row.slice(self.at..end);
        self.at = end;
        Ok(bytes)
    }

    /// The next cell, or `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Cell>, CodecError> {
        if self.at == self.row.len() {
            return Ok(None);
        }
        let header = self.byte()?;
        let mut delta = u32::from(header >> 4);
        if delta == DELTA_ESCAPE {
            delta = u32::try_from(self.varint()?).map_err(|_| CodecError::Corrupt("column id"))?;
        }
        self.column =
            self.column.checked_add(delta).ok_or(CodecError::Corrupt("column id overflows"))?;
        let kind = header & 0x0F;
        let len = match kind {
            FALSE | TRUE | NULL => 0,
            EIGHT => 8,
            FOUR => 4,
            VARINT => {
                let start = self.at;
                self.varint()?;
                let cell = Cell { column: self.column, kind, start, end: self.at };
                return Ok(Some(cell));
            }
            BYTES => usize::try_from(self.varint()?).map_err(|_| CodecError::Corrupt("length"))?,
            _ => return Err(CodecError::Corrupt("unknown kind of cell")),
        };
        let start = self.at;
        let end = start.checked_add(len).filter(|&end| end <= self.row.len());
        self.at = end.ok_or(CodecError::Corrupt("row cut short"))?;
        Ok(Some(Cell { column: self.column, kind, start, end: self.at }))
    }

    /// Decodes a cell this reader returned.
    pub(crate) fn decode(&self, cell: Cell, ty: PgType) -> Result<Datum, CodecError> {
        decode(self.row, cell, ty)
    }
}

/// A value of a row on its way into an Arrow array.
#[derive(Debug)]
pub enum Stored<'v> {
    /// Decoded.
    Datum(Datum),
    /// As it is stored, which is as it is in Arrow arrays ([`ColumnBuilder::push_stored`]).
    Bytes(&'v [u8]),
}

impl Stored<'_> {
    /// Appends it to a column of its type.
    pub fn push_to(&self, column: &mut ColumnBuilder) -> Result<(), CodecError> {
        match self {
            Stored::Datum(datum) => column.push(datum),
            Stored::Bytes(bytes) => {
                if !column.push_stored(bytes) {
                    return Err(CodecError::Corrupt("value of another type than its column"));
                }
            }
        }
        Ok(())
    }
}

/// The value of a row's cell, decoded only if it must be.
pub(crate) fn stored(row: &Bytes, cell: Cell, ty: PgType) -> Result<Stored<'_>, CodecError> {
    match cell.kind {
        BYTES if ColumnBuilder::takes_stored(ty) => Ok(Stored::Bytes(&row[cell.start..cell.end])),
        _ => decode(row, cell, ty).map(Stored::Datum),
    }
}

/// The value of a row's cell.
pub(crate) fn decode(row: &Bytes, cell: Cell, ty: PgType) -> Result<Datum, CodecError> {
    const WRONG: CodecError = CodecError::Corrupt("value of another type than its column");
    let payload = &row[cell.start..cell.end];
    let is = |id: TypeId| ty.id == id && !ty.array;
    Ok(match cell.kind {
        NULL => Datum::Null,
        FALSE | TRUE if is(TypeId::Bool) => Datum::Bool(cell.kind == TRUE),
        FOUR if is(TypeId::Float4) => {
            Datum::Float4(f32::from_be_bytes(payload.try_into().expect("four bytes by its kind")))
        }
        EIGHT if is(TypeId::Float8) => {
            Datum::Float8(f64::from_be_bytes(payload.try_into().expect("eight bytes by its kind")))
        }
        VARINT => {
            let value = unzigzag(Cells::new(row, cell.start).varint()?);
            return int_datum(value, ty);
        }
        BYTES if ty.array => crate::binary::decode(row.slice(cell.start..cell.end), ty)?,
        BYTES => match ty.id {
            TypeId::Text
            | TypeId::Varchar
            | TypeId::Bpchar
            | TypeId::Name
            | TypeId::Char
            | TypeId::Json
            | TypeId::Jsonpath => crate::binary::text(row.slice(cell.start..cell.end))?,
            TypeId::Bytea => Datum::Bytea(row.slice(cell.start..cell.end)),
            TypeId::Uuid => Datum::Uuid(payload.try_into().map_err(|_| WRONG)?),
            _ => crate::binary::decode(row.slice(cell.start..cell.end), ty)?,
        },
        _ => return Err(WRONG),
    })
}

/// The datum of an integer-like type.
pub(crate) fn int_datum(value: i64, ty: PgType) -> Result<Datum, CodecError> {
    const WIDE: CodecError = CodecError::Corrupt("integer wider than its column");
    Ok(match ty.id {
        _ if ty.array => return Err(CodecError::Corrupt("integer where an array belongs")),
        TypeId::Int2 => Datum::Int2(value.try_into().map_err(|_| WIDE)?),
        TypeId::Int4 => Datum::Int4(value.try_into().map_err(|_| WIDE)?),
        TypeId::Int8 | TypeId::Xid8 | TypeId::Enum => Datum::Int8(value),
        TypeId::Date => Datum::Date(value.try_into().map_err(|_| WIDE)?),
        TypeId::Time => Datum::Time(value),
        TypeId::Timestamp => Datum::Timestamp(value),
        TypeId::Timestamptz => Datum::Timestamptz(value),
        id if id.is_oid_like() => Datum::Oid(value.try_into().map_err(|_| WIDE)?),
        _ => return Err(CodecError::Corrupt("integer where another type belongs")),
    })
}
