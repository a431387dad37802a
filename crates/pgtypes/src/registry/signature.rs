//! Signatures in words: `lpad(text,int4,text) text`, `concat(variadic any) text`.

use crate::ty::{PgType, TypeId};

/// A declared argument or result type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ArgSpec {
    /// This type.
    Type(PgType),
    /// `"any"`
    Any,
    /// `anyelement`: one type for all of its places.
    Element,
    /// `anynonarray`
    NonArray,
    /// `anyenum`
    Enum,
    /// `anyarray`: array of the type of `anyelement`.
    Array,
    /// `anycompatible`: the common type of its places.
    Compatible,
    /// `anycompatiblearray`
    CompatibleArray,
}

impl ArgSpec {
    pub(crate) fn parse(text: &str) -> Self {
        match text {
            "any" => Self::Any,
            "anyelement" => Self::Element,
            "anynonarray" => Self::NonArray,
            "anyenum" => Self::Enum,
            "anyarray" => Self::Array,
            "anycompatible" => Self::Compatible,
            "anycompatiblearray" => Self::CompatibleArray,
            _ => {
                let (name, array) = match text.strip_suffix("[]") {
                    Some(name) => (name, true),
                    None => (text, false),
                };
                let id = match name {
                    // `char` alone is how SQL spells `character`.
                    "qchar" => TypeId::Char,
                    _ => TypeId::from_name(name).expect("signatures name existing types"),
                };
                let array = array || id.is_vector();
                Self::Type(PgType { id, array, typmod: -1 })
            }
        }
    }

    pub(crate) fn name(&self) -> String {
        match self {
            Self::Type(ty) => ty.sql_name(),
            Self::Any => "\"any\"".to_owned(),
            Self::Element => "anyelement".to_owned(),
            Self::NonArray => "anynonarray".to_owned(),
            Self::Enum => "anyenum".to_owned(),
            Self::Array => "anyarray".to_owned(),
            Self::Compatible => "anycompatible".to_owned(),
            Self::CompatibleArray => "anycompatiblearray".to_owned(),
        }
    }
}

/// Declared types of a function.
#[derive(Clone, Debug)]
pub(crate) struct Signature {
    /// The arguments; the last one repeats, once or more, if `variadic`.
    pub(crate) args: Vec<ArgSpec>,
    pub(crate) variadic: bool,
    pub(crate) result: ArgSpec,
}

impl Signature {
    /// Splits `name(args) result`.
    pub(crate) fn parse(text: &'static str) -> (&'static str, Self) {
        let open = text.rfind('(').expect("a signature has parentheses");
        let close = text.rfind(')').expect("a signature has parentheses");
        let mut variadic = false;
        let args = text[open + 1..close]
            .split(',')
            .map(str::trim)
            .filter(|arg| !arg.is_empty())
            .map(|arg| match arg.strip_prefix("variadic ") {
                Some(arg) => {
                    variadic = true;
                    ArgSpec::parse(arg)
                }
                None => ArgSpec::parse(arg),
            })
            .collect();
        let result = ArgSpec::parse(text[close + 1..].trim());
        (&text[..open], Self { args, variadic, result })
    }

    /// The declared types for a call with `count` arguments, if it can have that many.
    pub(crate) fn expand(&self, count: usize) -> Option<Vec<ArgSpec>> {
        if !self.variadic {
            return (self.args.len() == count).then(|| self.args.clone());
        }
        let last = *self.args.last()?;
        if count < self.args.len() {
            return None;
        }
        let mut args = self.args.clone();
        args.resize(count, last);
        Some(args)
    }
}
