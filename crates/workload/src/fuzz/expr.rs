//! Expressions of a wanted type.

use super::scope::{Generator, Scope};
use super::tree::{Kind, Node};
use super::types::Ty;

use Ty::{
    Bool, Date, Float8, Int2, Int4, Int4Array, Int8, Interval, Jsonb, Numeric, Text, TextArray,
    Timestamp, Varchar,
};

impl Generator<'_> {
    /// An expression of that type, so deep at most.
    pub(super) fn expr(&mut self, ty: Ty, depth: usize, scope: &Scope) -> Node {
        if scope.windows.is_some() && self.chance(0.2) {
            return self.window(ty, scope);
        }
        if scope.aggregates && self.chance(0.4) {
            return self.aggregate(ty, scope);
        }
        if depth == 0 || self.chance(0.25) {
            return self.leaf(ty, scope);
        }
        let (d, rest) = (depth - 1, self.below(20));
        match rest {
            0 => {
                let (when, then) = (self.expr(Bool, d, scope), self.expr(ty, d, scope));
                let otherwise = self.expr(ty, d, scope);
                let parts = [when, then, otherwise];
                Node::expr(ty, "CASE WHEN {} THEN {} ELSE {} END", parts)
            }
            1 => self.two(ty, "COALESCE({}, {})", (ty, ty), d, scope),
            2 => self.two(ty, "NULLIF({}, {})", (ty, ty), d, scope),
            3 => {
                let template = self.pick(&["GREATEST({}, {})", "LEAST({}, {})"]);
                self.two(ty, template, (ty, ty), d, scope)
            }
            4 => {
                let query = self.one_row(ty, d, scope);
                Node::expr(ty, "({})", [query])
            }
            5 => {
                let operand = Ty::any(self.rng);
                let tested = self.expr(operand, d, scope);
                let (equal, then) = (self.expr(operand, d, scope), self.expr(ty, d, scope));
                Node::expr(ty, "CASE {} WHEN {} THEN {} END", [tested, equal, then])
            }
            _ => self.by_type(ty, d, scope),
        }
    }

    fn by_type(&mut self, ty: Ty, d: usize, scope: &Scope) -> Node {
        match ty {
            Bool => self.condition(d, scope),
            Int2 => self.one(Int2, "CAST({} AS smallint)", Int2, d, scope),
            Int4 => self.integer(d, scope),
            Int8 => match self.below(3) {
                0 => self.one(Int8, "CAST({} AS bigint)", Int4, d, scope),
                1 => self.two(Int8, "({} + {})", (Int8, Int4), d, scope),
                _ => self.two(Int8, "({} - {})", (Int8, Int8), d, scope),
            },
            Numeric => match self.below(6) {
                0 => self.two(Numeric, "({} / NULLIF({}, 0))", (Numeric, Numeric), d, scope),
                1 => self.two(Numeric, "({} + {})", (Numeric, Int8), d, scope),
                2 => self.two(Numeric, "({} * {})", (Numeric, Numeric), d, scope),
                3 => self.one(Numeric, "round({}, 1)", Numeric, d, scope),
                4 => self.one(Numeric, "EXTRACT(day FROM {})", Timestamp, d, scope),
                _ => self.one(Numeric, "(- {})", Numeric, d, scope),
            },
            Float8 => match self.below(4) {
                0 => self.one(Float8, "CAST({} AS double precision)", Int4, d, scope),
                1 => self.two(Float8, "({} - {})", (Float8, Int4), d, scope),
                2 => self.one(Float8, "abs({})", Float8, d, scope),
                _ => self.two(Float8, "({} + {})", (Float8, Float8), d, scope),
            },
            Text => self.text(d, scope),
            Varchar => self.one(Varchar, "CAST({} AS varchar)", Text, d, scope),
            Date => match self.below(3) {
                0 => self.one(Date, "CAST({} AS date)", Timestamp, d, scope),
                _ => self.two(Date, "({} + {})", (Date, Int4), d, scope),
            },
            Timestamp => match self.below(3) {
                0 => self.one(Timestamp, "date_trunc('month', {})", Timestamp, d, scope),
                1 => self.two(Timestamp, "({} + {})", (Date, Interval), d, scope),
                _ => self.two(Timestamp, "({} - {})", (Timestamp, Interval), d, scope),
            },
            Interval => match self.below(3) {
                0 => self.two(Interval, "({} - {})", (Timestamp, Timestamp), d, scope),
                1 => self.two(Interval, "({} * {})", (Interval, Int4), d, scope),
                _ => self.two(Interval, "({} + {})", (Interval, Interval), d, scope),
            },
            Int4Array => match self.below(4) {
                0 => self.two(Int4Array, "ARRAY[{}, {}]", (Int4, Int4), d, scope),
                1 => self.two(Int4Array, "({} || {})", (Int4Array, Int4Array), d, scope),
                2 => self.two(Int4Array, "array_append({}, {})", (Int4Array, Int4), d, scope),
                _ => {
                    let query = self.query(&[Int4], d, scope, true);
                    Node::expr(Int4Array, "ARRAY({})", [query])
                }
            },
            TextArray => match self.below(2) {
                0 => self.two(TextArray, "ARRAY[{}, {}]", (Text, Text), d, scope),
                _ => self.one(TextArray, "string_to_array({}, ' ')", Text, d, scope),
            },
            Jsonb => match self.below(3) {
                0 => self.one(Jsonb, "to_jsonb({})", Int4, d, scope),
                1 => self.two(Jsonb, "jsonb_build_array({}, {})", (Int4, Text), d, scope),
                _ => self.one(Jsonb, "({} -> 'a')", Jsonb, d, scope),
            },
        }
    }

    fn integer(&mut self, d: usize, scope: &Scope) -> Node {
        match self.below(12) {
            0 => self.one(Int4, "length({})", Text, d, scope),
            1 => self.one(Int4, "abs({})", Int4, d, scope),
            2 => self.two(Int4, "({} % NULLIF({}, 0))", (Int4, Int4), d, scope),
            3 => self.two(Int4, "({} * {})", (Int4, Int2), d, scope),
            4 => self.one(Int4, "CAST({} AS integer)", Bool, d, scope),
            5 => self.one(Int4, "cardinality({})", Int4Array, d, scope),
            6 => self.two(Int4, "({} - {})", (Date, Date), d, scope),
            7 => self.two(Int4, "({})[{}]", (Int4Array, Int4), d, scope),
            8 if self.chance(0.3) => {
                self.risky = true;
                let template = self.pick(&["({} / {})", "({} % {})"]);
                self.two(Int4, template, (Int4, Int4), d, scope)
            }
            9 => self.one(Int4, "(- {})", Int4, d, scope),
            _ => {
                let template = self.pick(&["({} + {})", "({} - {})"]);
                self.two(Int4, template, (Int4, Int4), d, scope)
            }
        }
    }

    fn text(&mut self, d: usize, scope: &Scope) -> Node {
        match self.below(9) {
            0 => self.two(Text, "({} || {})", (Text, Text), d, scope),
            1 => self.one(Text, "upper({})", Text, d, scope),
            2 => self.one(Text, "left({}, 1)", Text, d, scope),
            3 => self.two(Text, "concat({}, {})", (Text, Int4), d, scope),
            4 => self.one(Text, "substr({}, 2)", Text, d, scope),
            5 => self.two(Text, "({} || {})", (Text, Int4), d, scope),
            6 => self.one(Text, "({} ->> 'a')", Jsonb, d, scope),
            7 => self.one(Text, "array_to_string({}, '-')", TextArray, d, scope),
            _ => {
                let from = Ty::any(self.rng);
                self.one(Text, "CAST({} AS text)", from, d, scope)
            }
        }
    }

    /// A condition that is more than a column.
    pub(super) fn condition(&mut self, d: usize, scope: &Scope) -> Node {
        let ty = Ty::any(self.rng);
        match self.below(22) {
            0..=4 => {
                let template = self.pick(&[
                    "({} = {})",
                    "({} <> {})",
                    "({} < {})",
                    "({} <= {})",
                    "({} > {})",
                    "({} >= {})",
                    "({} IS DISTINCT FROM {})",
                    "({} IS NOT DISTINCT FROM {})",
                ]);
                self.two(Bool, template, (ty, ty), d, scope)
            }
            5..=7 => {
                let template = self.pick(&["({} AND {})", "({} OR {})", "({} = {})"]);
                self.two(Bool, template, (Bool, Bool), d, scope)
            }
            8 => self.one(Bool, "(NOT {})", Bool, d, scope),
            9 => {
                let template = self.pick(&["({} IS NULL)", "({} IS NOT NULL)"]);
                self.one(Bool, template, ty, d, scope)
            }
            10 => {
                let template = self.pick(&["({} IS TRUE)", "({} IS NOT FALSE)", "({} IS UNKNOWN)"]);
                self.one(Bool, template, Bool, d, scope)
            }
            11 => {
                let template = self.pick(&[
                    "({} BETWEEN {} AND {})",
                    "({} NOT BETWEEN {} AND {})",
                    "({} BETWEEN SYMMETRIC {} AND {})",
                ]);
                let parts = [(); 3].map(|()| self.expr(ty, d, scope));
                Node::expr(Bool, template, parts)
            }
            12 | 13 => {
                let template = self.pick(&["({} IN ({}))", "({} NOT IN ({}))"]);
                let needle = self.expr(ty, d, scope);
                let count = 1 + self.below(4);
                let items = (0..count).map(|_| self.expr(ty, d.min(1), scope)).collect();
                Node::expr(Bool, template, [needle, Node::list(1, ", ", items)])
            }
            14 | 15 => {
                let template = self.pick(&[
                    "({} IN ({}))",
                    "({} NOT IN ({}))",
                    "({} = ANY ({}))",
                    "({} < ANY ({}))",
                    "({} >= ALL ({}))",
                    "({} <> ALL ({}))",
                ]);
                let needle = self.expr(ty, d, scope);
                Node::expr(Bool, template, [needle, self.query(&[ty], d, scope, false)])
            }
            16 | 17 => {
                let template = self.pick(&["EXISTS ({})", "(NOT EXISTS ({}))"]);
                let types = self.types(1, 3);
                Node::expr(Bool, template, [self.query(&types, d, scope, false)])
            }
            18 => {
                let template =
                    self.pick(&["({} LIKE {})", "({} NOT ILIKE {})", "starts_with({}, {})"]);
                self.two(Bool, template, (Text, Text), d, scope)
            }
            19 => {
                let other = Ty::any(self.rng);
                let template = self.pick(&[
                    "(({}, {}) = ({}, {}))",
                    "(({}, {}) < ({}, {}))",
                    "(({}, {}) >= ({}, {}))",
                    "(({}, {}) IS DISTINCT FROM ({}, {}))",
                ]);
                let parts = [ty, other, ty, other].map(|ty| self.expr(ty, d.min(1), scope));
                Node::expr(Bool, template, parts)
            }
            20 => {
                let other = Ty::any(self.rng);
                let template = self.pick(&["(({}, {}) IN ({}))", "(({}, {}) NOT IN ({}))"]);
                let left = [ty, other].map(|ty| self.expr(ty, d.min(1), scope));
                let query = self.query(&[ty, other], d, scope, false);
                let [a, b] = left;
                Node::expr(Bool, template, [a, b, query])
            }
            _ => match self.below(4) {
                0 => self.two(Bool, "({} @> {})", (Int4Array, Int4Array), d, scope),
                1 => self.two(Bool, "({} && {})", (TextArray, TextArray), d, scope),
                2 => self.two(Bool, "({} = ANY ({}))", (Int4, Int4Array), d, scope),
                _ => self.two(Bool, "({} @> {})", (Jsonb, Jsonb), d, scope),
            },
        }
    }

    fn one(&mut self, ty: Ty, template: &str, of: Ty, d: usize, scope: &Scope) -> Node {
        Node::expr(ty, template, [self.expr(of, d, scope)])
    }

    fn two(&mut self, ty: Ty, template: &str, of: (Ty, Ty), d: usize, scope: &Scope) -> Node {
        let parts = [self.expr(of.0, d, scope), self.expr(of.1, d, scope)];
        Node::expr(ty, template, parts)
    }

    /// A column, a constant, or NULL.
    pub(super) fn leaf(&mut self, ty: Ty, scope: &Scope) -> Node {
        let choice = self.below(20);
        if choice == 0 {
            return Node::expr(ty, format!("NULL::{}", ty.name()), []);
        }
        let named: Vec<Node> = match &scope.grouped {
            Some(grouped) => {
                grouped.iter().filter(|node| node.kind == Kind::Expr(ty)).cloned().collect()
            }
            None => {
                let columns = scope.from.iter().flat_map(|named| {
                    let fitting = named.columns.iter().filter(|(_, of)| *of == ty);
                    fitting.map(|(name, _)| format!("{}.{name}", named.alias))
                });
                columns.map(|text| Node::expr(ty, text, [])).collect()
            }
        };
        if choice < 5 || named.is_empty() {
            return Node::expr(ty, ty.literal(self.rng), []);
        }
        let n = self.below(named.len());
        named.into_iter().nth(n).expect("one of them")
    }
}
