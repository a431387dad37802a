//! The values that a path finds.

use super::{Arith, Expr, Method, Path, Step};
use crate::error::{TypeError, sqlstate};
use crate::json::Json;
use crate::numeric::Numeric;

/// Why a path finds nothing.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Of the document: silent where silence is asked for, "unknown" within a condition.
    Document(TypeError),
    /// Of the path or its variables: always told.
    Path(TypeError),
}

impl From<Failure> for TypeError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Document(error) | Failure::Path(error) => error,
        }
    }
}

pub(super) type Found = Result<Vec<Json>, Failure>;

pub(super) fn failed<T>(state: &'static str, message: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Document(TypeError::new(state, message)))
}

const SUBSCRIPT: &str = "22033";
const NOT_NUMERIC: &str = "22036";
const NOT_SINGLE: &str = "22038";
const NO_ARRAY: &str = "22039";
const NO_MEMBER: &str = "2203A";
const NO_NUMBER: &str = "2203B";
const NO_OBJECT: &str = "2203C";

/// A path over a document.
pub(crate) struct Query<'q> {
    pub(super) path: &'q Path,
    pub(super) root: &'q Json,
    pub(super) variables: &'q Json,
}

/// What `@` and `last` stand for.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) current: &'a Json,
    size: Option<usize>,
}

impl<'q> Query<'q> {
    /// A query with these variables, an object.
    pub(crate) fn new(
        path: &'q Path,
        root: &'q Json,
        variables: &'q Json,
    ) -> Result<Self, TypeError> {
        if !matches!(variables, Json::Object(_)) {
            return Err(TypeError::new(
                sqlstate::INVALID_PARAMETER,
                "\"vars\" argument is not an object",
            )
            .with_detail(
                "Jsonpath parameters should be encoded as key-value pairs of \"vars\" object.",
            ));
        }
        Ok(Self { path, root, variables })
    }

    /// All values, in order.
    pub(crate) fn run(&self) -> Found {
        self.eval(&self.path.root, At { current: self.root, size: None })
    }

    /// Whether there is any value. A lax path needs not be followed to its end for that.
    pub(crate) fn exists(&self) -> Result<bool, Failure> {
        Ok(!self.run()?.is_empty())
    }

    fn lax(&self) -> bool {
        !self.path.strict
    }

    pub(super) fn eval(&self, expr: &Expr, at: At<'_>) -> Found {
        Ok(vec![match expr {
            Expr::Null => Json::Null,
            Expr::Bool(value) => Json::Bool(*value),
            Expr::Number(value) => Json::Number(value.clone()),
            Expr::String(text) => Json::String(text.clone()),
            Expr::Variable(name) => self.variable(name)?,
            Expr::Root => self.root.clone(),
            Expr::Current => at.current.clone(),
            Expr::Last => {
                let size = at.size.unwrap_or(1);
                let last = i64::try_from(size).expect("in memory") - 1;
                Json::Number(Numeric::from(last))
            }
            Expr::Steps(root, steps) => {
                let mut values = self.eval(root, at)?;
                // Below `.**` a strict path sees nothing where there is nothing, too.
                let mut forgiving = self.lax();
                for step in steps {
                    let mut next = Vec::new();
                    for value in &values {
                        self.step(step, value, at, forgiving, self.lax(), &mut next)?;
                    }
                    forgiving |= matches!(step, Step::Descend { .. });
                    values = next;
                }
                return Ok(values);
            }
            Expr::Arith(operator, left, right) => self.arith(*operator, left, right, at)?,
            Expr::Minus(inner) | Expr::Plus(inner) => {
                let minus = matches!(expr, Expr::Minus(_));
                let sign = if minus { "-" } else { "+" };
                return self
                    .unwrapped(inner, at)?
                    .into_iter()
                    .map(|value| match value {
                        Json::Number(value) => {
                            Ok(Json::Number(if minus { value.neg() } else { value }))
                        }
                        _ => failed(
                            NO_NUMBER,
                            format!(
                                "operand of unary jsonpath operator {sign} is not a numeric value"
                            ),
                        ),
                    })
                    .collect();
            }
            Expr::Compare(..)
            | Expr::And(..)
            | Expr::Or(..)
            | Expr::Not(_)
            | Expr::IsUnknown(_)
            | Expr::Exists(_)
            | Expr::StartsWith(..)
            | Expr::LikeRegex { .. } => match self.holds(expr, at)? {
                Some(truth) => Json::Bool(truth),
                None => Json::Null,
            },
        }])
    }

    fn variable(&self, name: &str) -> Result<Json, Failure> {
        self.variables.member(name).cloned().ok_or_else(|| {
            Failure::Path(TypeError::new(
                sqlstate::UNDEFINED_OBJECT,
                format!("could not find jsonpath variable \"{name}\""),
            ))
        })
    }

    /// The values of a part, arrays among them taken apart if the path is lax.
    pub(super) fn unwrapped(&self, expr: &Expr, at: At<'_>) -> Found {
        let values = self.eval(expr, at)?;
        if !self.lax() {
            return Ok(values);
        }
        let apart = |value| match value {
            Json::Array(items) => items,
            other => vec![other],
        };
        Ok(values.into_iter().flat_map(apart).collect())
    }

    fn arith(
        &self,
        operator: Arith,
        left: &Expr,
        right: &Expr,
        at: At<'_>,
    ) -> Result<Json, Failure> {
        let one = |expr: &Expr, side: &str| -> Result<Numeric, Failure> {
            match self.unwrapped(expr, at)?.as_slice() {
                [Json::Number(value)] => Ok(value.clone()),
                _ => failed(
                    NOT_SINGLE,
                    format!(
                        "{side} operand of jsonpath operator {} is not a single numeric value",
                        operator.sign()
                    ),
                ),
            }
        };
        let (left, right) = (one(left, "left")?, one(right, "right")?);
        let result = match operator {
            Arith::Add => left.add(&right),
            Arith::Sub => left.sub(&right),
            Arith::Mul => left.mul(&right),
            Arith::Div => left.div(&right),
            Arith::Mod => left.rem(&right),
        };
        result.map(Json::Number).map_err(Failure::Document)
    }

    /// One step from one value. `unwrap`: an array is taken apart where the step wants none.
    fn step(
        &self,
        step: &Step,
        value: &Json,
        at: At<'_>,
        forgiving: bool,
        unwrap: bool,
        out: &mut Vec<Json>,
    ) -> Result<(), Failure> {
        let each = |items: &[Json], out: &mut Vec<Json>| {
            items.iter().try_for_each(|item| self.step(step, item, at, forgiving, false, out))
        };
        match (step, value) {
            (Step::Key(name), Json::Object(_)) => match value.member(name) {
                Some(found) => out.push(found.clone()),
                None if forgiving => {}
                None => {
                    return failed(
                        NO_MEMBER,
                        format!("JSON object does not contain key \"{name}\""),
                    );
                }
            },
            (Step::AnyKey, Json::Object(members)) => {
                out.extend(members.iter().map(|(_, value)| value.clone()));
            }
            (Step::Key(_) | Step::AnyKey | Step::Filter(_), Json::Array(items)) if unwrap => {
                each(items, out)?;
            }
            (Step::Method(method), Json::Array(items))
                if unwrap && !matches!(method, Method::Type | Method::Size) =>
            {
                each(items, out)?;
            }
            (Step::Key(_) | Step::AnyKey, _) if forgiving => {}
            (Step::Key(_), _) => {
                return failed(
                    NO_MEMBER,
                    "jsonpath member accessor can only be applied to an object",
                );
            }
            (Step::AnyKey, _) => {
                return failed(
                    NO_OBJECT,
                    "jsonpath wildcard member accessor can only be applied to an object",
                );
            }
            (Step::AnyElement, Json::Array(items)) => out.extend(items.iter().cloned()),
            (Step::AnyElement, other) if self.lax() => out.push(other.clone()),
            (Step::AnyElement, _) if forgiving => {}
            (Step::AnyElement, _) => {
                return failed(
                    NO_ARRAY,
                    "jsonpath wildcard array accessor can only be applied to an array",
                );
            }
            (Step::Elements(elements), Json::Array(items)) => {
                self.elements(elements, items, value, forgiving, out)?;
            }
            (Step::Elements(elements), other) if self.lax() => {
                self.elements(elements, std::slice::from_ref(other), value, forgiving, out)?;
            }
            (Step::Elements(_), _) if forgiving => {}
            (Step::Elements(_), _) => {
                return failed(NO_ARRAY, "jsonpath array accessor can only be applied to an array");
            }
            (Step::Descend { first, last }, value) => {
                if *first == Some(0) || (first.is_none() && value.is_scalar()) {
                    out.push(value.clone());
                }
                descend(value, 1, *first, *last, out);
            }
            (Step::Method(method), value) => self.method(*method, value, out)?,
            (Step::Filter(condition), value) => {
                let inner = At { current: value, size: at.size };
                if self.holds(condition, inner)? == Some(true) {
                    out.push(value.clone());
                }
            }
        }
        Ok(())
    }

    fn elements(
        &self,
        elements: &[(Expr, Option<Expr>)],
        items: &[Json],
        current: &Json,
        forgiving: bool,
        out: &mut Vec<Json>,
    ) -> Result<(), Failure> {
        let at = At { current, size: Some(items.len()) };
        let index = |expr: &Expr| -> Result<i64, Failure> {
            match self.eval(expr, at)?.as_slice() {
                [Json::Number(value)] => match value.trunc(0).to_i32() {
                    Ok(index) => Ok(i64::from(index)),
                    Err(_) => failed(SUBSCRIPT, "jsonpath array subscript is out of integer range"),
                },
                _ => failed(SUBSCRIPT, "jsonpath array subscript is not a single numeric value"),
            }
        };
        let size = i64::try_from(items.len()).expect("in memory");
        for (from, to) in elements {
            let from = index(from)?;
            let to = match to {
                Some(to) => index(to)?,
                None => from,
            };
            if !forgiving && (from < 0 || from > to || to >= size) {
                return failed(SUBSCRIPT, "jsonpath array subscript is out of bounds");
            }
            for at in from.max(0)..=to.min(size - 1) {
                out.push(items[usize::try_from(at).expect("within the array")].clone());
            }
        }
        Ok(())
    }

    fn method(&self, method: Method, value: &Json, out: &mut Vec<Json>) -> Result<(), Failure> {
        let name = method.name();
        let number = || match value {
            Json::Number(number) => Ok(number.clone()),
            _ => failed(
                NOT_NUMERIC,
                format!("jsonpath item method .{name}() can only be applied to a numeric value"),
            ),
        };
        out.push(match method {
            Method::Type => Json::String(value.type_name().to_owned()),
            Method::Size => match value {
                Json::Array(items) => {
                    Json::Number(Numeric::from(i64::try_from(items.len()).expect("in memory")))
                }
                _ if self.lax() => Json::Number(Numeric::from(1i64)),
                _ => {
                    return failed(
                        NO_ARRAY,
                        "jsonpath item method .size() can only be applied to an array",
                    );
                }
            },
            Method::Abs => Json::Number(number()?.abs()),
            Method::Ceiling => Json::Number(number()?.ceil()),
            Method::Floor => Json::Number(number()?.floor()),
            Method::Double => double(value)?,
            Method::KeyValue => {
                let Json::Object(members) = value else {
                    return failed(
                        NO_OBJECT,
                        "jsonpath item method .keyvalue() can only be applied to an object",
                    );
                };
                out.extend(members.iter().map(|(key, value)| {
                    Json::object(vec![
                        ("id".to_owned(), Json::Number(Numeric::from(0i64))),
                        ("key".to_owned(), Json::String(key.clone())),
                        ("value".to_owned(), value.clone()),
                    ])
                }));
                return Ok(());
            }
        });
        Ok(())
    }
}

fn double(value: &Json) -> Result<Json, Failure> {
    let (text, kind) = match value {
        Json::Number(number) => (number.to_string(), "numeric"),
        Json::String(text) => (text.clone(), "string"),
        _ => {
            return failed(
                NOT_NUMERIC,
                "jsonpath item method .double() can only be applied to a string or numeric value",
            );
        }
    };
    match crate::text::parse_f64(&text) {
        Ok(value) if value.is_finite() => Ok(Json::Number(Numeric::from_f64(value))),
        _ => failed(
            NOT_NUMERIC,
            format!(
                "{kind} argument of jsonpath item method .double() is not a valid representation of \
                 a double precision number"
            ),
        ),
    }
}

/// Values below this one, `level` steps down and more.
fn descend(value: &Json, level: u32, first: Option<u32>, last: Option<u32>, out: &mut Vec<Json>) {
    let mut each = |child: &Json| {
        let leaf = first.is_none() && last.is_none() && child.is_scalar();
        if leaf || first.is_some_and(|first| level >= first) {
            out.push(child.clone());
        }
        if last.is_none_or(|last| level < last) {
            descend(child, level + 1, first, last, out);
        }
    };
    match value {
        Json::Array(items) => items.iter().for_each(&mut each),
        Json::Object(members) => members.iter().for_each(|(_, child)| each(child)),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}
