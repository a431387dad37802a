//! FROM: tables, queries, functions, and joins of them.

use super::scope::{Generator, Named, Scope};
use super::tree::{Kind, Node};
use super::types::Ty;

use Ty::{Bool, Int4};

impl Generator<'_> {
    /// A FROM clause with what it names; at times there is none.
    pub(super) fn from(&mut self, depth: usize, outer: &Scope) -> (Node, Vec<Named>) {
        if self.chance(0.05) {
            return (Node::nothing(), Vec::new());
        }
        let (mut items, mut names): (_, Vec<Named>) = (Vec::new(), Vec::new());
        loop {
            let lateral = match self.chance(0.15) {
                true => Some(outer.and(&names)),
                false => None,
            };
            let (item, more) = match (lateral, depth > 0) {
                (Some(scope), true) => self.subquery("LATERAL ", depth, &scope),
                _ => self.source(depth, outer),
            };
            items.push(item);
            names.extend(more);
            if names.len() >= 3 || !self.chance(0.2) {
                break;
            }
        }
        (Node::plain(" FROM {}", [Node::list(1, ", ", items)]), names)
    }

    fn source(&mut self, depth: usize, outer: &Scope) -> (Node, Vec<Named>) {
        if depth > 0 && self.chance(0.35) {
            return self.join(depth, outer);
        }
        match self.below(20) {
            0..=2 if depth > 0 => self.subquery("", depth, outer),
            3 => self.values(),
            4 => {
                let alias = self.fresh("g");
                let text =
                    format!("generate_series({}, {}) AS {alias}(n)", self.below(3), self.below(5));
                let named = Named { alias, columns: vec![("n".to_owned(), Int4)] };
                (Node::new(Kind::Source, text, []), vec![named])
            }
            5..=8 if !self.with.is_empty() => {
                let n = self.below(self.with.len());
                let (of, alias) = (self.with[n].clone(), self.fresh("x"));
                let text = format!("{} AS {alias}", of.alias);
                (Node::new(Kind::Source, text, []), vec![Named { alias, columns: of.columns }])
            }
            _ => {
                let n = self.below(self.schema.tables.len());
                let (table, alias) = (self.schema.tables[n].clone(), self.fresh("x"));
                let text = format!("{} AS {alias}", table.name);
                (Node::new(Kind::Source, text, []), vec![Named { alias, columns: table.columns }])
            }
        }
    }

    fn subquery(&mut self, lateral: &str, depth: usize, scope: &Scope) -> (Node, Vec<Named>) {
        let (types, alias) = (self.types(1, 4), self.fresh("q"));
        let outer = match lateral {
            "" => Scope::default(),
            _ => scope.clone(),
        };
        let query = self.query(&types, depth - 1, &outer, false);
        let columns = self.columns_of(&types);
        let list: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
        let text = format!("{lateral}({{}}) AS {alias}({})", list.join(", "));
        (Node::new(Kind::Source, text, [query]), vec![Named { alias, columns }])
    }

    fn values(&mut self) -> (Node, Vec<Named>) {
        let (types, alias) = (self.types(1, 4), self.fresh("v"));
        let rows = (0..2)
            .map(|_| {
                let items: Vec<String> = types.iter().map(|ty| ty.literal(self.rng)).collect();
                Node::plain(format!("({})", items.join(", ")), [])
            })
            .collect();
        let columns = self.columns_of(&types);
        let list: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
        let text = format!("(VALUES {{}}) AS {alias}({})", list.join(", "));
        (Node::new(Kind::Source, text, [Node::list(1, ", ", rows)]), vec![Named { alias, columns }])
    }

    fn join(&mut self, depth: usize, outer: &Scope) -> (Node, Vec<Named>) {
        let (left, mut names) = self.source(depth - 1, outer);
        let (right, more) = match self.chance(0.1) {
            true => {
                let scope = outer.and(&names);
                let (right, more) = self.subquery("LATERAL ", depth, &scope);
                let kind = self.pick(&["({} CROSS JOIN {})", "({} LEFT JOIN {} ON true)"]);
                names.extend(more);
                return (Node::new(Kind::Source, kind, [left, right]), names);
            }
            false => self.source(depth - 1, outer),
        };
        let kind =
            self.pick(&["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "JOIN", "LEFT JOIN"]);
        let common: Vec<(String, Ty)> = match (names.as_slice(), more.as_slice()) {
            ([a], [b]) => a.columns.iter().filter(|c| b.columns.contains(c)).cloned().collect(),
            _ => Vec::new(),
        };
        let scope = outer.and(&names).and(&more);
        names.extend(more);
        let join = match self.below(10) {
            0 => Node::new(Kind::Source, "{} CROSS JOIN {}", [left, right]),
            1 if !common.is_empty() => {
                let (name, _) = &common[self.below(common.len())];
                Node::new(Kind::Source, format!("{{}} {kind} {{}} USING ({name})"), [left, right])
            }
            2 if !common.is_empty() => {
                Node::new(Kind::Source, format!("{{}} NATURAL {kind} {{}}"), [left, right])
            }
            3..=6 => {
                let ty = Ty::any(self.rng);
                let on = match (names.first(), names.last()) {
                    (Some(a), Some(b)) => {
                        let side = |g: &mut Self, named: &Named| {
                            let only = Scope { from: vec![named.clone()], ..Scope::default() };
                            g.leaf(ty, &only)
                        };
                        let parts = [side(self, a), side(self, b)];
                        Node::expr(Bool, "{} = {}", parts)
                    }
                    _ => Node::expr(Bool, "true", []),
                };
                Node::new(Kind::Source, format!("{{}} {kind} {{}} ON {{}}"), [left, right, on])
            }
            _ => {
                let on = self.expr(Bool, depth.min(2), &scope);
                Node::new(Kind::Source, format!("{{}} {kind} {{}} ON {{}}"), [left, right, on])
            }
        };
        (Node::new(Kind::Source, "({})", [join]), names)
    }
}
