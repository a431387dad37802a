//! Statements that write, with one outcome each: a row is changed once, by rows that are looked up by a key.

use super::schema::Table;
use super::scope::{Generator, Named, Scope};
use super::tree::{Kind, Node};
use super::types::Ty;

use Ty::{Bool, Int4};

/// A statement to compare.
#[derive(Debug, Clone)]
pub(super) struct Statement {
    pub(super) node: Node,
    /// ORDER BY over all columns, as it is written.
    pub(super) order: Option<String>,
    /// Tables must be compared afterwards.
    pub(super) writes: bool,
    /// May fail or not, depending on what is evaluated.
    pub(super) risky: bool,
}

impl Generator<'_> {
    /// Any statement.
    pub(super) fn statement(&mut self) -> Statement {
        self.risky = false;
        if self.chance(0.75) {
            let (node, order) = self.top_query();
            return Statement { node, order, writes: false, risky: self.risky };
        }
        let node = match self.below(12) {
            0..=4 => self.insert(),
            5..=7 => self.update(),
            8 | 9 => self.delete(),
            _ => self.in_with(),
        };
        self.with.clear();
        Statement { node, order: None, writes: true, risky: self.risky }
    }

    fn table(&mut self) -> (Table, Named) {
        let n = self.below(self.schema.tables.len());
        let table = self.schema.tables[n].clone();
        let named = Named { alias: self.fresh("d"), columns: table.columns.clone() };
        (table, named)
    }

    fn insert(&mut self) -> Node {
        let (table, target) = self.table();
        let mut into = vec![0];
        for n in table.writable() {
            if self.chance(0.7) {
                into.push(n);
            }
        }
        let names: Vec<&str> = into.iter().map(|n| table.columns[*n].0.as_str()).collect();
        let types: Vec<Ty> = into.iter().map(|n| table.columns[*n].1).collect();
        let source = if self.chance(0.6) {
            let count = 1 + self.below(3);
            let rows = (0..count)
                .map(|_| {
                    let mut items = vec![Node::expr(Int4, self.below(14).to_string(), [])];
                    for ty in &types[1..] {
                        items.push(match self.below(8) {
                            0 => Node::plain("DEFAULT", []),
                            _ => self.expr(*ty, 1, &Scope::default()),
                        });
                    }
                    Node::plain("({})", [Node::list(types.len(), ", ", items)])
                })
                .collect();
            Node::plain("VALUES {}", [Node::list(1, ", ", rows)])
        } else {
            self.query(&types, 2, &Scope::default(), true)
        };
        let conflict = self.on_conflict(&table, &target);
        let returning = self.returning(&target);
        let head =
            format!("INSERT INTO {} AS {} ({}) ", table.name, target.alias, names.join(", "));
        Node::plain(format!("{head}{{}}{{}}{{}}"), [source, conflict, returning])
    }

    fn on_conflict(&mut self, table: &Table, target: &Named) -> Node {
        match self.below(6) {
            0 => Node::optional(" ON CONFLICT DO NOTHING", []),
            1 => Node::optional(" ON CONFLICT (id) DO NOTHING", []),
            2 => match table.unique {
                Some(n) => {
                    let name = &table.columns[n].0;
                    Node::optional(format!(" ON CONFLICT ({name}) DO NOTHING"), [])
                }
                None => Node::nothing(),
            },
            3 | 4 => {
                let excluded =
                    Named { alias: "excluded".to_owned(), columns: table.columns.clone() };
                let scope = Scope { from: vec![target.clone(), excluded], ..Scope::default() };
                let set = self.assignments(table, &scope);
                let filter = match self.chance(0.3) {
                    true => Node::optional(" WHERE {}", [self.expr(Bool, 2, &scope)]),
                    false => Node::nothing(),
                };
                match set {
                    Some(set) => {
                        Node::optional(" ON CONFLICT (id) DO UPDATE SET {}{}", [set, filter])
                    }
                    None => Node::nothing(),
                }
            }
            _ => Node::nothing(),
        }
    }

    /// Assignments to columns that are in no unique index: rows that change places are another matter.
    fn assignments(&mut self, table: &Table, scope: &Scope) -> Option<Node> {
        let free: Vec<usize> =
            table.writable().into_iter().filter(|n| table.unique != Some(*n)).collect();
        let mut set = Vec::new();
        for n in free {
            if set.is_empty() || self.chance(0.3) {
                let (name, ty) = &table.columns[n];
                set.push(match self.below(10) {
                    0 => Node::plain(format!("{name} = DEFAULT"), []),
                    1 => {
                        let query = self.one_row(*ty, 1, scope);
                        Node::plain(format!("({name}) = ({{}})"), [query])
                    }
                    _ => Node::plain(format!("{name} = {{}}"), [self.expr(*ty, 2, scope)]),
                });
            }
        }
        match set.is_empty() {
            true => None,
            false => Some(Node::list(1, ", ", set)),
        }
    }

    /// Another table by its key, so that each row finds one at most.
    fn other(&mut self, word: &str, target: &Named) -> (Node, Option<Node>, Scope) {
        let only = Scope { from: vec![target.clone()], ..Scope::default() };
        if !self.chance(0.35) {
            return (Node::nothing(), None, only);
        }
        let (table, other) = self.table();
        let key = self.leaf(Int4, &only);
        let on = Node::plain(format!("{}.id = {{}}", other.alias), [key]);
        let text = format!(" {word} {} AS {}", table.name, other.alias);
        (Node::plain(text, []), Some(on), only.and(&[other]))
    }

    fn where_clause(&mut self, on: Option<Node>, scope: &Scope) -> Node {
        match on {
            Some(on) => {
                let more = Node::optional(" AND {}", [self.expr(Bool, 2, scope)]);
                Node::plain(" WHERE {}{}", [on, more])
            }
            None if self.chance(0.8) => Node::optional(" WHERE {}", [self.expr(Bool, 2, scope)]),
            None => Node::nothing(),
        }
    }

    fn update(&mut self) -> Node {
        let (table, target) = self.table();
        let (from, on, scope) = self.other("FROM", &target);
        let Some(set) = self.assignments(&table, &scope) else { return self.delete() };
        let filter = self.where_clause(on, &scope);
        let returning = self.returning_of(&scope, &target);
        let head = format!("UPDATE {} AS {} SET ", table.name, target.alias);
        Node::plain(format!("{head}{{}}{{}}{{}}{{}}"), [set, from, filter, returning])
    }

    fn delete(&mut self) -> Node {
        let (table, target) = self.table();
        let (using, on, scope) = self.other("USING", &target);
        let filter = self.where_clause(on, &scope);
        let returning = self.returning_of(&scope, &target);
        let head = format!("DELETE FROM {} AS {}", table.name, target.alias);
        Node::plain(format!("{head}{{}}{{}}{{}}"), [using, filter, returning])
    }

    fn returning(&mut self, target: &Named) -> Node {
        let scope = Scope { from: vec![target.clone()], ..Scope::default() };
        self.returning_of(&scope, target)
    }

    fn returning_of(&mut self, scope: &Scope, target: &Named) -> Node {
        match self.below(4) {
            0 => Node::nothing(),
            1 => Node::optional(" RETURNING *", []),
            2 => Node::optional(format!(" RETURNING {}.*", target.alias), []),
            _ => {
                let types = self.types(1, 4);
                let items = types.iter().map(|ty| self.expr(*ty, 2, scope)).collect();
                Node::optional(" RETURNING {}", [Node::list(1, ", ", items)])
            }
        }
    }

    /// A write in WITH, and a query of what it returns.
    fn in_with(&mut self) -> Node {
        let (table, target) = self.table();
        let scope = Scope { from: vec![target.clone()], ..Scope::default() };
        let types = self.types(1, 4);
        let items: Vec<Node> = types.iter().map(|ty| self.expr(*ty, 1, &scope)).collect();
        let items = Node::list(types.len(), ", ", items);
        let filter = Node::optional(" WHERE {}", [self.expr(Bool, 2, &scope)]);
        let (name, alias) = (&table.name, &target.alias);
        let write = match self.assignments(&table, &scope) {
            Some(set) if self.chance(0.5) => Node::plain(
                format!("UPDATE {name} AS {alias} SET {{}}{{}} RETURNING {{}}"),
                [set, filter, items],
            ),
            _ => Node::plain(
                format!("DELETE FROM {name} AS {alias}{{}} RETURNING {{}}"),
                [filter, items],
            ),
        };
        let (with, columns) = (self.fresh("w"), self.columns_of(&types));
        let list: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
        let head = format!("WITH {with}({}) AS ({{}}) {{}}", list.join(", "));
        self.with.push(Named { alias: with, columns });
        let types = self.types(1, 4);
        let query = self.query(&types, 2, &Scope::default(), false);
        Node::plain(head, [write, Node::new(Kind::Plain, "{}", [query])])
    }

    /// Names for the columns of something.
    pub(super) fn columns_of(&self, types: &[Ty]) -> Vec<(String, Ty)> {
        types.iter().enumerate().map(|(n, ty)| (format!("c{n}"), *ty)).collect()
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::super::schema::Schema;
    use super::*;

    fn some(seed: u64) -> Vec<String> {
        let mut rng = StdRng::seed_from_u64(seed);
        let schema = Schema::any(&mut rng);
        let mut generator = Generator::new(&mut rng, &schema);
        let mut made = schema.setup.clone();
        made.extend((0..200).map(|_| generator.statement().node.to_string()));
        made
    }

    #[test]
    fn a_seed_makes_the_same_statements() {
        assert_eq!(some(7), some(7));
        assert_ne!(some(7), some(8));
    }

    #[test]
    fn statements_are_whole_and_of_many_kinds() {
        let made: Vec<String> = (0..10).flat_map(some).collect();
        for sql in &made {
            let outside: String = sql.split('\'').step_by(2).collect();
            let count = |c| outside.matches(c).count();
            assert_eq!(count('('), count(')'), "{sql}");
            assert!(
                !sql.contains("{}") || sql.starts_with("INSERT") || sql.starts_with("CREATE"),
                "{sql}"
            );
        }
        for word in [
            "LATERAL",
            "FULL JOIN",
            "USING",
            "NATURAL",
            "EXCEPT ALL",
            "ROLLUP",
            "GROUPING SETS",
            "OVER (",
            "FILTER (",
            "WITH RECURSIVE",
            "ON CONFLICT (id) DO UPDATE",
            "RETURNING",
            "WITH TIES",
            "IS DISTINCT FROM",
            "NOT IN (SELECT",
            "= ANY (",
            "EXISTS (SELECT",
            "DELETE FROM",
            "INSERT INTO",
            "GENERATED ALWAYS",
        ] {
            assert!(made.iter().any(|sql| sql.contains(word)), "nothing with {word}");
        }
    }
}
