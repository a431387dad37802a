//! A bound expression as text, in PostgreSQL's words: every operator in parentheses, every constant with
//! its type. It means the same whatever the search path and settings are.

use catalog::Column;
use pgtypes::typmod::format_type;
use pgtypes::{Datum, EvalEnv, PgType, TypeId};

use crate::ir::Scalar;
use crate::sysviews::quote;

/// The text; `None` for expressions of forms that are not printed here.
pub(crate) fn deparse(scalar: &Scalar, columns: &[Column], env: &EvalEnv) -> Option<String> {
    let names = |scalar: &Scalar| match scalar {
        Scalar::Column(id, _) => Some(quote(&columns.get(usize::try_from(id.0).ok()?)?.name)),
        _ => None,
    };
    let printer = Printer { names: &names, env, shown: false };
    match scalar {
        // A conversion that the place demands goes without saying.
        Scalar::Cast { cast, arg, .. } if !cast.explicit => printer.print(arg),
        Scalar::Relabel(arg, ty) => match &**arg {
            Scalar::Literal(datum, _) => printer.literal(datum, *ty),
            other => printer.print(other),
        },
        other => printer.print(other),
    }
}

/// A constant beside something of its type, as EXPLAIN shows it. Integers are those of the statement.
pub(crate) fn shown_constant(datum: &Datum, ty: PgType) -> String {
    let small = match datum {
        Datum::Null => return "NULL".to_owned(),
        _ if ty.enum_oid().is_some() => None,
        Datum::Int2(value) => Some(i32::from(*value)),
        Datum::Int8(value) => i32::try_from(*value).ok(),
        _ => None,
    };
    match small {
        Some(value) => literal(&Datum::Int4(value), PgType::INT4, true),
        None => literal(datum, ty, true),
    }
}

/// Constants of a type as the array that is looked through.
pub(crate) fn shown_constants(datums: Vec<Datum>, ty: PgType) -> String {
    shown_constant(&Datum::array(datums), ty.to_array())
}

/// Prints expressions over named values.
pub(crate) struct Printer<'a> {
    /// What columns and slots are called.
    pub(crate) names: &'a dyn Fn(&Scalar) -> Option<String>,
    pub(crate) env: &'a EvalEnv,
    /// For people: enumerations by their names, which can change.
    pub(crate) shown: bool,
}

impl Printer<'_> {
    /// The text; `None` for expressions of forms that are not printed here.
    pub(crate) fn print(&self, scalar: &Scalar) -> Option<String> {
        Some(match scalar {
            Scalar::Literal(datum, ty) => self.literal(datum, *ty)?,
            Scalar::Column(..) | Scalar::Slot(..) => (self.names)(scalar)?,
            Scalar::Call { func, args, .. } => self.call(func.name, args)?,
            Scalar::Cast { cast, arg, ty } => {
                if ty.id == TypeId::Regclass && matches!(**arg, Scalar::Literal(..)) {
                    let value = crate::ir::eval(scalar, self.env, &[], &[]).ok()?;
                    return self.literal(&value, *ty);
                }
                let ty = if cast.explicit { *ty } else { ty.base() };
                let name = match ty.enum_oid() {
                    Some(_) if self.shown => ty.sql_name(),
                    Some(_) if ty.array => return None,
                    Some(oid) => crate::ddl::stored_name(oid),
                    None => format_type(ty),
                };
                format!("({})::{name}", self.print(arg)?)
            }
            Scalar::Relabel(arg, ty) => match &**arg {
                Scalar::Literal(datum, _) => self.literal(datum, *ty)?,
                other => format!("({})::{}", self.print(other)?, format_type(ty.base())),
            },
            Scalar::And(args) => format!("({})", self.list(args, " AND ")?),
            Scalar::Or(args) => format!("({})", self.list(args, " OR ")?),
            Scalar::Not(arg) => match &**arg {
                Scalar::IsNull(arg) => format!("({} IS NOT NULL)", self.print(arg)?),
                other => format!("(NOT {})", self.print(other)?),
            },
            Scalar::IsNull(arg) => format!("({} IS NULL)", self.print(arg)?),
            Scalar::IsBool(arg, value) => {
                format!("({} IS {})", self.print(arg)?, if *value { "TRUE" } else { "FALSE" })
            }
            Scalar::Distinct { left, right, .. } => {
                format!("({} IS DISTINCT FROM {})", self.print(left)?, self.print(right)?)
            }
            Scalar::InList { needle, list, .. } => {
                format!("({} = ANY (ARRAY[{}]))", self.print(needle)?, self.list(list, ", ")?)
            }
            Scalar::Case { whens, otherwise, .. } => {
                let mut out = "CASE".to_owned();
                for (condition, result) in whens {
                    let (condition, result) = (self.print(condition)?, self.print(result)?);
                    out.push_str(&format!(" WHEN {condition} THEN {result}"));
                }
                format!("{out} ELSE {} END", self.print(otherwise)?)
            }
            Scalar::Quantified { op, needle, array, all } => {
                let which = if *all { "ALL" } else { "ANY" };
                format!("({} {} {which} ({}))", self.print(needle)?, op.name, self.print(array)?)
            }
            Scalar::Extreme { op, args, .. } => {
                let name = if op.name == ">" { "GREATEST" } else { "LEAST" };
                format!("{name}({})", self.list(args, ", ")?)
            }
            Scalar::NullIf { args, .. } => {
                format!("NULLIF({}, {})", self.print(&args.0)?, self.print(&args.1)?)
            }
            Scalar::Coalesce(args, _) => format!("COALESCE({})", self.list(args, ", ")?),
            Scalar::Array(items, _) if !items.is_empty() => {
                format!("ARRAY[{}]", self.list(items, ", ")?)
            }
            _ => return None,
        })
    }

    fn list(&self, args: &[Scalar], between: &str) -> Option<String> {
        let args: Option<Vec<String>> = args.iter().map(|arg| self.print(arg)).collect();
        Some(args?.join(between))
    }

    fn call(&self, name: &str, args: &[Scalar]) -> Option<String> {
        let is_operator = !name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        Some(match (is_operator, args) {
            (true, [arg]) => format!("({name} {})", self.print(arg)?),
            (true, [left, right]) => {
                format!("({} {name} {})", self.print(left)?, self.print(right)?)
            }
            (true, _) => return None,
            (false, args) => format!("{name}({})", self.list(args, ", ")?),
        })
    }

    fn literal(&self, datum: &Datum, ty: PgType) -> Option<String> {
        if let Some(oid) = ty.enum_oid().filter(|_| !self.shown) {
            let name = crate::ddl::stored_name(oid);
            return match datum {
                Datum::Null if !ty.array => Some(format!("NULL::{name}")),
                Datum::Int8(value) => Some(format!("({value})::{name}")),
                _ => None,
            };
        }
        Some(literal(datum, ty, self.shown))
    }
}

/// A constant, values of enumerations by their labels. `folded`: a number of type numeric may be what has
/// become of another expression.
fn literal(datum: &Datum, ty: PgType, folded: bool) -> String {
    let base = match ty.enum_oid() {
        Some(_) => ty.sql_name(),
        None => format_type(ty.base()),
    };
    let text = pgtypes::text_of(datum, ty, &EvalEnv::default());
    match datum {
        Datum::Null => format!("NULL::{base}"),
        Datum::Bool(value) => value.to_string(),
        Datum::Int4(value) if *value >= 0 => text,
        Datum::Numeric(_) if !folded && text.chars().all(|c| c.is_ascii_digit()) => {
            format!("({text})::{base}")
        }
        Datum::Numeric(_) if text.contains('.') && !text.starts_with('-') => text,
        Datum::Oid(oid) if ty.id.is_oid_like() => format!("'{oid}'::{base}"),
        _ => format!("'{}'::{base}", text.replace('\'', "''")),
    }
}
