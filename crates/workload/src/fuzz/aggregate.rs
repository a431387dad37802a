//! Aggregates and window functions whose result does not depend on the order of rows.

use super::scope::{Generator, Scope};
use super::tree::Node;
use super::types::Ty;

use Ty::{Bool, Float8, Int2, Int4, Int4Array, Int8, Jsonb, Numeric, Text, TextArray};

impl Generator<'_> {
    /// An aggregate of that type.
    pub(super) fn aggregate(&mut self, ty: Ty, scope: &Scope) -> Node {
        // One that takes columns around the query only belongs to the query around.
        let inner = if self.chance(0.03) { scope.plain() } else { scope.aggregated() };
        let call = self.aggregate_call(ty, &inner);
        let filter = if self.chance(0.15) {
            Node::optional(" FILTER (WHERE {})", [self.expr(Bool, 1, &inner)])
        } else {
            Node::nothing()
        };
        match call {
            Some((template, of)) => {
                let argument = self.expr(of, 1, &inner);
                // Ordered by what they take, so that it is written twice.
                if template.matches("{}").count() == 2 {
                    // A constant without a type gets one twice, and is not the same then.
                    let argument = format!("CAST({argument} AS {})", of.name());
                    let text = template.replacen("{}", &argument, 2);
                    return Node::expr(ty, format!("{text}{{}}"), [filter]);
                }
                Node::expr(ty, format!("{template}{{}}"), [argument, filter])
            }
            None => match ty {
                Int8 => Node::expr(ty, "count(*){}", [filter]),
                _ => self.leaf(ty, scope),
            },
        }
    }

    /// A call with the argument left open, and the argument's type.
    fn aggregate_call(&mut self, ty: Ty, _scope: &Scope) -> Option<(&'static str, Ty)> {
        let any = Ty::any(self.rng);
        match ty {
            Bool => Some((self.pick(&["bool_and({})", "bool_or({})", "every({})"]), Bool)),
            Int8 => match self.below(5) {
                0 => None,
                1 => Some(("count({})", any)),
                2 => Some(("count(DISTINCT {})", any)),
                3 => Some(("sum({})", Int2)),
                _ => Some((self.pick(&["sum({})", "sum(DISTINCT {})"]), Int4)),
            },
            Numeric => match self.below(4) {
                0 => Some(("sum({})", Int8)),
                1 => Some((self.pick(&["avg({})", "avg(DISTINCT {})"]), Int4)),
                2 => Some(("avg({})", Numeric)),
                _ => Some(("sum({})", Numeric)),
            },
            Float8 => Some((self.pick(&["sum({})", "max({})"]), Float8)),
            Text if self.chance(0.5) => Some((
                self.pick(&[
                    "string_agg({}, ',' ORDER BY {})",
                    "string_agg(DISTINCT {}, ',' ORDER BY {} DESC)",
                ]),
                Text,
            )),
            Int4Array if self.chance(0.7) => Some((
                self.pick(&[
                    "array_agg({} ORDER BY {})",
                    "array_agg(DISTINCT {} ORDER BY {} DESC NULLS LAST)",
                ]),
                Int4,
            )),
            TextArray if self.chance(0.7) => Some(("array_agg({} ORDER BY {})", Text)),
            Jsonb | Ty::Varchar => None,
            _ => Some((self.pick(&["min({})", "max({})"]), ty)),
        }
    }

    /// A window function of that type.
    pub(super) fn window(&mut self, ty: Ty, scope: &Scope) -> Node {
        let Some(order) = scope.windows.clone() else { return self.leaf(ty, scope) };
        let inner = scope.plain();
        let partition = if self.chance(0.5) {
            let by = Ty::any(self.rng);
            Node::optional("PARTITION BY {} ", [self.expr(by, 1, &inner)])
        } else {
            Node::nothing()
        };
        let aggregate = match self.below(3) {
            0 => self
                .aggregate_call(ty, &inner)
                .filter(|(call, _)| !call.contains("DISTINCT") && !call.contains("ORDER BY")),
            _ => None,
        };
        if let Some((call, of)) = aggregate {
            let argument = self.expr(of, 1, &inner);
            let frame = self.frame();
            return Node::expr(
                ty,
                format!("{call} OVER ({{}}ORDER BY {order}{{}})"),
                [argument, partition, frame],
            );
        }
        let call = match (ty, self.below(4)) {
            (Int8, 0) => Node::plain("row_number()", []),
            (Int8, 1) => Node::plain("rank()", []),
            (Int8, 2) => Node::plain("dense_rank()", []),
            (Int8, _) => Node::plain("count(*)", []),
            (Int4, 0) => Node::plain("ntile(3)", []),
            (Float8, 0) => Node::plain("percent_rank()", []),
            (Float8, 1) => Node::plain("cume_dist()", []),
            (_, 0) => {
                let parts = [self.expr(ty, 1, &inner), self.expr(ty, 1, &inner)];
                Node::plain("lag({}, 1, {})", parts)
            }
            (_, 1) => Node::plain("lead({}, 2)", [self.expr(ty, 1, &inner)]),
            (_, 2) => {
                let frame = self.frame();
                let value = self.expr(ty, 1, &inner);
                let parts = [value, partition, frame];
                let name = self.pick(&["first_value({})", "last_value({})", "nth_value({}, 2)"]);
                return Node::expr(ty, format!("{name} OVER ({{}}ORDER BY {order}{{}})"), parts);
            }
            _ => return self.leaf(ty, scope),
        };
        Node::expr(ty, format!("{{}} OVER ({{}}ORDER BY {order})"), [call, partition])
    }

    fn frame(&mut self) -> Node {
        if self.chance(0.5) {
            return Node::nothing();
        }
        let (unit, start, end) = (
            self.pick(&["ROWS", "RANGE", "GROUPS"]),
            self.pick(&["UNBOUNDED PRECEDING", "1 PRECEDING", "CURRENT ROW"]),
            self.pick(&["CURRENT ROW", "1 FOLLOWING", "UNBOUNDED FOLLOWING"]),
        );
        // RANGE with an offset needs one key of a type that has one.
        let fits = |bound: &str| unit != "RANGE" || !bound.starts_with('1');
        if !fits(start) || !fits(end) {
            return Node::nothing();
        }
        let exclude =
            self.pick(&["", "", " EXCLUDE CURRENT ROW", " EXCLUDE TIES", " EXCLUDE GROUP"]);
        Node::optional(format!(" {unit} BETWEEN {start} AND {end}{exclude}"), [])
    }
}
