//! Recognising a bound query that is a point get or a key range.

use std::sync::Arc;

use catalog::{Index, IndexId, Table};
use pgtypes::{PgType, TypeId};

use super::{Get, Output, PointPlan, Probe, Range, compile_write};
use crate::SqlError;
use crate::exec::waiting_hoist;
use crate::indexed::{Demands, position_of_expr};
use crate::ir::{ColId, Query, Rel, Scalar, Scan, SortKey, Statement};
use crate::session::api::ResultColumn;
use crate::session::result_columns;

/// What binding gives for defaults: per column of a table, an expression of the column's type.
pub(crate) trait Defaults: Sync {
    /// The default of the column at `position`; NULL if it has none.
    fn default_of(&self, table: &Table, position: usize) -> Result<Scalar, SqlError>;
    /// Name of the schema of a table.
    fn schema_of(&self, table: &Table) -> String;
    /// A stored expression over the slots of the table's row.
    fn over_row(&self, table: &Table, sql: &str, ty: Option<PgType>) -> Result<Scalar, SqlError>;
    /// Positions of the columns that rows of tables refer to.
    fn referenced_positions(&self, table: &Table) -> Vec<usize>;
    /// Whether rows of some table refer to its rows.
    fn is_referenced(&self, table: &Table) -> bool {
        !self.referenced_positions(table).is_empty()
    }
}

/// The plan of a statement that qualifies; `None` for all others.
pub(crate) fn compile(
    statement: &Statement,
    defaults: &dyn Defaults,
) -> Result<Option<PointPlan>, SqlError> {
    // What waits for others takes an operator of its own.
    if statement.any_scalar(&mut waiting_hoist::is_one) {
        return Ok(None);
    }
    match statement {
        Statement::Query(query) => Ok(compile_query(query)),
        Statement::Insert(insert) => compile_write::insert(insert, defaults),
        Statement::Update(update) => compile_write::update(update, defaults),
        Statement::Delete(delete) => compile_write::delete(delete, defaults),
        Statement::With(_) | Statement::Explain(_) | Statement::Utility(_) => Ok(None),
    }
}

/// A query peeled down to its scan.
struct Shape<'a> {
    scan: &'a Scan,
    conjuncts: Vec<&'a Scalar>,
    /// What the client sees, over the scan's columns.
    exprs: Vec<Scalar>,
    sort: &'a [SortKey],
    limit: Option<&'a Scalar>,
}

/// Takes `Limit? Project? Sort? Project? Filter* Scan` apart, in any sensible order.
fn peel(query: &Query) -> Option<Shape<'_>> {
    let mut rel = &query.rel;
    let mut limit = None;
    let mut sort: &[SortKey] = &[];
    let mut conjuncts = Vec::new();
    let mut exprs: Option<Vec<(ColId, Scalar)>> = None;
    loop {
        match rel {
            Rel::Limit { input, limit: l, offset: None } if limit.is_none() && exprs.is_none() => {
                limit = l.as_ref();
                rel = input;
            }
            Rel::Lock { input, .. } => rel = input,
            Rel::Sort { input, keys } if sort.is_empty() && conjuncts.is_empty() => {
                sort = keys;
                rel = input;
            }
            Rel::Project { input, exprs: inner } if conjuncts.is_empty() => {
                exprs = Some(match exprs {
                    None => inner.iter().map(|(c, e)| (c.id, e.clone())).collect(),
                    Some(outer) => {
                        outer.into_iter().map(|(id, e)| (id, substitute(e, inner))).collect()
                    }
                });
                rel = input;
            }
            Rel::Filter { input, predicate } => {
                conjuncts.extend(predicate.conjuncts());
                rel = input;
            }
            Rel::Scan(scan) => {
                let visible = query.columns.len();
                let exprs = match exprs {
                    Some(exprs) => exprs.into_iter().map(|(_, e)| e).take(visible).collect(),
                    None => scan
                        .columns
                        .iter()
                        .map(|(c, _)| Scalar::Column(c.id, c.ty))
                        .take(visible)
                        .collect(),
                };
                return Some(Shape { scan, conjuncts, exprs, sort, limit });
            }
            _ => return None,
        }
    }
}

/// `expr` with the columns a projection makes replaced by what they are made of.
fn substitute(mut expr: Scalar, made: &[(crate::ir::RelColumn, Scalar)]) -> Scalar {
    expr.rewrite(&mut |node| {
        if let Scalar::Column(id, _) = node
            && let Some((_, from)) = made.iter().find(|(c, _)| c.id == *id)
        {
            *node = from.clone();
        }
    });
    expr
}

/// Sort keys over the scan's columns, as far as they are plain columns.
fn sort_columns(query: &Query, shape: &Shape<'_>) -> Option<Vec<(ColId, bool, bool)>> {
    let made: Vec<(crate::ir::RelColumn, Scalar)> = projections(&query.rel);
    shape
        .sort
        .iter()
        .map(|key| match substitute(key.expr.clone(), &made) {
            Scalar::Column(id, _) => Some((id, key.desc, key.nulls_first)),
            _ => None,
        })
        .collect()
}

fn projections(rel: &Rel) -> Vec<(crate::ir::RelColumn, Scalar)> {
    let mut all = Vec::new();
    let mut rel = rel;
    loop {
        match rel {
            Rel::Project { input, exprs } => {
                all.extend(exprs.iter().cloned());
                rel = input;
            }
            Rel::Limit { input, .. }
            | Rel::Sort { input, .. }
            | Rel::Lock { input, .. }
            | Rel::Filter { input, .. } => {
                rel = input;
            }
            _ => return all,
        }
    }
}

fn compile_query(query: &Query) -> Option<PointPlan> {
    let shape = peel(query)?;
    let mut scalars = shape.exprs.iter().chain(shape.conjuncts.iter().copied());
    if scalars.any(Scalar::has_subquery) {
        return None;
    }
    if shape.limit.is_some_and(|l| !l.is_row_independent()) || query.locks.len() > 1 {
        return None;
    }
    let layout = Layout::of(shape.scan);
    // Correlated columns have no slot, and then this is no query of its own.
    let exprs: Vec<Scalar> =
        shape.exprs.iter().map(|e| e.over(&layout.ids).ok()).collect::<Option<_>>()?;
    let columns: Arc<[ResultColumn]> = result_columns(&query.columns).into();
    let table = &shape.scan.table;
    let decoder = || table.codec().decoder(&layout.positions);
    let sort = sort_columns(query, &shape)?;
    if let Some((index, values, rest)) = find_probe(table, &layout, &shape.conjuncts) {
        let probe = Probe {
            table: table.clone(),
            is_primary: index == table.primary.id,
            index,
            values,
            residual: residual(&rest, &layout.ids)?,
        };
        return Some(PointPlan::Get(Get {
            probe,
            decoder: decoder(),
            output: output(exprs, layout.ids.len()),
            columns,
            lock: query.locks.first().map(|l| (l.strength, l.wait)),
            limit: shape.limit.cloned(),
        }));
    }
    if !query.locks.is_empty() {
        return None;
    }
    let bounds = find_bounds(table, &layout, &shape.conjuncts)?;
    if has_better_index(table, &layout, &shape.conjuncts, &bounds) {
        return None;
    }
    let reverse = scan_direction(table, &layout, &bounds, &sort)?;
    Some(PointPlan::Range(Range {
        table: table.clone(),
        equal: bounds.equal,
        lower: bounds.lower,
        upper: bounds.upper,
        residual: residual(&bounds.rest, &layout.ids)?,
        reverse,
        limit: shape.limit.cloned(),
        decoder: decoder(),
        width: layout.positions.len(),
        output: output(exprs, layout.ids.len()),
        columns,
    }))
}

fn output(exprs: Vec<Scalar>, width: usize) -> Output {
    let slots: Option<Vec<usize>> = exprs
        .iter()
        .map(|e| match e {
            Scalar::Slot(slot, _) => Some(*slot),
            _ => None,
        })
        .collect();
    match slots {
        Some(slots) if slots.iter().copied().eq(0..width) => Output::Row,
        Some(slots) => Output::Slots(slots),
        None => Output::Exprs(exprs),
    }
}

/// The columns of a scan: their ids, and their positions in the table.
pub(super) struct Layout {
    pub(super) ids: Vec<ColId>,
    pub(super) positions: Vec<usize>,
}

impl Layout {
    pub(super) fn of(scan: &Scan) -> Self {
        Layout {
            ids: scan.columns.iter().map(|(c, _)| c.id).collect(),
            positions: scan.columns.iter().map(|(_, p)| *p).collect(),
        }
    }

    fn position_of(&self, id: ColId) -> Option<usize> {
        self.ids.iter().position(|i| *i == id).map(|n| self.positions[n])
    }

    /// What conditions demand; values of parameters are not known yet.
    fn demands<'t, 's>(
        &self,
        table: &'t Table,
        conjuncts: impl Iterator<Item = &'s Scalar>,
    ) -> Demands<'t> {
        Demands::new(table, conjuncts, &|id| self.position_of(id), &[])
    }
}

/// Conditions AND-ed over slots.
pub(super) fn residual(conjuncts: &[&Scalar], ids: &[ColId]) -> Option<Option<Scalar>> {
    let mut over: Vec<Scalar> =
        conjuncts.iter().map(|c| c.over(ids).ok()).collect::<Option<_>>()?;
    Some(match over.len() {
        0 => None,
        1 => over.pop(),
        _ => Some(Scalar::And(over)),
    })
}

/// `column op value` with a value known before the row is read: position, operator, value.
fn comparison<'a>(
    conjunct: &'a Scalar,
    table: &Table,
    layout: &Layout,
) -> Option<(usize, &'a str, &'a Scalar)> {
    comparison_with(conjunct, table, &|id| layout.position_of(id), &Scalar::is_row_independent)
}

/// The same, where others say which columns are the table's and which values are known.
pub(crate) fn comparison_with<'a>(
    conjunct: &'a Scalar,
    table: &Table,
    position: &dyn Fn(ColId) -> Option<usize>,
    known: &dyn Fn(&Scalar) -> bool,
) -> Option<(usize, &'a str, &'a Scalar)> {
    let Scalar::Call { func, args, .. } = conjunct else { return None };
    let [left, right] = args.as_slice() else { return None };
    let op: &str = func.name;
    let column = |scalar| column_of(table, scalar, position);
    let (position, op, value) = match (column(left), column(right)) {
        (Some(position), None) => (position, op, right),
        (None, Some(position)) => (position, mirrored(op)?, left),
        _ => return None,
    };
    (known(value) && same_key_form(table.column_at(position).ty, value.ty()))
        .then_some((position, op, value))
}

/// The column that an expression compares as; a computed one if an index holds the expression.
pub(crate) fn column_of(
    table: &Table,
    scalar: &Scalar,
    position: &dyn Fn(ColId) -> Option<usize>,
) -> Option<usize> {
    let inner = match scalar {
        Scalar::Relabel(inner, _) => inner,
        // `int4_column = $1::int8` compares as int8; integers of all widths look alike in a key.
        Scalar::Cast { cast, arg, .. } if is_integer(cast.from) && is_integer(cast.to) => arg,
        column => column,
    };
    match inner {
        Scalar::Column(id, _) => position(*id),
        _ => position_of_expr(table, scalar, position)
            .or_else(|| position_of_expr(table, inner, position)),
    }
}

fn is_integer(ty: PgType) -> bool {
    !ty.array && matches!(ty.id, TypeId::Int2 | TypeId::Int4 | TypeId::Int8)
}

fn mirrored(op: &str) -> Option<&'static str> {
    Some(match op {
        "=" => "=",
        "<" => ">",
        "<=" => ">=",
        ">" => "<",
        ">=" => "<=",
        _ => return None,
    })
}

/// Whether a value of type `value` is encoded in a key as an equal one of type `column` is.
pub(crate) fn same_key_form(column: PgType, value: PgType) -> bool {
    let class = |t: PgType| match t.id {
        _ if t.array => 0,
        TypeId::Int2 | TypeId::Int4 | TypeId::Int8 => 1,
        TypeId::Text | TypeId::Varchar | TypeId::Name => 2,
        TypeId::Float4 | TypeId::Float8 => 3,
        _ => 4,
    };
    match (class(column), class(value)) {
        (0, _) | (_, 0) => false,
        // A float4 column holds values that were rounded; the comparison is in float8.
        (4, 4) => column.id == value.id,
        (a, b) => a == b,
    }
}

/// The first index whose columns all have a value, the primary one first; and the other conditions.
pub(super) fn find_probe<'a>(
    table: &Arc<Table>,
    layout: &Layout,
    conjuncts: &[&'a Scalar],
) -> Option<(IndexId, Vec<Scalar>, Vec<&'a Scalar>)> {
    let demands = layout.demands(table, conjuncts.iter().copied());
    let public =
        |i: &&Index| i.unique && i.state.is_public() && !i.columns.is_empty() && demands.imply(i);
    let indexes = std::iter::once(&table.primary).chain(&table.indexes).filter(public);
    for index in indexes {
        let mut values = Vec::new();
        let mut used = Vec::new();
        for position in table.index_positions(index) {
            let found = conjuncts.iter().enumerate().find_map(|(n, c)| {
                let (p, op, value) = comparison(c, table, layout)?;
                (p == position && op == "=").then_some((n, value))
            });
            let Some((n, value)) = found else { break };
            used.push(n);
            values.push(value.clone());
        }
        if values.len() == index.columns.len() {
            let rest =
                (0..conjuncts.len()).filter(|n| !used.contains(n)).map(|n| conjuncts[n]).collect();
            return Some((index.id, values, rest));
        }
    }
    None
}

/// A stretch of the primary key.
struct Bounds<'a> {
    equal: Vec<Scalar>,
    lower: Option<(Scalar, bool)>,
    upper: Option<(Scalar, bool)>,
    rest: Vec<&'a Scalar>,
}

fn find_bounds<'a>(
    table: &Arc<Table>,
    layout: &Layout,
    conjuncts: &[&'a Scalar],
) -> Option<Bounds<'a>> {
    let positions = table.index_positions(&table.primary);
    let mut bounds = Bounds { equal: vec![], lower: None, upper: None, rest: vec![] };
    let mut left: Vec<&'a Scalar> = conjuncts.to_vec();
    let mut next = positions.first().copied()?;
    while bounds.equal.len() < positions.len() {
        next = positions[bounds.equal.len()];
        let found = left
            .iter()
            .position(|c| matches!(comparison(c, table, layout), Some((p, "=", _)) if p == next));
        let Some(n) = found else { break };
        let (_, _, value) = comparison(left.remove(n), table, layout)?;
        bounds.equal.push(value.clone());
    }
    for conjunct in left {
        let bound = match comparison(conjunct, table, layout) {
            Some((p, op, value)) if p == next => Some((op, value)),
            _ => None,
        };
        match bound {
            Some((">", v)) if bounds.lower.is_none() => bounds.lower = Some((v.clone(), false)),
            Some((">=", v)) if bounds.lower.is_none() => bounds.lower = Some((v.clone(), true)),
            Some(("<", v)) if bounds.upper.is_none() => bounds.upper = Some((v.clone(), false)),
            Some(("<=", v)) if bounds.upper.is_none() => bounds.upper = Some((v.clone(), true)),
            _ => bounds.rest.push(conjunct),
        }
    }
    Some(bounds)
}

/// Whether a secondary index finds fewer rows than a stretch of the primary key does, by the rules of
/// `exec::access`.
fn has_better_index(
    table: &Table,
    layout: &Layout,
    conjuncts: &[&Scalar],
    bounds: &Bounds<'_>,
) -> bool {
    let demands = layout.demands(table, conjuncts.iter().copied());
    let mut usable =
        table.indexes.iter().filter(|index| index.state.is_public() && demands.imply(index));
    let is_known = |position: usize| {
        let says = |c: &&Scalar| matches!(comparison(c, table, layout), Some((at, "=", _)) if at == position);
        conjuncts.iter().any(says)
    };
    let is_range = bounds.lower.is_some() || bounds.upper.is_some();
    let own = bounds.equal.len() + usize::from(is_range);
    usable.any(|index| {
        let positions = table.index_positions(index);
        let known = positions.iter().take_while(|&&position| is_known(position)).count();
        known > own || (own == 0 && index.predicate.is_some())
    })
}

/// Whether the scan runs backwards to give the order asked for; `None` if no scan gives it, or if
/// the whole table would be read (DataFusion does that in parallel).
fn scan_direction(
    table: &Table,
    layout: &Layout,
    bounds: &Bounds<'_>,
    sort: &[(ColId, bool, bool)],
) -> Option<bool> {
    let bounded = !bounds.equal.is_empty() || (bounds.lower.is_some() && bounds.upper.is_some());
    if !bounded && sort.is_empty() {
        return None;
    }
    let positions = table.index_positions(&table.primary);
    let mut direction = None;
    let mut at = bounds.equal.len();
    for (id, desc, nulls_first) in sort {
        let position = layout.position_of(*id)?;
        if positions[..bounds.equal.len()].contains(&position) {
            // One value only: any order will do.
            continue;
        }
        if positions.get(at) != Some(&position) {
            return None;
        }
        let reverse = *desc != table.primary.columns[at].descending;
        if *direction.get_or_insert(reverse) != reverse {
            return None;
        }
        // A primary key holds no NULL.
        let _ = nulls_first;
        at += 1;
    }
    Some(direction.unwrap_or(false))
}
