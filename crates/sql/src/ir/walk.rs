//! Visiting every expression of a relation, those of inner queries included.

use pgtypes::PgType;

use super::rel::{ApplyCall, ColId, FrameBound, Rel};
use super::scalar::{Scalar, SubqueryKind};
use super::statement::{InsertSource, Returning, Statement};

fn scalar_deep(scalar: &mut Scalar, visit: &mut dyn FnMut(&mut Scalar)) {
    for child in scalar.children_mut() {
        scalar_deep(child, visit);
    }
    if let Scalar::Subquery(subquery) = scalar {
        if let SubqueryKind::Any { column, .. } | SubqueryKind::All { column, .. } =
            &mut subquery.kind
        {
            scalar_deep(column, visit);
        }
        subquery.rel.for_each_scalar_mut(visit);
    }
    visit(scalar);
}

impl Scalar {
    /// Visits every node, those of queries inside included, bottom-up.
    pub fn for_each_mut(&mut self, visit: &mut dyn FnMut(&mut Scalar)) {
        scalar_deep(self, visit);
    }
}

impl Rel {
    /// Visits every node of every expression in this relation and its inputs, bottom-up.
    pub fn for_each_scalar_mut(&mut self, visit: &mut dyn FnMut(&mut Scalar)) {
        for input in self.inputs_mut() {
            input.for_each_scalar_mut(visit);
        }
        match self {
            Rel::Recursive(recursive) => {
                recursive.base.for_each_scalar_mut(visit);
                recursive.step.for_each_scalar_mut(visit);
            }
            Rel::ApplyRows { rel, .. } => rel.for_each_scalar_mut(visit),
            Rel::Apply { calls, .. } => {
                for ApplyCall { subquery, only_if, .. } in calls {
                    only_if.iter_mut().for_each(|scalar| scalar_deep(scalar, visit));
                    let mut scalar = Scalar::Subquery(Box::new(subquery.clone()));
                    for child in scalar.children_mut() {
                        scalar_deep(child, visit);
                    }
                    if let Scalar::Subquery(changed) = scalar {
                        *subquery = *changed;
                    }
                    subquery.rel.for_each_scalar_mut(visit);
                }
            }
            _ => self.scalars_mut().into_iter().for_each(|scalar| scalar_deep(scalar, visit)),
        }
    }
}

impl Rel {
    /// Visits this relation, its inputs, and the queries inside their expressions.
    pub fn for_each_rel(&self, visit: &mut dyn FnMut(&Rel)) {
        visit(self);
        for input in self.inputs() {
            input.for_each_rel(visit);
        }
        if let Rel::Apply { calls, .. } = self {
            calls.iter().for_each(|call| call.subquery.rel.for_each_rel(visit));
        }
        if let Rel::ApplyRows { rel, .. } = self {
            rel.for_each_rel(visit);
        }
        if let Rel::Recursive(recursive) = self {
            recursive.base.for_each_rel(visit);
            recursive.step.for_each_rel(visit);
        }
        for scalar in self.scalars() {
            scalar.any(&mut |node| {
                if let Scalar::Subquery(subquery) = node {
                    subquery.rel.for_each_rel(visit);
                }
                false
            });
        }
    }

    /// Whether it locks rows somewhere.
    pub fn has_locks(&self) -> bool {
        let mut found = false;
        self.for_each_rel(&mut |rel| found |= matches!(rel, Rel::Lock { .. }));
        found
    }

    /// Whether it calls a function that answers differently each time.
    pub fn is_volatile(&self) -> bool {
        let mut found = false;
        self.for_each_rel(&mut |rel| {
            for scalar in rel.scalars() {
                found |= scalar.is_volatile();
            }
        });
        found
    }

    /// The expressions of this node.
    pub fn scalars(&self) -> Vec<&Scalar> {
        match self {
            Rel::OneRow
            | Rel::Empty { .. }
            | Rel::Scan(_)
            | Rel::Virtual(_)
            | Rel::Work(_)
            | Rel::Recursive(_)
            | Rel::Distinct { .. }
            | Rel::Lock { .. }
            | Rel::Apply { .. }
            | Rel::ApplyRows { .. }
            | Rel::SetOp { .. } => Vec::new(),
            Rel::Values { rows, .. } => rows.iter().flatten().collect(),
            Rel::Function(call) => call.args.iter().collect(),
            Rel::Filter { predicate, .. } => vec![predicate],
            Rel::Project { exprs, .. } => exprs.iter().map(|(_, scalar)| scalar).collect(),
            Rel::Join(join) => join.on.iter().collect(),
            Rel::Aggregate { group, aggs, .. } => {
                let mut all: Vec<&Scalar> = group.iter().map(|(_, scalar)| scalar).collect();
                for agg in aggs {
                    all.extend(&agg.args);
                    all.extend(&agg.filter);
                    all.extend(agg.order_by.iter().map(|key| &key.expr));
                }
                all
            }
            Rel::Window { calls, .. } => {
                let mut all = Vec::new();
                for call in calls {
                    all.extend(&call.args);
                    all.extend(&call.filter);
                    all.extend(&call.partition_by);
                    all.extend(call.order_by.iter().map(|key| &key.expr));
                    for bound in [&call.frame.start, &call.frame.end] {
                        if let FrameBound::Preceding(by) | FrameBound::Following(by) = bound {
                            all.push(by);
                        }
                    }
                }
                all
            }
            Rel::Sort { keys, .. } => keys.iter().map(|key| &key.expr).collect(),
            Rel::Waiting { exprs, keep_if, .. } => {
                exprs.iter().map(|(_, scalar)| scalar).chain(keep_if).collect()
            }
            Rel::Limit { limit, offset, .. } => limit.iter().chain(offset).collect(),
            Rel::DistinctOn { on, keys, .. } => {
                on.iter().chain(keys.iter().map(|key| &key.expr)).collect()
            }
        }
    }

    /// The expressions of this node, to be replaced.
    pub fn scalars_mut(&mut self) -> Vec<&mut Scalar> {
        match self {
            Rel::OneRow
            | Rel::Empty { .. }
            | Rel::Scan(_)
            | Rel::Virtual(_)
            | Rel::Work(_)
            | Rel::Recursive(_)
            | Rel::Distinct { .. }
            | Rel::Lock { .. }
            | Rel::Apply { .. }
            | Rel::ApplyRows { .. }
            | Rel::SetOp { .. } => Vec::new(),
            Rel::Values { rows, .. } => rows.iter_mut().flatten().collect(),
            Rel::Function(call) => call.args.iter_mut().collect(),
            Rel::Filter { predicate, .. } => vec![predicate],
            Rel::Project { exprs, .. } => exprs.iter_mut().map(|(_, scalar)| scalar).collect(),
            Rel::Join(join) => join.on.iter_mut().collect(),
            Rel::Aggregate { group, aggs, .. } => {
                let mut all: Vec<&mut Scalar> =
                    group.iter_mut().map(|(_, scalar)| scalar).collect();
                for agg in aggs {
                    all.extend(&mut agg.args);
                    all.extend(&mut agg.filter);
                    all.extend(agg.order_by.iter_mut().map(|key| &mut key.expr));
                }
                all
            }
            Rel::Window { calls, .. } => {
                let mut all = Vec::new();
                for call in calls {
                    all.extend(&mut call.args);
                    all.extend(&mut call.filter);
                    all.extend(&mut call.partition_by);
                    all.extend(call.order_by.iter_mut().map(|key| &mut key.expr));
                    for bound in [&mut call.frame.start, &mut call.frame.end] {
                        if let FrameBound::Preceding(by) | FrameBound::Following(by) = bound {
                            all.push(by);
                        }
                    }
                }
                all
            }
            Rel::Sort { keys, .. } => keys.iter_mut().map(|key| &mut key.expr).collect(),
            Rel::Waiting { exprs, keep_if, .. } => {
                exprs.iter_mut().map(|(_, scalar)| scalar).chain(keep_if).collect()
            }
            Rel::Limit { limit, offset, .. } => limit.iter_mut().chain(offset).collect(),
            Rel::DistinctOn { on, keys, .. } => {
                on.iter_mut().chain(keys.iter_mut().map(|key| &mut key.expr)).collect()
            }
        }
    }

    /// Whether it mentions columns that no node in here makes.
    pub fn is_correlated(&self) -> bool {
        !self.outer_columns().is_empty()
    }

    /// Whether it mentions a column that `other` makes.
    pub fn mentions(&self, other: &Rel) -> bool {
        let made = other.columns();
        self.outer_columns().iter().any(|(id, _)| made.iter().any(|column| column.id == *id))
    }

    /// Columns mentioned but made by no node in here, in order and once each.
    pub fn outer_columns(&self) -> Vec<(ColId, PgType)> {
        let mut made = std::collections::HashSet::new();
        let mut used: Vec<(ColId, PgType)> = Vec::new();
        self.for_each_rel(&mut |rel| {
            made.extend(rel.columns().into_iter().map(|column| column.id));
            for scalar in rel.scalars() {
                scalar.any(&mut |node| {
                    match node {
                        Scalar::Column(id, ty) => used.push((*id, *ty)),
                        Scalar::Subquery(subquery) => {
                            if let SubqueryKind::Any { column, .. }
                            | SubqueryKind::All { column, .. } = &subquery.kind
                            {
                                column.any(&mut |inner| {
                                    if let Scalar::Column(id, ty) = inner {
                                        used.push((*id, *ty));
                                    }
                                    false
                                });
                            }
                        }
                        _ => {}
                    }
                    false
                });
            }
        });
        used.retain(|(id, _)| !made.contains(id));
        used.sort_unstable_by_key(|(id, _)| *id);
        used.dedup_by_key(|(id, _)| *id);
        used
    }
}

impl Statement {
    /// Visits every node of every expression, bottom-up. Defaults of columns are not part of it.
    pub fn for_each_scalar_mut(&mut self, visit: &mut dyn FnMut(&mut Scalar)) {
        let (scalars, rels) = self.own_mut();
        scalars.into_iter().for_each(|scalar| scalar_deep(scalar, visit));
        rels.into_iter().for_each(|rel| rel.for_each_scalar_mut(visit));
    }

    /// Its expressions and relations, those of its parts included.
    pub fn own_mut(&mut self) -> (Vec<&mut Scalar>, Vec<&mut Rel>) {
        let (mut scalars, mut rels): (Vec<&mut Scalar>, Vec<&mut Rel>) = Default::default();
        let mut returning: Option<&mut Returning> = None;
        match self {
            Statement::Query(query) => rels.push(&mut query.rel),
            Statement::Insert(insert) => {
                match &mut insert.source {
                    InsertSource::Values(rows) => {
                        scalars.extend(rows.iter_mut().flatten().flatten());
                    }
                    InsertSource::Query(query) => rels.push(&mut query.rel),
                    InsertSource::Default => {}
                }
                if let Some(update) = insert.on_conflict.as_mut().and_then(|c| c.update.as_mut()) {
                    scalars.extend(update.assignments.iter_mut().filter_map(|a| a.value.as_mut()));
                    scalars.extend(&mut update.filter);
                }
                returning = insert.returning.as_mut();
            }
            Statement::Update(update) => {
                rels.extend(&mut update.from);
                scalars.extend(update.assignments.iter_mut().filter_map(|a| a.value.as_mut()));
                scalars.extend(&mut update.filter);
                returning = update.returning.as_mut();
            }
            Statement::Delete(delete) => {
                rels.extend(&mut delete.using);
                scalars.extend(&mut delete.filter);
                returning = delete.returning.as_mut();
            }
            Statement::With(with) => {
                let parts = with.parts.iter_mut().map(|part| &mut part.statement);
                for part in parts.chain([&mut with.main]) {
                    let (more, others) = part.own_mut();
                    scalars.extend(more);
                    rels.extend(others);
                }
            }
            Statement::Explain(explain) => return explain.statement.own_mut(),
            Statement::Utility(_) => {}
        }
        scalars.extend(returning.into_iter().flat_map(|returning| &mut returning.exprs));
        (scalars, rels)
    }
}

/// Whether `test` holds for an expression or one below it, those of queries inside included.
fn any_deep(scalar: &Scalar, test: &mut dyn FnMut(&Scalar) -> bool) -> bool {
    scalar.any(&mut |node| {
        test(node)
            || match node {
                Scalar::Subquery(subquery) => subquery.rel.any_scalar(test),
                _ => false,
            }
    })
}

impl Rel {
    /// Whether `test` holds for an expression anywhere in it.
    pub fn any_scalar(&self, test: &mut dyn FnMut(&Scalar) -> bool) -> bool {
        let mut found = false;
        self.for_each_rel(&mut |rel| {
            found = found || rel.scalars().into_iter().any(|scalar| scalar.any(test));
        });
        found
    }
}

impl Statement {
    /// Whether `test` holds for an expression anywhere in it. Defaults of columns are not part of it.
    pub fn any_scalar(&self, test: &mut dyn FnMut(&Scalar) -> bool) -> bool {
        let mut all: Vec<&Scalar> = Vec::new();
        let mut rels: Vec<&Rel> = Vec::new();
        let mut returning: Option<&Returning> = None;
        match self {
            Statement::Query(query) => rels.push(&query.rel),
            Statement::Insert(insert) => {
                match &insert.source {
                    InsertSource::Values(rows) => all.extend(rows.iter().flatten().flatten()),
                    InsertSource::Query(query) => rels.push(&query.rel),
                    InsertSource::Default => {}
                }
                if let Some(update) = insert.on_conflict.as_ref().and_then(|c| c.update.as_ref()) {
                    all.extend(update.assignments.iter().filter_map(|a| a.value.as_ref()));
                    all.extend(&update.filter);
                }
                returning = insert.returning.as_ref();
            }
            Statement::Update(update) => {
                rels.extend(&update.from);
                all.extend(&update.filter);
                all.extend(update.assignments.iter().filter_map(|a| a.value.as_ref()));
                returning = update.returning.as_ref();
            }
            Statement::Delete(delete) => {
                rels.extend(&delete.using);
                all.extend(&delete.filter);
                returning = delete.returning.as_ref();
            }
            Statement::With(with) => {
                let parts = with.parts.iter().map(|part| &part.statement);
                return parts.chain([&with.main]).any(|part| part.any_scalar(test));
            }
            Statement::Explain(explain) => return explain.statement.any_scalar(test),
            Statement::Utility(_) => {}
        }
        all.extend(returning.into_iter().flat_map(|r| &r.exprs));
        all.into_iter().any(|scalar| any_deep(scalar, test))
            || rels.into_iter().any(|rel| rel.any_scalar(test))
    }
}
