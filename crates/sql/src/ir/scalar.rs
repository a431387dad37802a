//! Typed scalar expressions.
//!
//! Everything PostgreSQL decides while binding is decided here: each operator and function is one
//! kernel, each cast is explicit, each literal and parameter has its type. Nothing downstream
//! coerces anything.

use pgtypes::registry::Volatility;
use pgtypes::{Datum, PgType, TypeId};

use super::func::{CastRef, FuncRef};
use super::rel::{ColId, Rel};
use crate::error::SqlError;

/// An expression with a type.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar {
    /// A constant.
    Literal(Datum, PgType),
    /// `$n`, counted from 0.
    Param {
        /// Which.
        index: usize,
        /// Declared or inferred type.
        ty: PgType,
    },
    /// A column of the input, or of an enclosing query.
    Column(ColId, PgType),
    /// A position in the row handed to [`super::eval`]: what [`Scalar::over`] makes of a column.
    Slot(usize, PgType),
    /// A function or operator.
    Call {
        /// Which.
        func: FuncRef,
        /// Arguments, of the types it takes.
        args: Vec<Scalar>,
        /// Result.
        ty: PgType,
    },
    /// A conversion that is more than a relabelling.
    Cast {
        /// How.
        cast: CastRef,
        /// Of what.
        arg: Box<Scalar>,
        /// To what, type modifier included.
        ty: PgType,
    },
    /// The same value under another type (text to varchar): nothing happens at run time.
    Relabel(Box<Scalar>, PgType),
    /// True unless one is false (then false) or NULL.
    And(Vec<Scalar>),
    /// False unless one is true (then true) or NULL.
    Or(Vec<Scalar>),
    /// Negation.
    Not(Box<Scalar>),
    /// `IS NULL`; `IS NOT NULL` is its negation.
    IsNull(Box<Scalar>),
    /// `IS TRUE` and `IS FALSE`; the others are negations of these and of `IS NULL`.
    IsBool(Box<Scalar>, bool),
    /// `IS DISTINCT FROM`.
    Distinct {
        /// The equality operator of the type.
        eq: FuncRef,
        /// Left.
        left: Box<Scalar>,
        /// Right.
        right: Box<Scalar>,
    },
    /// `needle IN (list)`, `needle op ANY (list)` over a list of expressions of one type.
    InList {
        /// The equality operator.
        eq: FuncRef,
        /// What is looked for.
        needle: Box<Scalar>,
        /// Where.
        list: Vec<Scalar>,
    },
    /// `needle op ANY (array)` and `ALL`.
    Quantified {
        /// The operator.
        op: FuncRef,
        /// Left operand.
        needle: Box<Scalar>,
        /// An array.
        array: Box<Scalar>,
        /// ALL instead of ANY.
        all: bool,
    },
    /// Searched CASE (the simple form is bound as equalities).
    Case {
        /// Condition and result.
        whens: Vec<(Scalar, Scalar)>,
        /// ELSE; NULL without one.
        otherwise: Box<Scalar>,
        /// Result.
        ty: PgType,
    },
    /// First that is not NULL.
    Coalesce(Vec<Scalar>, PgType),
    /// NULL if equal, else the first.
    NullIf {
        /// The equality operator.
        eq: FuncRef,
        /// Compared.
        args: Box<(Scalar, Scalar)>,
        /// Result: the first one's value before the casts `eq` needs.
        value: Box<Scalar>,
    },
    /// GREATEST (`op` is `>`) and LEAST (`op` is `<`), ignoring NULLs.
    Extreme {
        /// Comparison by which a later value replaces an earlier one.
        op: FuncRef,
        /// Of one type.
        args: Vec<Scalar>,
        /// That type.
        ty: PgType,
    },
    /// `ARRAY[…]`, one dimension.
    Array(Vec<Scalar>, PgType),
    /// `array[i][j]`: NULL outside the bounds.
    Element {
        /// The array.
        array: Box<Scalar>,
        /// One int4 per dimension.
        indexes: Vec<Scalar>,
        /// Type of the elements.
        ty: PgType,
    },
    /// `ROW(…)`.
    Row(Vec<Scalar>),
    /// A query inside an expression.
    Subquery(Box<Subquery>),
}

/// A query inside an expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Subquery {
    /// What of it is wanted.
    pub kind: SubqueryKind,
    /// The query; its columns may be more than are wanted (order keys), those come last.
    pub rel: Rel,
    /// Type of the expression.
    pub ty: PgType,
    /// Where it stands in the text, for errors.
    pub position: Option<usize>,
}

/// What is wanted of a [`Subquery`].
#[derive(Clone, Debug, PartialEq)]
pub enum SubqueryKind {
    /// The one value of its one row, NULL without a row, 21000 with several.
    Scalar,
    /// Whether there is a row.
    Exists,
    /// `needle op ANY (query)`; `IN` is `= ANY`.
    Any {
        /// Left operand, of the type `op` takes.
        needle: Box<Scalar>,
        /// The operator.
        op: FuncRef,
        /// The query's column cast to what `op` takes.
        column: Box<Scalar>,
    },
    /// `needle op ALL (query)`; `NOT IN` is `NOT (= ANY)`.
    All {
        /// Left operand, of the type `op` takes.
        needle: Box<Scalar>,
        /// The operator.
        op: FuncRef,
        /// The query's column cast to what `op` takes.
        column: Box<Scalar>,
    },
    /// `ARRAY(query)`.
    Array,
}

impl Scalar {
    /// NULL of a type.
    pub fn null(ty: PgType) -> Scalar {
        Scalar::Literal(Datum::Null, ty)
    }

    /// A boolean constant.
    pub fn bool(value: bool) -> Scalar {
        Scalar::Literal(Datum::Bool(value), PgType::BOOL)
    }

    /// An int8 constant.
    pub fn int8(value: i64) -> Scalar {
        Scalar::Literal(Datum::Int8(value), PgType::INT8)
    }

    /// The type of the value.
    pub fn ty(&self) -> PgType {
        match self {
            Scalar::Literal(_, ty)
            | Scalar::Param { ty, .. }
            | Scalar::Column(_, ty)
            | Scalar::Slot(_, ty)
            | Scalar::Call { ty, .. }
            | Scalar::Cast { ty, .. }
            | Scalar::Relabel(_, ty)
            | Scalar::Case { ty, .. }
            | Scalar::Coalesce(_, ty)
            | Scalar::Extreme { ty, .. }
            | Scalar::Array(_, ty)
            | Scalar::Element { ty, .. } => *ty,
            Scalar::NullIf { value, .. } => value.ty(),
            Scalar::Row(_) => PgType::new(TypeId::Record),
            Scalar::Subquery(subquery) => subquery.ty,
            Scalar::And(_)
            | Scalar::Or(_)
            | Scalar::Not(_)
            | Scalar::IsNull(_)
            | Scalar::IsBool(..)
            | Scalar::Distinct { .. }
            | Scalar::InList { .. }
            | Scalar::Quantified { .. } => PgType::BOOL,
        }
    }

    /// Direct operands. Of a subquery: its needle, not the query.
    pub fn children(&self) -> Vec<&Scalar> {
        match self {
            Scalar::Literal(..) | Scalar::Param { .. } | Scalar::Column(..) | Scalar::Slot(..) => {
                Vec::new()
            }
            Scalar::Call { args, .. }
            | Scalar::And(args)
            | Scalar::Or(args)
            | Scalar::Row(args)
            | Scalar::Coalesce(args, _)
            | Scalar::Extreme { args, .. }
            | Scalar::Array(args, _) => args.iter().collect(),
            Scalar::Cast { arg, .. }
            | Scalar::Relabel(arg, _)
            | Scalar::Not(arg)
            | Scalar::IsNull(arg)
            | Scalar::IsBool(arg, _) => vec![arg],
            Scalar::Distinct { left, right, .. } => vec![left, right],
            Scalar::InList { needle, list, .. } => std::iter::once(&**needle).chain(list).collect(),
            Scalar::Quantified { needle, array, .. } => vec![needle, array],
            Scalar::Case { whens, otherwise, .. } => {
                let mut all: Vec<&Scalar> = whens.iter().flat_map(|(c, r)| [c, r]).collect();
                all.push(otherwise);
                all
            }
            Scalar::NullIf { args, value, .. } => vec![&args.0, &args.1, value],
            Scalar::Element { array, indexes, .. } => {
                std::iter::once(&**array).chain(indexes).collect()
            }
            Scalar::Subquery(subquery) => match &subquery.kind {
                SubqueryKind::Any { needle, .. } | SubqueryKind::All { needle, .. } => vec![needle],
                SubqueryKind::Scalar | SubqueryKind::Exists | SubqueryKind::Array => Vec::new(),
            },
        }
    }

    /// Direct operands, to be replaced.
    pub fn children_mut(&mut self) -> Vec<&mut Scalar> {
        match self {
            Scalar::Literal(..) | Scalar::Param { .. } | Scalar::Column(..) | Scalar::Slot(..) => {
                Vec::new()
            }
            Scalar::Call { args, .. }
            | Scalar::And(args)
            | Scalar::Or(args)
            | Scalar::Row(args)
            | Scalar::Coalesce(args, _)
            | Scalar::Extreme { args, .. }
            | Scalar::Array(args, _) => args.iter_mut().collect(),
            Scalar::Cast { arg, .. }
            | Scalar::Relabel(arg, _)
            | Scalar::Not(arg)
            | Scalar::IsNull(arg)
            | Scalar::IsBool(arg, _) => vec![arg],
            Scalar::Distinct { left, right, .. } => vec![left, right],
            Scalar::InList { needle, list, .. } => {
                std::iter::once(&mut **needle).chain(list).collect()
            }
            Scalar::Quantified { needle, array, .. } => vec![needle, array],
            Scalar::Case { whens, otherwise, .. } => {
                let mut all: Vec<&mut Scalar> =
                    whens.iter_mut().flat_map(|(c, r)| [c, r]).collect();
                all.push(otherwise);
                all
            }
            Scalar::NullIf { args, value, .. } => {
                let (left, right) = &mut **args;
                vec![left, right, value]
            }
            Scalar::Element { array, indexes, .. } => {
                std::iter::once(&mut **array).chain(indexes).collect()
            }
            Scalar::Subquery(subquery) => match &mut subquery.kind {
                SubqueryKind::Any { needle, .. } | SubqueryKind::All { needle, .. } => vec![needle],
                SubqueryKind::Scalar | SubqueryKind::Exists | SubqueryKind::Array => Vec::new(),
            },
        }
    }

    /// Whether `test` holds for this expression or one below it (queries inside not entered).
    pub fn any(&self, test: &mut dyn FnMut(&Scalar) -> bool) -> bool {
        test(self)
            || stacker::maybe_grow(64 << 10, 2 << 20, || {
                self.children().into_iter().any(|child| child.any(test))
            })
    }

    /// Whether a query stands inside.
    pub fn has_subquery(&self) -> bool {
        self.any(&mut |scalar| matches!(scalar, Scalar::Subquery(_)))
    }

    /// Whether `test` holds for a column that it, or a query in it, mentions.
    pub fn mentions(&self, test: &mut dyn FnMut(ColId) -> bool) -> bool {
        self.any(&mut |node| match node {
            Scalar::Column(id, _) => test(*id),
            Scalar::Subquery(query) => {
                query.rel.outer_columns().into_iter().any(|(id, _)| test(id))
            }
            _ => false,
        })
    }

    /// Whether it calls a function that answers differently each time.
    pub fn is_volatile(&self) -> bool {
        self.any(&mut |node| {
            matches!(node, Scalar::Call { func, .. } if func.volatility == Volatility::Volatile)
        })
    }

    /// Whether the value depends on nothing but parameters and time.
    pub fn is_row_independent(&self) -> bool {
        !self.any(&mut |scalar| {
            matches!(scalar, Scalar::Column(..) | Scalar::Slot(..) | Scalar::Subquery(_))
        })
    }

    /// Rewrites bottom-up.
    pub fn rewrite(&mut self, change: &mut dyn FnMut(&mut Scalar)) {
        for child in self.children_mut() {
            stacker::maybe_grow(64 << 10, 2 << 20, || child.rewrite(change));
        }
        change(self);
    }

    /// The same expression over rows laid out as `layout`: columns become slots.
    pub fn over(&self, layout: &[ColId]) -> Result<Scalar, SqlError> {
        let mut missing = None;
        let mut scalar = self.clone();
        scalar.rewrite(&mut |node| {
            if let Scalar::Column(id, ty) = *node {
                match layout.iter().position(|column| *column == id) {
                    Some(slot) => *node = Scalar::Slot(slot, ty),
                    None => missing = Some(id),
                }
            }
        });
        match missing {
            None => Ok(scalar),
            Some(id) => Err(SqlError::internal(format!("column {id} is not in the row"))),
        }
    }

    /// The operands of a top-level AND, or the expression itself.
    pub fn conjuncts(&self) -> &[Scalar] {
        match self {
            Scalar::And(args) => args,
            other => std::slice::from_ref(other),
        }
    }
}
