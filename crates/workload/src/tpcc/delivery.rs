//! Delivery (clause 2.7) and Stock-Level (clause 2.8).

use std::fmt::Write as _;
use std::time::SystemTime;

use super::decimal::Decimal;
use super::schema::DISTRICTS;
use super::terminal::{Terminal, Trouble};

/// Orders of a district that Stock-Level looks at.
const LAST_ORDERS: i32 = 20;

impl Terminal {
    /// Delivers the oldest order of each district that has one.
    pub(super) async fn delivery(
        &mut self,
        w: i32,
        carrier: i32,
        at: SystemTime,
    ) -> Result<String, Trouble> {
        let mut shown = format!("delivery {w} by {carrier}:");
        for d in 1..=DISTRICTS {
            let oldest = "SELECT no_o_id FROM new_order WHERE no_w_id = $1 AND no_d_id = $2
                          ORDER BY no_o_id LIMIT 1 FOR UPDATE";
            let Some(row) = self.rows(oldest, &[&w, &d]).await?.pop() else {
                write!(shown, " {d} nothing").expect("a string");
                continue;
            };
            let order: i32 = row.try_get(0)?;
            let not_new =
                "DELETE FROM new_order WHERE no_w_id = $1 AND no_d_id = $2 AND no_o_id = $3";
            self.rows(not_new, &[&w, &d, &order]).await?;
            let carried = "UPDATE orders SET o_carrier_id = $1
                           WHERE o_w_id = $2 AND o_d_id = $3 AND o_id = $4 RETURNING o_c_id";
            let row = self.row(carried, &[&carrier, &w, &d, &order]).await?;
            let c: i32 = row.try_get(0)?;
            let delivered = "UPDATE order_line SET ol_delivery_d = $1
                             WHERE ol_w_id = $2 AND ol_d_id = $3 AND ol_o_id = $4";
            self.rows(delivered, &[&at, &w, &d, &order]).await?;
            let sum = "SELECT sum(ol_amount) FROM order_line
                       WHERE ol_w_id = $1 AND ol_d_id = $2 AND ol_o_id = $3";
            let row = self.row(sum, &[&w, &d, &order]).await?;
            let amount: Decimal = row.try_get(0)?;
            let owed = "UPDATE customer SET c_balance = c_balance + $1, c_delivery_cnt = c_delivery_cnt + 1
                        WHERE c_w_id = $2 AND c_d_id = $3 AND c_id = $4";
            self.rows(owed, &[&amount, &w, &d, &c]).await?;
            write!(shown, " {d} order {order} of {c} {amount}").expect("a string");
        }
        Ok(shown)
    }

    /// How many items of a district's last orders run short.
    pub(super) async fn stock_level(
        &mut self,
        w: i32,
        d: i32,
        threshold: i32,
    ) -> Result<String, Trouble> {
        let next = "SELECT d_next_o_id FROM district WHERE d_w_id = $1 AND d_id = $2";
        let row = self.row(next, &[&w, &d]).await?;
        let next: i32 = row.try_get(0)?;
        let low = "SELECT count(DISTINCT s_i_id) FROM order_line, stock
                   WHERE ol_w_id = $1 AND ol_d_id = $2 AND ol_o_id >= $3 AND ol_o_id < $4
                       AND s_w_id = $1 AND s_i_id = ol_i_id AND s_quantity < $5";
        let from = next - LAST_ORDERS;
        let row = self.row(low, &[&w, &d, &from, &next, &threshold]).await?;
        let count: i64 = row.try_get(0)?;
        Ok(format!("stock-level {w}/{d}: {count} below {threshold}"))
    }
}
