//! New-Order (clause 2.4) and Order-Status (clause 2.6).

use std::fmt::Write as _;
use std::time::SystemTime;

use super::decimal::Decimal;
use super::input::{Customer, Line};
use super::terminal::{Terminal, Trouble, moment};

/// The statement that looks at the stock, for the text of a district.
macro_rules! stock {
    ($($district:literal),*) => {
        [$(concat!(
            "SELECT s_quantity, s_data, s_dist_", $district,
            " FROM stock WHERE s_w_id = $1 AND s_i_id = $2 FOR UPDATE"
        )),*]
    };
}

const STOCK: [&str; 10] = stock!("01", "02", "03", "04", "05", "06", "07", "08", "09", "10");

impl Terminal {
    /// Enters an order; nothing if an item is not there.
    pub(super) async fn new_order(
        &mut self,
        (w, d, c): (i32, i32, i32),
        lines: &[Line],
        at: SystemTime,
    ) -> Result<Option<String>, Trouble> {
        let row = self.row("SELECT w_tax FROM warehouse WHERE w_id = $1", &[&w]).await?;
        let w_tax: Decimal = row.try_get(0)?;
        let next =
            "UPDATE district SET d_next_o_id = d_next_o_id + 1 WHERE d_w_id = $1 AND d_id = $2
                    RETURNING d_tax, d_next_o_id - 1";
        let row = self.row(next, &[&w, &d]).await?;
        let (d_tax, order): (Decimal, i32) = (row.try_get(0)?, row.try_get(1)?);
        let who = "SELECT c_discount, c_last, c_credit FROM customer
                   WHERE c_w_id = $1 AND c_d_id = $2 AND c_id = $3";
        let row = self.row(who, &[&w, &d, &c]).await?;
        let discount: Decimal = row.try_get(0)?;
        let (last, credit): (String, String) = (row.try_get(1)?, row.try_get(2)?);

        let count = i32::try_from(lines.len()).expect("at most fifteen");
        let local = i32::from(lines.iter().all(|line| line.from == w));
        let head =
            "INSERT INTO orders (o_id, o_d_id, o_w_id, o_c_id, o_entry_d, o_ol_cnt, o_all_local)
                    VALUES ($1, $2, $3, $4, $5, $6, $7)";
        self.rows(head, &[&order, &d, &w, &c, &at, &count, &local]).await?;
        let new = "INSERT INTO new_order (no_o_id, no_d_id, no_w_id) VALUES ($1, $2, $3)";
        self.rows(new, &[&order, &d, &w]).await?;

        let mut shown = format!(
            "new-order {w}/{d}/{c}: {last} {credit} {discount}, order {order}, tax {w_tax} {d_tax}"
        );
        let mut sum = 0;
        for (number, line) in (1..).zip(lines) {
            let Some(amount) = self.order_line((w, d, order), number, line, &mut shown).await?
            else {
                return Ok(None);
            };
            sum += amount.units(2);
        }
        // In units of 10^-10: money has two digits, each of the factors four.
        let total = i128::from(sum)
            * i128::from(10_000 - discount.units(4))
            * i128::from(10_000 + w_tax.units(4) + d_tax.units(4));
        let one = 10_000_000_000;
        write!(shown, "; total {}.{:010}", total / one, total % one).expect("a string");
        Ok(Some(shown))
    }

    /// Takes an item from the stock and adds it to the order; answers what it costs.
    async fn order_line(
        &mut self,
        (w, d, order): (i32, i32, i32),
        number: i32,
        &Line { item, from, quantity }: &Line,
        shown: &mut String,
    ) -> Result<Option<Decimal>, Trouble> {
        let what = "SELECT i_price, i_name, i_data FROM item WHERE i_id = $1";
        let Some(row) = self.rows(what, &[&item]).await?.pop() else { return Ok(None) };
        let price: Decimal = row.try_get(0)?;
        let (name, i_data): (String, String) = (row.try_get(1)?, row.try_get(2)?);

        let look = STOCK[usize::try_from(d - 1).expect("districts begin with one")];
        let row = self.row(look, &[&from, &item]).await?;
        let before: i32 = row.try_get(0)?;
        let (s_data, info): (String, String) = (row.try_get(1)?, row.try_get(2)?);
        let left = if before >= quantity + 10 { before - quantity } else { before - quantity + 91 };
        let take =
            "UPDATE stock SET s_quantity = $1, s_ytd = s_ytd + $2, s_order_cnt = s_order_cnt + 1,
                        s_remote_cnt = s_remote_cnt + $3
                    WHERE s_w_id = $4 AND s_i_id = $5";
        let remote = i32::from(from != w);
        self.rows(take, &[&left, &quantity, &remote, &from, &item]).await?;

        let amount = Decimal::cents(price.units(2) * i64::from(quantity));
        let add =
            "INSERT INTO order_line (ol_o_id, ol_d_id, ol_w_id, ol_number, ol_i_id, ol_supply_w_id,
                       ol_quantity, ol_amount, ol_dist_info)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        self.rows(add, &[&order, &d, &w, &number, &item, &from, &quantity, &amount, &info]).await?;
        let brand = i_data.contains("ORIGINAL") && s_data.contains("ORIGINAL");
        let brand = if brand { 'B' } else { 'G' };
        write!(shown, "; {from} {item} {name} {quantity} of {left} {brand} {price} {amount}")
            .expect("a string");
        Ok(Some(amount))
    }

    /// The last order of a customer.
    pub(super) async fn order_status(&mut self, customer: &Customer) -> Result<String, Trouble> {
        let &Customer { w, d, .. } = customer;
        let c = self.customer(customer).await?;
        let who = "SELECT c_balance, c_first, c_middle, c_last FROM customer
                   WHERE c_w_id = $1 AND c_d_id = $2 AND c_id = $3";
        let row = self.row(who, &[&w, &d, &c]).await?;
        let balance: Decimal = row.try_get(0)?;
        let [first, middle, last] =
            [row.try_get(1)?, row.try_get(2)?, row.try_get::<_, String>(3)?];
        let newest = "SELECT o_id, o_entry_d, o_carrier_id FROM orders
                      WHERE o_w_id = $1 AND o_d_id = $2 AND o_c_id = $3 ORDER BY o_id DESC LIMIT 1";
        let row = self.row(newest, &[&w, &d, &c]).await?;
        let (order, at): (i32, SystemTime) = (row.try_get(0)?, row.try_get(1)?);
        let carrier: Option<i32> = row.try_get(2)?;
        let mut shown = format!(
            "order-status {w}/{d}/{c}: {first} {middle} {last} {balance}, order {order} of {} by {carrier:?}",
            moment(at)
        );
        let lines =
            "SELECT ol_i_id, ol_supply_w_id, ol_quantity, ol_amount, ol_delivery_d FROM order_line
                     WHERE ol_w_id = $1 AND ol_d_id = $2 AND ol_o_id = $3 ORDER BY ol_number";
        for row in self.rows(lines, &[&w, &d, &order]).await? {
            let (item, from): (i32, i32) = (row.try_get(0)?, row.try_get(1)?);
            let (quantity, amount): (i32, Decimal) = (row.try_get(2)?, row.try_get(3)?);
            let delivered: Option<SystemTime> = row.try_get(4)?;
            let delivered = delivered.map_or_else(|| "not".to_owned(), moment);
            write!(shown, "; {from} {item} {quantity} {amount} {delivered}").expect("a string");
        }
        Ok(shown)
    }
}
