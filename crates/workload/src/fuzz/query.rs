//! Queries of wanted column types: FROM, groups, windows, set operations, WITH.
//!
//! A query has one answer, as a bag of rows: LIMIT and DISTINCT ON come with an order by all columns.

use super::scope::{Generator, Named, Scope};
use super::tree::{Kind, Node};
use super::types::Ty;

use Ty::{Bool, Int4};

/// Levels of queries in queries.
const DEEPEST: usize = 3;

impl Generator<'_> {
    /// A whole query, and the order of its rows if it has one.
    pub(super) fn top_query(&mut self) -> (Node, Option<String>) {
        let types = self.types(1, 5);
        let with = self.with_clause(DEEPEST - 1);
        let body = self.body(&types, DEEPEST, &Scope::default());
        let (order, text) = match self.chance(0.4) {
            true => self.order(types.len(), &Scope::default()),
            false => (Node::nothing(), None),
        };
        self.with.clear();
        (Node::new(Kind::Query(types), "{}{}{}", [with, body, order]), text)
    }

    /// A query inside of something; `ordered` if the order of its rows shows.
    pub(super) fn query(
        &mut self,
        types: &[Ty],
        depth: usize,
        scope: &Scope,
        ordered: bool,
    ) -> Node {
        let outer = scope.plain_outside();
        let body = self.body(types, depth.min(DEEPEST), &outer);
        let order = match ordered || self.chance(0.1) {
            true if ordered => Node::plain(self.order(types.len(), &outer).0.to_string(), []),
            true => self.order(types.len(), &outer).0,
            false => Node::nothing(),
        };
        Node::new(Kind::Query(types.to_vec()), "{}{}", [body, order])
    }

    /// A query of one column and at most one row.
    pub(super) fn one_row(&mut self, ty: Ty, depth: usize, scope: &Scope) -> Node {
        let outer = scope.plain_outside();
        if self.chance(0.5) {
            let (from, names) = self.from(depth, &outer);
            let mut inside = outer.and(&names);
            let filter = self.filter(depth, &inside);
            inside.grouped = Some(Vec::new());
            inside.aggregates = true;
            let item = self.aggregate(ty, &inside);
            // A constant in its place would be there once per row.
            let item = match item.to_string().contains('(') && item.size() > 1 {
                true => Node::plain(item.template, item.children),
                false => Node::plain(format!("max({})", item.to_string().replace("{}", "")), []),
            };
            if matches!(ty, Bool | Ty::Jsonb) && item.template.starts_with("max(") {
                return Node::new(Kind::Query(vec![ty]), format!("SELECT {}", ty.least()), []);
            }
            return Node::new(Kind::Query(vec![ty]), "SELECT {}{}{}", [item, from, filter]);
        }
        let body = self.body(&[ty], depth, &outer);
        Node::new(Kind::Query(vec![ty]), "{} ORDER BY 1 LIMIT 1", [body])
    }

    fn body(&mut self, types: &[Ty], depth: usize, outer: &Scope) -> Node {
        let query = |template: &str, parts: Vec<Node>| {
            Node::new(Kind::Query(types.to_vec()), template, parts)
        };
        if depth > 0 && self.chance(0.12) {
            let operator = self.pick(&[
                "{} UNION {}",
                "{} UNION ALL {}",
                "{} INTERSECT {}",
                "{} EXCEPT {}",
                "{} INTERSECT ALL {}",
                "({}) EXCEPT ALL ({})",
            ]);
            let parts =
                vec![self.body(types, depth - 1, outer), self.body(types, depth - 1, outer)];
            return query(operator, parts);
        }
        if self.chance(0.05) {
            let row = |g: &mut Self| {
                let items = types.iter().map(|ty| g.expr(*ty, 1, outer)).collect();
                Node::plain("({})", [Node::list(types.len(), ", ", items)])
            };
            let rows = (0..2).map(|_| row(self)).collect();
            return query("VALUES {}", vec![Node::list(1, ", ", rows)]);
        }
        self.select(types, depth, outer)
    }

    fn select(&mut self, types: &[Ty], depth: usize, outer: &Scope) -> Node {
        let (from, names) = self.from(depth, outer);
        let inside = outer.and(&names);
        let filter = self.filter(depth, &inside);
        let mut items_in = inside.clone();
        let (mut group, mut having) = (Node::nothing(), Node::nothing());
        match self.below(10) {
            0..=2 => {
                let keys = self.types(1, 4);
                let keys: Vec<Node> = keys
                    .into_iter()
                    .map(|ty| self.key(ty, &inside))
                    .filter(|key| {
                        // PostgreSQL 15 takes a column of a query around for a constant.
                        let table = key.template.split_once('.').map(|(table, _)| table);
                        table.is_some_and(|table| names.iter().any(|named| named.alias == table))
                    })
                    .collect();
                items_in.grouped = Some(keys.clone());
                items_in.aggregates = true;
                if !keys.is_empty() {
                    group = self.grouping(&keys);
                }
                if self.chance(0.3) {
                    having = Node::optional(" HAVING {}", [self.expr(Bool, 2, &items_in)]);
                }
            }
            // Only of rows that differ: which of two equal ones is first is up to the server.
            3 | 4 if !names.is_empty() && names.iter().all(Named::has_key) => {
                let all = names.iter().flat_map(|named| {
                    named.columns.iter().map(|(name, _)| format!("{}.{name}", named.alias))
                });
                items_in.windows = Some(all.collect::<Vec<_>>().join(", "));
            }
            _ => {}
        }
        let mut items = Vec::new();
        for ty in types {
            let item = self.expr(*ty, depth.min(2), &items_in);
            items.push(item);
        }
        // Nothing that is grouped and no aggregate: one row, or one per row of FROM.
        let items = Node::list(types.len(), ", ", items);
        let distinct = match self.chance(0.1) {
            true => Node::optional("DISTINCT ", []),
            false => Node::nothing(),
        };
        let parts = vec![distinct, items, from, filter, group, having];
        Node::new(Kind::Query(types.to_vec()), "SELECT {}{}{}{}{}{}", parts)
    }

    /// A column to group by.
    fn key(&mut self, ty: Ty, scope: &Scope) -> Node {
        let leaf = self.leaf(ty, scope);
        Node::expr(ty, leaf.template, [])
    }

    /// Of own columns alone: what PostgreSQL 15 makes of a constant in a grouping set depends on where
    /// else it stands.
    fn grouping(&mut self, keys: &[Node]) -> Node {
        let texts: Vec<String> = keys.iter().map(ToString::to_string).collect();
        let all = texts.join(", ");
        let by = match self.below(8) {
            0 => format!("ROLLUP ({all})"),
            1 => format!("CUBE ({all})"),
            2 => format!("GROUPING SETS (({all}), (), ({}))", texts[0]),
            _ => all,
        };
        Node::plain(format!(" GROUP BY {by}"), [])
    }

    fn filter(&mut self, depth: usize, scope: &Scope) -> Node {
        match self.chance(0.5) {
            true => Node::optional(" WHERE {}", [self.expr(Bool, depth.min(2), scope)]),
            false => Node::nothing(),
        }
    }

    /// An order by all of so many columns, with LIMIT at times, also by a column from outside; and what it
    /// says if it shows.
    fn order(&mut self, columns: usize, outer: &Scope) -> (Node, Option<String>) {
        let keys: Vec<String> = (1..=columns)
            .map(|n| {
                let how = self.pick(&["", "", " DESC", " NULLS FIRST", " DESC NULLS LAST"]);
                format!("{n}{how}")
            })
            .collect();
        let keys = keys.join(", ");
        let limit = match self.below(7) {
            0 => Node::optional(format!(" LIMIT {}", self.below(5)), []),
            1 => Node::optional(format!(" OFFSET {}", self.below(3)), []),
            2 => Node::optional(format!(" FETCH FIRST {} ROWS WITH TIES", 1 + self.below(3)), []),
            3 => match self.leaf(Int4, outer).template {
                column if column.contains('.') => {
                    let clause = self.pick(&["LIMIT", "OFFSET"]);
                    Node::optional(format!(" {clause} abs({column})"), [])
                }
                _ => Node::nothing(),
            },
            _ => Node::nothing(),
        };
        let text = format!(" ORDER BY {keys}");
        (Node::optional(format!("{text}{{}}"), [limit]), Some(text))
    }

    /// WITH, whose names can be read afterwards.
    pub(super) fn with_clause(&mut self, depth: usize) -> Node {
        let mut members = Vec::new();
        while self.chance(0.15) && members.len() < 3 {
            let (types, name) = (self.types(1, 4), self.fresh("w"));
            let query = self.query(&types, depth, &Scope::default(), false);
            let columns = self.columns_of(&types);
            let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
            let how = self.pick(&["", "", " MATERIALIZED", " NOT MATERIALIZED"]);
            let head = format!("{name} ({}) AS{how} ({{}})", names.join(", "));
            members.push(Node::plain(head, [query]));
            self.with.push(Named { alias: name, columns });
        }
        if self.chance(0.03) {
            let (name, limit) = (self.fresh("r"), self.below(6));
            let union = self.pick(&["UNION ALL", "UNION"]);
            members.push(Node::plain(
                format!(
                    "{name} (n) AS (VALUES (0) {union} SELECT n + 1 FROM {name} WHERE n < {limit})"
                ),
                [],
            ));
            self.with.push(Named { alias: name, columns: vec![("n".to_owned(), Int4)] });
            return Node::optional("WITH RECURSIVE {} ", [Node::list(1, ", ", members)]);
        }
        match members.is_empty() {
            true => Node::nothing(),
            false => Node::optional("WITH {} ", [Node::list(1, ", ", members)]),
        }
    }
}

impl Scope {
    /// What a query inside of an expression may name of those around it: not what is under a GROUP BY.
    fn plain_outside(&self) -> Scope {
        match self.grouped {
            Some(_) => Scope::default(),
            None => self.plain(),
        }
    }
}
