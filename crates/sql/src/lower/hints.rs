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
        let of_index = demanded.iter().filter_map(|conjunct| self.condition(conjunct, scan));
        hints.conditions.extend(of_index.filter(|condition| table.is_computed(condition.column)));
        hints
    }

    /// What a conjunct says of a column of a scan, or of an expression that an index holds, if it is compared
    /// with what is known before the first row is read.
    pub(super) fn condition(&self, conjunct: &Scalar, scan: &Scan) -> Option<Condition> {
        let table = &scan.table;
        let position = |id: ColId| scan.columns.iter().find(|(c, _)| c.id == id).map(|(_, at)| *at);
        let known = |scalar: &Scalar| scalar.is_row_independent() && !scalar.is_volatile();
        // What fails here fails above, if a row is looked at.
        let value = |scalar: &Scalar| eval(scalar, &self.env, &[], &self.ctx.params);
        if let Scalar::InList { needle, list, .. } = conjunct {
            let column = crate::point::column_of(table, needle, &position)?;
            let ty = table.column_at(column).ty;
            if !list.iter().all(|item| known(item) && same_key_form(ty, item.ty())) {
                return None;
            }
            let values: Vec<Datum> = list.iter().map(value).collect::<Result<_, _>>().ok()?;
            return Some(Condition { column, test: Test::one_of(values) });
        }
        let (column, op, constant) = comparison_with(conjunct, table, &position, &known)?;
        let op = match op {
            "=" => Comparison::Equal,
            "<" => Comparison::Less,
            "<=" => Comparison::LessOrEqual,
            ">" => Comparison::Greater,
            ">=" => Comparison::GreaterOrEqual,
            _ => return None,
        };
        Some(Condition { column, test: Test::Compare(op, value(constant).ok()?) })
    }
}
