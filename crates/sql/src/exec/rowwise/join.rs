//! Joins, and the conditions among them.
//!
//! Inner joins and filters, however nested, are one set of inputs and one set of conjuncts. The input
//! that is found best by constants is read first; then, again and again, the one that is found best
//! by what is known already: by keys, if an index begins with the columns that it is joined by.

use std::collections::HashMap;
use std::sync::Arc;

use base::Key;
use bytes::Bytes;
use pgtypes::Datum;

use super::computed::Computed;
use super::scan::{Known, Source};
use super::subquery::{Memo, Over};
use super::{PAIRS_MAX, Run, Stop, Table, identity};
use crate::error::SqlError;
use crate::exec::access::Access;
use crate::ir::{ColId, Join, JoinKind, Rel, Scalar};

/// Most different keys that an input is looked up by, unless a single visit serves all.
const LOOKUPS_MAX: usize = 200;

/// Inputs of inner joins, and all that must hold of their rows.
#[derive(Default)]
struct Inputs<'a> {
    rels: Vec<&'a Rel>,
    conjuncts: Vec<&'a Scalar>,
    /// Those with subqueries, which are looked at last.
    late: Vec<&'a Scalar>,
}

impl<'a> Inputs<'a> {
    fn add(&mut self, rel: &'a Rel) {
        match rel {
            Rel::Filter { input, predicate } => {
                self.add(input);
                let (late, conjuncts): (Vec<&Scalar>, Vec<&Scalar>) =
                    predicate.conjuncts().iter().partition(|c| c.has_subquery());
                self.conjuncts.extend(conjuncts);
                self.late.extend(late);
            }
            Rel::Join(join) if join.kind == JoinKind::Inner && !join.lateral => {
                self.add(&join.left);
                self.add(&join.right);
                self.conjuncts.extend(join.on.iter().flat_map(Scalar::conjuncts));
            }
            other => self.rels.push(other),
        }
    }

    /// Takes the conjuncts that mention nothing but these columns.
    fn take(&mut self, layout: &[ColId]) -> Vec<&'a Scalar> {
        let (ready, left) = self.conjuncts.iter().partition(|c| mentions_only(c, layout));
        self.conjuncts = left;
        ready
    }
}

fn mentions_only(scalar: &Scalar, layout: &[ColId]) -> bool {
    !scalar.any(&mut |node| matches!(node, Scalar::Column(id, _) if !layout.contains(id)))
}

fn over(conjuncts: &[&Scalar], layout: &[ColId]) -> Result<Vec<Scalar>, SqlError> {
    conjuncts.iter().map(|conjunct| conjunct.over(layout)).collect()
}

/// Whether the rows are found by their primary keys.
fn is_by_key(access: &Access) -> bool {
    access.points && access.index.is_none()
}

/// How well an input is found: the more, the better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// All of it has to be read.
    Whole,
    /// A query of its own, whose result may be small.
    Derived,
    Bounded,
    Points,
}

fn rank(access: &Access) -> Rank {
    match access {
        Access { points: true, .. } => Rank::Points,
        Access { bounded: true, .. } => Rank::Bounded,
        Access { .. } => Rank::Whole,
    }
}

fn computed_rank<'s>(
    source: &Computed<'_>,
    conjuncts: impl Iterator<Item = &'s Scalar>,
    known: Known<'_>,
) -> Rank {
    if source.is_found_by(conjuncts, known) { Rank::Points } else { Rank::Whole }
}

impl Run<'_> {
    /// The rows of a scan, or of joins and filters.
    pub(super) async fn joined(&self, rel: &Rel, goal: Option<usize>) -> Result<Table, Stop> {
        match rel {
            Rel::Join(join) if join.lateral => return self.lateral(join).await,
            Rel::Join(join) if join.kind == JoinKind::Left => return self.left_join(join).await,
            _ => {}
        }
        let mut inputs = Inputs::default();
        inputs.add(rel);
        // A goal can be kept to where no row of the only input is dropped later.
        let goal = goal.filter(|_| inputs.rels.len() == 1 && inputs.late.is_empty());
        let mut table = self.first(&mut inputs, goal).await?;
        while !inputs.rels.is_empty() {
            table = self.next(&mut inputs, table).await?;
        }
        if !inputs.late.is_empty() {
            self.keep_by_subqueries(&mut table, &inputs.late).await?;
        }
        Ok(table)
    }

    async fn keep_by_subqueries(
        &self,
        table: &mut Table,
        conditions: &[&Scalar],
    ) -> Result<(), Stop> {
        let conditions = over(conditions, &table.layout)?;
        let memo = Memo::default();
        let mut kept = Vec::new();
        'rows: for row in std::mem::take(&mut table.rows) {
            for condition in &conditions {
                let at = Over { layout: &table.layout, row: &row, memo: &memo };
                if self.value(condition, at).await? != Datum::Bool(true) {
                    continue 'rows;
                }
            }
            kept.push(row);
        }
        table.rows = kept;
        Ok(())
    }

    /// Reads the input that is found best by itself.
    async fn first(&self, inputs: &mut Inputs<'_>, goal: Option<usize>) -> Result<Table, Stop> {
        let mut best = (0, None);
        for (at, rel) in inputs.rels.iter().enumerate() {
            let found = match rel {
                Rel::Scan(scan) => {
                    let conjuncts = inputs.conjuncts.iter().copied();
                    rank(&self.access(&Source::new(scan), conjuncts, Known::NOTHING)?)
                }
                Rel::Virtual(scan) => {
                    let conjuncts = inputs.conjuncts.iter().copied();
                    computed_rank(&Computed::new(scan, &self.mentioned), conjuncts, Known::NOTHING)
                }
                _ => Rank::Derived,
            };
            if best.1.is_none_or(|known| found > known) {
                best = (at, Some(found));
            }
        }
        let rel = inputs.rels.remove(best.0);
        self.alone(inputs, rel, goal).await
    }

    /// The rows of an input for which the conjuncts hold that are about it alone.
    async fn alone<'a>(
        &self,
        inputs: &mut Inputs<'a>,
        rel: &'a Rel,
        goal: Option<usize>,
    ) -> Result<Table, Stop> {
        if let Rel::Scan(scan) = rel {
            let source = Source::new(scan);
            let conjuncts = inputs.take(&source.layout);
            let access = self.access(&source, conjuncts.iter().copied(), Known::NOTHING)?;
            let residual = over(&conjuncts, &source.layout)?;
            let rows = self.read(&source, &access, &residual, goal).await?;
            return Ok(Table { layout: source.layout, rows });
        }
        if let Rel::Virtual(scan) = rel {
            let source = Computed::new(scan, &self.mentioned);
            let conjuncts = inputs.take(&source.layout);
            let residual = over(&conjuncts, &source.layout)?;
            let found = conjuncts.iter().copied();
            let rows = self.compute(&source, found, Known::NOTHING, &residual).await?;
            return Ok(Table { layout: source.taken, rows });
        }
        let layout: Vec<ColId> = rel.columns().iter().map(|column| column.id).collect();
        let conjuncts = inputs.take(&layout);
        let goal = goal.filter(|_| conjuncts.is_empty());
        let mut table = self.evaluate(rel, goal).await?;
        self.keep_if(&mut table, &conjuncts)?;
        Ok(table)
    }

    fn keep_if(&self, table: &mut Table, conjuncts: &[&Scalar]) -> Result<(), Stop> {
        let conditions = over(conjuncts, &table.layout)?;
        if conditions.is_empty() {
            return Ok(());
        }
        let mut kept = Vec::with_capacity(table.rows.len());
        for row in std::mem::take(&mut table.rows) {
            if self.passes(&conditions, &row)? {
                kept.push(row);
            }
        }
        table.rows = kept;
        Ok(())
    }

    /// Joins the input that is found best by the rows that there are.
    async fn next(&self, inputs: &mut Inputs<'_>, table: Table) -> Result<Table, Stop> {
        let mut best = (0, None);
        for (at, rel) in inputs.rels.iter().enumerate() {
            let found = match (rel, table.rows.first()) {
                (Rel::Scan(scan), Some(row)) => {
                    let known = Known { layout: &table.layout, row };
                    let conjuncts = inputs.conjuncts.iter().copied();
                    rank(&self.access(&Source::new(scan), conjuncts, known)?)
                }
                (Rel::Virtual(scan), Some(row)) => {
                    let known = Known { layout: &table.layout, row };
                    let conjuncts = inputs.conjuncts.iter().copied();
                    computed_rank(&Computed::new(scan, &self.mentioned), conjuncts, known)
                }
                (Rel::Scan(_) | Rel::Virtual(_), None) => Rank::Points,
                _ => Rank::Derived,
            };
            if best.1.is_none_or(|known| found > known) {
                best = (at, Some(found));
            }
        }
        let rel = inputs.rels.remove(best.0);
        let right = match rel {
            Rel::Scan(scan) if best.1 > Some(Rank::Derived) => {
                let source = Source::new(scan);
                let alone = inputs.take(&source.layout);
                let links: Vec<&Scalar> = inputs
                    .conjuncts
                    .iter()
                    .copied()
                    .filter(|c| about(c, &source.layout, &table))
                    .collect();
                self.look_up(&source, &alone, &links, &table).await?
            }
            Rel::Virtual(scan) if best.1 > Some(Rank::Derived) => {
                let source = Computed::new(scan, &self.mentioned);
                let alone = inputs.take(&source.layout);
                let links: Vec<&Scalar> = inputs
                    .conjuncts
                    .iter()
                    .copied()
                    .filter(|c| about(c, &source.layout, &table))
                    .collect();
                self.look_up_computed(&source, &alone, &links, &table).await?
            }
            rel => Partners::All(self.alone(inputs, rel, None).await?),
        };
        let mut layout = table.layout.clone();
        layout.extend_from_slice(right.layout());
        let conditions = over(&inputs.take(&layout), &layout)?;
        let rows = self.pair(&table, &right, &conditions, false)?;
        Ok(Table { layout, rows })
    }

    async fn left_join(&self, join: &Join) -> Result<Table, Stop> {
        let left = self.evaluate(&join.left, None).await?;
        let on: Vec<&Scalar> = join.on.iter().flat_map(Scalar::conjuncts).collect();
        let right = match scan_under_filters(&join.right) {
            Some((Rel::Virtual(scan), mut alone)) if !left.rows.is_empty() => {
                let source = Computed::new(scan, &self.mentioned);
                alone.extend(on.iter().copied().filter(|c| mentions_only(c, &source.layout)));
                let links: Vec<&Scalar> =
                    on.iter().copied().filter(|c| about(c, &source.layout, &left)).collect();
                self.look_up_computed(&source, &alone, &links, &left).await?
            }
            Some((Rel::Scan(scan), mut alone)) if !left.rows.is_empty() => {
                let source = Source::new(scan);
                // What ON says of the right side alone decides about partners too.
                alone.extend(on.iter().copied().filter(|c| mentions_only(c, &source.layout)));
                let links: Vec<&Scalar> =
                    on.iter().copied().filter(|c| about(c, &source.layout, &left)).collect();
                self.look_up(&source, &alone, &links, &left).await?
            }
            _ => Partners::All(self.evaluate(&join.right, None).await?),
        };
        let mut layout = left.layout.clone();
        layout.extend_from_slice(right.layout());
        let conditions = over(&on, &layout)?;
        let rows = self.pair(&left, &right, &conditions, true)?;
        Ok(Table { layout, rows })
    }

    /// Reads a table by the rows of another.
    async fn look_up(
        &self,
        source: &Source<'_>,
        alone: &[&Scalar],
        links: &[&Scalar],
        table: &Table,
    ) -> Result<Partners, Stop> {
        let residual = over(alone, &source.layout)?;
        // Rows that agree in what the links mention have the same partners.
        let slots = mentioned(links, &table.layout);
        let mut known: HashMap<Vec<u8>, usize> = HashMap::new();
        let mut accesses = Vec::new();
        let mut which = Vec::with_capacity(table.rows.len());
        for row in &table.rows {
            let key = identity(slots.iter().map(|&(slot, ty)| (&row[slot], ty)));
            let at = match known.get(&key) {
                Some(&at) => at,
                None => {
                    let conjuncts = alone.iter().chain(links).copied();
                    let with = Known { layout: &table.layout, row };
                    let access = self.access(source, conjuncts, with)?;
                    if accesses.len() >= LOOKUPS_MAX && !is_by_key(&access) {
                        return Err(Stop::GivenUp);
                    }
                    accesses.push(access);
                    known.insert(key, accesses.len() - 1);
                    accesses.len() - 1
                }
            };
            which.push(at);
        }
        let found = self.read_each(source, &accesses, &residual).await?;
        let partners = which.into_iter().map(|at| Arc::clone(&found[at])).collect();
        Ok(Partners::Each { layout: source.layout.clone(), partners })
    }

    /// The rows of each access; all in one visit, if they are rows of primary keys.
    async fn read_each(
        &self,
        source: &Source<'_>,
        accesses: &[Access],
        residual: &[Scalar],
    ) -> Result<Vec<Arc<Vec<Vec<Datum>>>>, Stop> {
        let mut each = Vec::with_capacity(accesses.len());
        if accesses.iter().all(is_by_key) {
            let keys = accesses.iter().flat_map(|access| &access.spans).map(|s| s.start.clone());
            let rows = self.rows_at(keys.collect()).await?;
            let rows: HashMap<Key, Bytes> = rows.into_iter().collect();
            for access in accesses {
                let mut found = Vec::new();
                for span in &access.spans {
                    if let Some(value) = rows.get(&span.start) {
                        self.keep(source, &span.start, value, residual, &mut found)?;
                    }
                }
                each.push(Arc::new(found));
            }
            return Ok(each);
        }
        if accesses.len() > LOOKUPS_MAX {
            return Err(Stop::GivenUp);
        }
        for access in accesses {
            each.push(Arc::new(self.read(source, access, residual, None).await?));
        }
        Ok(each)
    }

    /// Finds rows of a computed table by the rows of another.
    async fn look_up_computed(
        &self,
        source: &Computed<'_>,
        alone: &[&Scalar],
        links: &[&Scalar],
        table: &Table,
    ) -> Result<Partners, Stop> {
        let residual = over(alone, &source.layout)?;
        let mut partners = Vec::with_capacity(table.rows.len());
        let slots = mentioned(links, &table.layout);
        let mut known: HashMap<Vec<u8>, Arc<Vec<Vec<Datum>>>> = HashMap::new();
        for row in &table.rows {
            let key = identity(slots.iter().map(|&(slot, ty)| (&row[slot], ty)));
            if let Some(found) = known.get(&key) {
                partners.push(Arc::clone(found));
                continue;
            }
            let conjuncts = alone.iter().chain(links).copied();
            let with = Known { layout: &table.layout, row };
            let found = Arc::new(self.compute(source, conjuncts, with, &residual).await?);
            known.insert(key, Arc::clone(&found));
            partners.push(found);
        }
        Ok(Partners::Each { layout: source.taken.clone(), partners })
    }

    /// Rows side by side for which all conditions hold. `keep`: those without a partner too.
    fn pair(
        &self,
        left: &Table,
        right: &Partners,
        conditions: &[Scalar],
        keep: bool,
    ) -> Result<Vec<Vec<Datum>>, Stop> {
        let width = right.layout().len();
        let (mut rows, mut pairs) = (Vec::new(), 0);
        for (nth, row) in left.rows.iter().enumerate() {
            let candidates = right.of(nth);
            pairs += candidates.len();
            if pairs > PAIRS_MAX {
                return Err(Stop::GivenUp);
            }
            let before = rows.len();
            for candidate in candidates {
                let mut pair = Vec::with_capacity(row.len() + width);
                pair.extend_from_slice(row);
                pair.extend_from_slice(candidate);
                if self.passes(conditions, &pair)? {
                    rows.push(pair);
                }
            }
            if keep && rows.len() == before {
                let mut lonely = row.clone();
                lonely.resize(row.len() + width, Datum::Null);
                rows.push(lonely);
            }
        }
        Ok(rows)
    }
}

/// The right side of a join.
enum Partners {
    /// Any of these, for each row of the left side.
    All(Table),
    /// For each row of the left side its own.
    Each { layout: Vec<ColId>, partners: Vec<Arc<Vec<Vec<Datum>>>> },
}

impl Partners {
    fn layout(&self) -> &[ColId] {
        match self {
            Partners::All(table) => &table.layout,
            Partners::Each { layout, .. } => layout,
        }
    }

    fn of(&self, nth: usize) -> &[Vec<Datum>] {
        match self {
            Partners::All(table) => &table.rows,
            Partners::Each { partners, .. } => &partners[nth],
        }
    }
}

/// Whether a conjunct is about both a source and what is joined to it, and nothing else.
fn about(conjunct: &Scalar, source: &[ColId], table: &Table) -> bool {
    let both: Vec<ColId> = source.iter().chain(&table.layout).copied().collect();
    mentions_only(conjunct, &both)
        && !mentions_only(conjunct, &table.layout)
        && !mentions_only(conjunct, source)
}

/// Slots of the columns of `layout` that conjuncts mention.
fn mentioned(conjuncts: &[&Scalar], layout: &[ColId]) -> Vec<(usize, pgtypes::PgType)> {
    let mut slots: Vec<(usize, pgtypes::PgType)> = Vec::new();
    for conjunct in conjuncts {
        conjunct.any(&mut |node| {
            if let Scalar::Column(id, ty) = node
                && let Some(slot) = layout.iter().position(|known| known == id)
                && slots.iter().all(|(known, _)| *known != slot)
            {
                slots.push((slot, *ty));
            }
            false
        });
    }
    slots
}

/// A scan, of a stored or computed table, and what filters around it demand.
fn scan_under_filters(rel: &Rel) -> Option<(&Rel, Vec<&Scalar>)> {
    match rel {
        Rel::Scan(_) | Rel::Virtual(_) => Some((rel, Vec::new())),
        Rel::Filter { predicate, .. } if predicate.has_subquery() => None,
        Rel::Filter { input, predicate } => {
            let (scan, mut conjuncts) = scan_under_filters(input)?;
            conjuncts.extend(predicate.conjuncts());
            Some((scan, conjuncts))
        }
        _ => None,
    }
}
