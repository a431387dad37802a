//! What a scan is told of the filters above it beyond what DataFusion hands down: conditions on expressions
//! that an index holds, and which partial indexes have all rows that are wanted.
//!
//! A filter goes on to stand where it stands; what is said here chooses an index and no more.

use pgtypes::Datum;

use super::Lowerer;
use crate::exec::condition::{Comparison, Condition, Test};
use crate::exec::provider::Hints;
use crate::indexed::Demands;
use crate::ir::{ColId, Scalar, Scan, eval};
use crate::point::{comparison_with, same_key_form};

impl Lowerer<'_> {
    /// The input of a filter has to meet what was demanded above it, and the filter.
    pub(super) fn demand(&mut self, above: Vec<Scalar>, predicate: &Scalar) {
        self.demanded = above;
        self.demanded.extend(predicate.conjuncts().iter().cloned());
    }

    pub(super) fn hints(&self, scan: &Scan, demanded: &[Scalar]) -> Hints {
        let table = &scan.table;
        let position = |id: ColId| scan.columns.iter().find(|(c, _)| c.id == id).map(|(_, at)| *at);
        let demands = Demands::new(table, demanded.iter(), &position, &self.ctx.params);
        let implied = table.indexes.iter().filter(|index| demands.imply(index));
        let mut hints = Hints { conditions: Vec::new(), implied: implied.map(|i| i.id).collect() };
        if table.computed.is_empty() {
            return hints;
        }
        let known = |scalar: &Scalar| scalar.is_row_independent() && !scalar.is_volatile();
        for conjunct in demanded {
            let found = comparison_with(conjunct, table, &position, &known);
            let Some((column, op, value)) = found.filter(|(at, ..)| table.is_computed(*at)) else {
                continue;
            };
            let op = match op {
                "=" => Comparison::Equal,
                "<" => Comparison::Less,
                "<=" => Comparison::LessOrEqual,
                ">" => Comparison::Greater,
                ">=" => Comparison::GreaterOrEqual,
                _ => continue,
            };
            // What fails here fails above, if a row is looked at.
            let Ok(value) = eval(value, &self.env, &[], &self.ctx.params) else { continue };
            hints.conditions.push(Condition { column, test: Test::Compare(op, value) });
        }
        for conjunct in demanded {
            let Scalar::InList { needle, list, .. } = conjunct else { continue };
            let at = crate::point::column_of(table, needle, &position);
            let Some(column) = at.filter(|at| table.is_computed(*at)) else { continue };
            let ty = table.column_at(column).ty;
            if !list.iter().all(|item| known(item) && same_key_form(ty, item.ty())) {
                continue;
            }
            let values: Result<Vec<Datum>, _> =
                list.iter().map(|item| eval(item, &self.env, &[], &self.ctx.params)).collect();
            let Ok(values) = values else { continue };
            hints.conditions.push(Condition { column, test: Test::one_of(values) });
        }
        hints
    }
}
