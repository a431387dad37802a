//! In which order inner joins are made, where statistics tell how large tables are.
//!
//! A group of inner joins, with the filters between and right above them, is a set of inputs and a set of
//! conditions. It begins with the pair that makes the fewest rows, and goes on with the input that keeps them
//! fewest; an input that no condition connects waits for the end. The smaller side of each join is the left
//! one, of which the table of hashes is made. A join on equality makes as many rows as both sides would
//! together, divided by the number of values on the side that has more (Selinger et al. 1979, section 4).
//!
//! Without statistics for any input, joins are made as they are written.

use std::collections::BTreeSet;

use super::Lowerer;
use crate::exec::condition::Condition;
use crate::ir::{ColId, Join, JoinKind, Rel, Scalar, Scan};

/// Rows of an input of which nothing is known.
const UNKNOWN_ROWS: f64 = 1_000.0;
/// The share of rows that a condition of which nothing is known leaves.
const UNKNOWN_SHARE: f64 = 1.0 / 3.0;
/// Inputs of one group; larger ones are joined as written.
const INPUTS_MAX: usize = 32;

/// Inner joins that may be made in any order.
#[derive(Default)]
struct Group<'r> {
    inputs: Vec<&'r Rel>,
    conditions: Vec<&'r Scalar>,
}

/// An input, or some that are joined already.
struct Part {
    rel: Rel,
    rows: f64,
    inputs: BTreeSet<usize>,
}

/// A condition, and which inputs it mentions.
struct Link<'r> {
    condition: &'r Scalar,
    inputs: BTreeSet<usize>,
    /// The share of the pairs for which it holds.
    share: f64,
}

impl<'r> Group<'r> {
    fn of(rel: &'r Rel) -> Option<Self> {
        let mut group = Group::default();
        group.take(rel);
        let several = (2..=INPUTS_MAX).contains(&group.inputs.len());
        // What a volatile condition answers depends on how often it is asked.
        let movable = group.conditions.iter().all(|c| !c.is_volatile());
        let locked = |input: &&Rel| matches!(input, Rel::Scan(Scan { row_key: Some(_), .. }));
        (several && movable && !group.inputs.iter().any(locked)).then_some(group)
    }

    fn take(&mut self, rel: &'r Rel) {
        match rel {
            Rel::Join(join) if join.kind == JoinKind::Inner && !join.lateral => {
                self.take(&join.left);
                self.take(&join.right);
                self.conditions.extend(join.on.iter().flat_map(Scalar::conjuncts));
            }
            Rel::Filter { input, predicate } if is_inner_join(input) => {
                self.take(input);
                self.conditions.extend(predicate.conjuncts());
            }
            other => self.inputs.push(other),
        }
    }
}

fn is_inner_join(rel: &Rel) -> bool {
    match rel {
        Rel::Join(join) => join.kind == JoinKind::Inner && !join.lateral,
        Rel::Filter { input, .. } => is_inner_join(input),
        _ => false,
    }
}

/// Where a relation lies in memory.
pub(super) fn place(rel: &Rel) -> usize {
    std::ptr::from_ref(rel).addr()
}

impl Lowerer<'_> {
    /// The same rows with the joins in a better order, if anything is known of it.
    pub(super) fn ordered(&self, rel: &Rel) -> Option<Rel> {
        if !is_inner_join(rel) || self.placed.contains(&place(rel)) {
            return None;
        }
        let group = Group::of(rel)?;
        let columns: Vec<BTreeSet<ColId>> = group
            .inputs
            .iter()
            .map(|input| input.columns().iter().map(|column| column.id).collect())
            .collect();
        let mentioned = |condition: &Scalar| -> BTreeSet<usize> {
            let mut inputs = BTreeSet::new();
            condition.any(&mut |node| {
                if let Scalar::Column(id, _) = node {
                    inputs.extend(columns.iter().position(|ids| ids.contains(id)));
                }
                false
            });
            inputs
        };
        let (mut own, mut links, mut last) =
            (vec![Vec::new(); columns.len()], Vec::new(), Vec::new());
        for &condition in &group.conditions {
            let inputs = mentioned(condition);
            let has_query = condition.any(&mut |node| matches!(node, Scalar::Subquery(_)));
            match (inputs.len(), inputs.first()) {
                // A query in it may mention more.
                _ if has_query => last.push(condition.clone()),
                (1, Some(&input)) => own[input].push(condition.clone()),
                (0, _) => last.push(condition.clone()),
                _ => links.push(Link { condition, inputs, share: UNKNOWN_SHARE }),
            }
        }
        let mut is_known = false;
        let mut parts = Vec::with_capacity(own.len());
        for (at, (input, own)) in group.inputs.iter().zip(own).enumerate() {
            let rows = self.rows_of(input, &own);
            is_known |= rows.is_some();
            let rel = filtered((*input).clone(), own);
            let rows = rows.unwrap_or(UNKNOWN_ROWS).max(1.0);
            parts.push(Part { rel, rows, inputs: BTreeSet::from([at]) });
        }
        if !is_known {
            return None;
        }
        for link in &mut links {
            if let Some(share) = self.equality(link.condition, &group.inputs, &parts) {
                link.share = share;
            }
        }
        let joined = join_all(parts, links);
        let exprs = rel.columns().into_iter().map(|column| {
            let scalar = Scalar::Column(column.id, column.ty);
            (column, scalar)
        });
        Some(Rel::Project { input: Box::new(filtered(joined, last)), exprs: exprs.collect() })
    }

    /// The joins of an ordered group, which are not to be ordered again.
    pub(super) fn places(rel: &Rel, all: &mut Vec<usize>) {
        match rel {
            Rel::Project { input, .. } => Self::places(input, all),
            Rel::Filter { input, .. } if is_inner_join(input) => {
                all.push(place(rel));
                Self::places(input, all);
            }
            Rel::Join(join) if is_inner_join(rel) => {
                all.push(place(rel));
                Self::places(&join.left, all);
                Self::places(&join.right, all);
            }
            _ => {}
        }
    }

    /// About how many rows an input has, for which these conditions hold.
    fn rows_of(&self, input: &Rel, conditions: &[Scalar]) -> Option<f64> {
        match input {
            Rel::Scan(scan) => {
                let known = self.ctx.engine.statistics().of(scan.table.id)?;
                let found: Vec<Option<Condition>> =
                    conditions.iter().map(|c| self.condition(c, scan)).collect();
                let rest = found.iter().filter(|found| found.is_none()).count();
                let rest = UNKNOWN_SHARE.powi(i32::try_from(rest).unwrap_or(i32::MAX));
                Some(known.rows_where(found.iter().flatten()) * rest)
            }
            Rel::Filter { input, predicate } => {
                let all: Vec<Scalar> =
                    predicate.conjuncts().iter().chain(conditions).cloned().collect();
                self.rows_of(input, &all)
            }
            Rel::Project { input, .. } if conditions.is_empty() => self.rows_of(input, &[]),
            Rel::Values { rows, .. } => Some(rows.len() as f64),
            _ => None,
        }
    }

    /// The share of pairs for which two columns are equal; nothing for any other condition.
    fn equality(&self, condition: &Scalar, inputs: &[&Rel], parts: &[Part]) -> Option<f64> {
        let Scalar::Call { func, args, .. } = condition else { return None };
        let [left, right] = args.as_slice() else { return None };
        if func.name != "=" {
            return None;
        }
        let values = |side: &Scalar| -> f64 {
            let found = column(side).and_then(|id| {
                inputs.iter().zip(parts).find_map(|(input, part)| {
                    let scan = scan_of(input)?;
                    let (_, position) = scan.columns.iter().find(|(c, _)| c.id == id)?;
                    let known = self.ctx.engine.statistics().of(scan.table.id)?;
                    Some(known.distinct(*position)?.min(part.rows))
                })
            });
            found.unwrap_or(1.0)
        };
        Some(1.0 / values(left).max(values(right)).max(1.0))
    }
}

fn column(scalar: &Scalar) -> Option<ColId> {
    match scalar {
        Scalar::Column(id, _) => Some(*id),
        Scalar::Relabel(inner, _) => column(inner),
        Scalar::Cast { arg, .. } => column(arg),
        _ => None,
    }
}

fn scan_of(input: &Rel) -> Option<&Scan> {
    match input {
        Rel::Scan(scan) => Some(scan),
        Rel::Filter { input, .. } => scan_of(input),
        _ => None,
    }
}

fn filtered(input: Rel, mut conditions: Vec<Scalar>) -> Rel {
    let predicate = match conditions.len() {
        0 => return input,
        1 => conditions.remove(0),
        _ => Scalar::And(conditions),
    };
    Rel::Filter { input: Box::new(input), predicate }
}

/// Joins all parts, each time so that the fewest rows are made.
fn join_all(mut parts: Vec<Part>, mut links: Vec<Link<'_>>) -> Rel {
    let size = |a: &Part, b: &Part, links: &[Link<'_>]| {
        let both: BTreeSet<usize> = a.inputs.union(&b.inputs).copied().collect();
        let joins = links.iter().filter(|link| link.inputs.is_subset(&both));
        let connected = joins.clone().next().is_some();
        (!connected, a.rows * b.rows * joins.map(|link| link.share).product::<f64>())
    };
    while parts.len() > 1 {
        // Left-deep: after the first pair, what is joined is the last part.
        let joined = parts.iter().position(|part| part.inputs.len() > 1);
        let pairs = (0..parts.len()).flat_map(|a| (0..a).map(move |b| (b, a)));
        let pairs = pairs.filter(|(a, b)| joined.is_none_or(|j| j == *a || j == *b));
        let best = pairs.min_by(|x, y| {
            let (x, y) =
                (size(&parts[x.0], &parts[x.1], &links), size(&parts[y.0], &parts[y.1], &links));
            x.0.cmp(&y.0).then(x.1.total_cmp(&y.1))
        });
        let (a, b) = best.expect("there are two");
        let (_, rows) = size(&parts[a], &parts[b], &links);
        let (second, first) = (parts.remove(b), parts.remove(a));
        let inputs: BTreeSet<usize> = first.inputs.union(&second.inputs).copied().collect();
        let (here, later) = links.into_iter().partition(|link| link.inputs.is_subset(&inputs));
        links = later;
        let mut on: Vec<Scalar> = Vec::new();
        on.extend(Vec::<Link<'_>>::into_iter(here).map(|link| link.condition.clone()));
        let on = match on.len() {
            0 => None,
            1 => on.pop(),
            _ => Some(Scalar::And(on)),
        };
        let (left, right) =
            if first.rows <= second.rows { (first, second) } else { (second, first) };
        let join =
            Join { kind: JoinKind::Inner, left: left.rel, right: right.rel, on, lateral: false };
        parts.push(Part { rel: Rel::Join(Box::new(join)), rows: rows.max(1.0), inputs });
    }
    parts.pop().expect("one is left").rel
}
