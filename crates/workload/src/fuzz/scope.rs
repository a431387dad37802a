//! What an expression may name, and the generator's own state.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::schema::Schema;
use super::tree::Node;
use super::types::Ty;

/// Something of FROM: its alias and columns.
#[derive(Debug, Clone)]
pub(super) struct Named {
    pub(super) alias: String,
    pub(super) columns: Vec<(String, Ty)>,
}

impl Named {
    /// Whether no two of its rows are equal: a table, or a series.
    pub(super) fn has_key(&self) -> bool {
        matches!(self.columns.first(), Some((name, _)) if name == "id" || name == "n")
    }
}

/// What can be named at a place.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope {
    /// FROM of the query, and of those around it.
    pub(super) from: Vec<Named>,
    /// How many of them are of the query itself.
    pub(super) own: usize,
    /// The expressions that a query groups by: all that it may name outside of aggregates.
    pub(super) grouped: Option<Vec<Node>>,
    /// Aggregates may stand here.
    pub(super) aggregates: bool,
    /// Window functions may stand here; ordered by these, their rows have one order.
    pub(super) windows: Option<String>,
}

impl Scope {
    /// The same names, and nothing but plain expressions.
    pub(super) fn plain(&self) -> Scope {
        Scope { from: self.from.clone(), own: self.own, ..Scope::default() }
    }

    /// What an aggregate may take that is to be one of this query.
    pub(super) fn aggregated(&self) -> Scope {
        Scope { from: self.from[..self.own].to_vec(), own: self.own, ..Scope::default() }
    }

    /// With more names, which come first.
    pub(super) fn and(&self, more: &[Named]) -> Scope {
        let from = more.iter().chain(&self.from).cloned().collect();
        Scope { from, own: more.len(), ..Scope::default() }
    }
}

/// Makes statements.
pub(super) struct Generator<'s> {
    pub(super) rng: &'s mut StdRng,
    pub(super) schema: &'s Schema,
    /// Names of WITH that can be read.
    pub(super) with: Vec<Named>,
    /// The statement may fail when it runs, depending on what is evaluated first.
    pub(super) risky: bool,
    next: usize,
}

impl<'s> Generator<'s> {
    pub(super) fn new(rng: &'s mut StdRng, schema: &'s Schema) -> Generator<'s> {
        Generator { rng, schema, with: Vec::new(), risky: false, next: 0 }
    }

    /// True so often.
    pub(super) fn chance(&mut self, p: f64) -> bool {
        self.rng.random_bool(p)
    }

    /// Below `n`.
    pub(super) fn below(&mut self, n: usize) -> usize {
        self.rng.random_range(0..n)
    }

    /// One of them.
    pub(super) fn pick<'t>(&mut self, from: &[&'t str]) -> &'t str {
        from.choose(self.rng).copied().expect("something to choose from")
    }

    /// A name that is not taken.
    pub(super) fn fresh(&mut self, prefix: &str) -> String {
        self.next += 1;
        format!("{prefix}{}", self.next)
    }

    /// So many types.
    pub(super) fn types(&mut self, least: usize, below: usize) -> Vec<Ty> {
        let count = self.rng.random_range(least..below);
        (0..count).map(|_| Ty::any(self.rng)).collect()
    }
}
