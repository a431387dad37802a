//! `string_agg`, `array_agg`, and the aggregates that build JSON.

use std::sync::Arc;

use super::{Accumulate, AggCall, Aggregates};
use crate::datum::{ArrayValue, Datum, Dim, Str};
use crate::env::EvalEnv;
use crate::error::{Result, TypeError, sqlstate};
use crate::json::{Json, escape, json_text};

use crate::ty::{PgType, TypeId};

/// `string_agg`: the separator comes with each value and stands before it, except the first.
#[derive(Debug, Default)]
struct Concat {
    binary: bool,
    bytes: Option<Vec<u8>>,
    /// The first value's separator, needed when states are merged.
    first_separator: Vec<u8>,
}

fn raw(datum: &Datum) -> &[u8] {
    match datum {
        Datum::Text(text) => text.as_bytes(),
        Datum::Bytea(bytes) => bytes,
        _ => &[],
    }
}

impl Concat {
    fn datum(&self, bytes: &[u8]) -> Datum {
        if self.binary {
            return Datum::Bytea(bytes.to_vec().into());
        }
        Datum::text(String::from_utf8(bytes.to_vec()).expect("made of texts"))
    }
}

impl Accumulate for Concat {
    fn update(&mut self, args: &[Datum]) -> Result<()> {
        if args[0].is_null() {
            return Ok(());
        }
        match &mut self.bytes {
            None => {
                self.bytes = Some(raw(&args[0]).to_vec());
                self.first_separator = raw(&args[1]).to_vec();
            }
            Some(bytes) => {
                bytes.extend_from_slice(raw(&args[1]));
                bytes.extend_from_slice(raw(&args[0]));
            }
        }
        Ok(())
    }

    fn state(&self) -> Vec<Datum> {
        match &self.bytes {
            None => vec![Datum::Null, Datum::Null],
            Some(bytes) => vec![self.datum(bytes), self.datum(&self.first_separator)],
        }
    }

    fn merge(&mut self, state: &[Datum]) -> Result<()> {
        self.update(state)
    }

    fn finish(&self) -> Result<Datum> {
        Ok(self.bytes.as_ref().map_or(Datum::Null, |bytes| self.datum(bytes)))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.bytes.as_ref().map_or(0, Vec::capacity)
    }
}

/// `array_agg` of elements: NULLs are kept.
#[derive(Debug, Default)]
struct Elements {
    items: Vec<Datum>,
    heap: usize,
}

impl Accumulate for Elements {
    fn update(&mut self, args: &[Datum]) -> Result<()> {
        self.heap += args[0].size();
        self.items.push(args[0].clone());
        Ok(())
    }

    fn state(&self) -> Vec<Datum> {
        vec![Datum::array(self.items.clone())]
    }

    fn merge(&mut self, state: &[Datum]) -> Result<()> {
        if let Datum::Array(array) = &state[0] {
            self.heap += state[0].size();
            self.items.extend(array.items.iter().cloned());
        }
        Ok(())
    }

    fn finish(&self) -> Result<Datum> {
        if self.items.is_empty() {
            return Ok(Datum::Null);
        }
        Ok(Datum::array(self.items.clone()))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.heap
    }
}

/// `array_agg` of arrays: they become the rows of an array with one more dimension.
#[derive(Debug, Default)]
struct Rows {
    dims: Option<Vec<Dim>>,
    count: i32,
    items: Vec<Datum>,
    heap: usize,
}

impl Rows {
    fn append(&mut self, dims: &[Dim], items: &[Datum], count: i32) -> Result<()> {
        let bad = |message: &str| Err(TypeError::new(sqlstate::ARRAY_SUBSCRIPT, message));
        if dims.is_empty() {
            return bad("cannot accumulate empty arrays");
        }
        if self.dims.get_or_insert_with(|| dims.to_vec()) != dims {
            return bad("cannot accumulate arrays of different dimensionality");
        }
        self.count += count;
        self.heap += items.iter().map(Datum::size).sum::<usize>();
        self.items.extend_from_slice(items);
        Ok(())
    }
}

impl Accumulate for Rows {
    fn update(&mut self, args: &[Datum]) -> Result<()> {
        match &args[0] {
            Datum::Array(array) => self.append(&array.dims, &array.items, 1),
            _ => Err(TypeError::new(sqlstate::NULL_NOT_ALLOWED, "cannot accumulate null arrays")),
        }
    }

    fn state(&self) -> Vec<Datum> {
        vec![self.finish().expect("building an array cannot fail")]
    }

    fn merge(&mut self, state: &[Datum]) -> Result<()> {
        match &state[0] {
            Datum::Array(array) => self.append(&array.dims[1..], &array.items, array.dims[0].len),
            _ => Ok(()),
        }
    }

    fn finish(&self) -> Result<Datum> {
        let Some(inner) = &self.dims else { return Ok(Datum::Null) };
        let mut dims = vec![Dim { len: self.count, lower: 1 }];
        dims.extend_from_slice(inner);
        Ok(Datum::Array(Arc::new(ArrayValue { dims, items: self.items.clone() })))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.heap
    }
}

/// `json_agg`, `json_object_agg` and their `jsonb` forms, as pieces of text.
#[derive(Debug)]
struct JsonBuild {
    args: Vec<PgType>,
    object: bool,
    binary: bool,
    env: Arc<EvalEnv>,
    pieces: Vec<Datum>,
    heap: usize,
}

impl JsonBuild {
    fn make(call: &AggCall<'_>, object: bool, binary: bool) -> Box<dyn Accumulate> {
        Box::new(Self {
            args: call.args.to_vec(),
            object,
            binary,
            env: Arc::clone(call.env),
            pieces: Vec::new(),
            heap: 0,
        })
    }
}

impl JsonBuild {
    /// Arrays and rows begin lines, as in PostgreSQL.
    fn list(&self, pieces: &[&str]) -> String {
        let ty = self.args.last().copied().unwrap_or(PgType::TEXT);
        let structured = ty.array || ty.id == TypeId::Record;
        let mut text = String::from("[");
        for (n, piece) in pieces.iter().enumerate() {
            if n > 0 {
                text.push_str(if structured && *piece != "null" { ", \n " } else { ", " });
            }
            text.push_str(piece);
        }
        text.push(']');
        text
    }
}

impl Accumulate for JsonBuild {
    fn update(&mut self, args: &[Datum]) -> Result<()> {
        let value = args.last().expect("one or two arguments");
        let ty = *self.args.last().expect("one or two arguments");
        let mut text = String::new();
        if self.object {
            if args[0].is_null() {
                return Err(TypeError::new(
                    sqlstate::INVALID_PARAMETER,
                    "field name must not be null",
                ));
            }
            let key = crate::text::text_of(&args[0], self.args[0], &self.env);
            escape(&key, &mut text).expect("writing to a string");
            text.push_str(if self.binary { ": " } else { " : " });
        }
        json_text(value, ty, &self.env, &mut text)?;
        self.heap += size_of::<Datum>() + text.len();
        self.pieces.push(Datum::text(text));
        Ok(())
    }

    fn state(&self) -> Vec<Datum> {
        vec![Datum::array(self.pieces.clone())]
    }

    fn merge(&mut self, state: &[Datum]) -> Result<()> {
        if let Datum::Array(array) = &state[0] {
            self.heap += state[0].size();
            self.pieces.extend(array.items.iter().cloned());
        }
        Ok(())
    }

    fn finish(&self) -> Result<Datum> {
        if self.pieces.is_empty() {
            return Ok(Datum::Null);
        }
        let pieces: Vec<&str> = self.pieces.iter().filter_map(Datum::as_str).collect();
        let text =
            if self.object { format!("{{ {} }}", pieces.join(", ")) } else { self.list(&pieces) };
        if !self.binary {
            return Ok(Datum::text(text));
        }
        let value: Json = crate::json::parse(&text, true)?;
        Ok(Datum::Jsonb(Str::from(value.canonical().to_string())))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.heap
    }
}

pub(super) fn register(r: &mut Aggregates) {
    fn two(args: &[PgType], _: PgType) -> Vec<PgType> {
        args.to_vec()
    }
    fn list(_: &[PgType], result: PgType) -> Vec<PgType> {
        vec![result]
    }
    fn texts(_: &[PgType], _: PgType) -> Vec<PgType> {
        vec![PgType::array_of(TypeId::Text)]
    }
    r.add("string_agg(text,text) text", two, |_| Box::new(Concat::default())).nonstrict();
    r.add("string_agg(bytea,bytea) bytea", two, |_| {
        Box::new(Concat { binary: true, ..Concat::default() })
    })
    .nonstrict();
    r.add("array_agg(anynonarray) anyarray", list, |_| Box::new(Elements::default())).nonstrict();
    r.add("array_agg(anyarray) anyarray", list, |_| Box::new(Rows::default())).nonstrict();
    r.add("json_agg(any) json", texts, |call| JsonBuild::make(call, false, false)).nonstrict();
    r.add("jsonb_agg(any) jsonb", texts, |call| JsonBuild::make(call, false, true)).nonstrict();
    r.add("json_object_agg(any,any) json", texts, |call| JsonBuild::make(call, true, false))
        .nonstrict();
    r.add("jsonb_object_agg(any,any) jsonb", texts, |call| JsonBuild::make(call, true, true))
        .nonstrict();
}
