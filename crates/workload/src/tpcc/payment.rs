//! Payment (clause 2.5), and how customers are found by their last name.

use std::time::SystemTime;

use super::decimal::Decimal;
use super::input::{By, Customer};
use super::terminal::{Terminal, Trouble};

/// Characters that are kept of what is noted of a customer with bad credit.
const DATA_MAX: usize = 500;
/// Of them, those that are shown.
const DATA_SHOWN: usize = 200;

impl Terminal {
    /// The number of a customer.
    pub(super) async fn customer(&mut self, customer: &Customer) -> Result<i32, Trouble> {
        let name = match &customer.by {
            By::Number(number) => return Ok(*number),
            By::LastName(name) => name,
        };
        let all = "SELECT c_id FROM customer WHERE c_w_id = $1 AND c_d_id = $2 AND c_last = $3
                   ORDER BY c_first, c_id";
        let rows = self.rows(all, &[&customer.w, &customer.d, name]).await?;
        let middle = rows.len().div_ceil(2).checked_sub(1);
        let row = middle.map(|at| &rows[at]).ok_or(Trouble::Missing("customer of that name"))?;
        Ok(row.try_get(0)?)
    }

    /// Takes money from a customer.
    pub(super) async fn payment(
        &mut self,
        (w, d): (i32, i32),
        customer: &Customer,
        amount: Decimal,
        at: SystemTime,
    ) -> Result<String, Trouble> {
        let of_w = "UPDATE warehouse SET w_ytd = w_ytd + $1 WHERE w_id = $2
                    RETURNING w_name, concat_ws(' ', w_street_1, w_street_2, w_city, w_state, w_zip)";
        let row = self.row(of_w, &[&amount, &w]).await?;
        let (w_name, w_address): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let of_d = "UPDATE district SET d_ytd = d_ytd + $1 WHERE d_w_id = $2 AND d_id = $3
                    RETURNING d_name, concat_ws(' ', d_street_1, d_street_2, d_city, d_state, d_zip)";
        let row = self.row(of_d, &[&amount, &w, &d]).await?;
        let (d_name, d_address): (String, String) = (row.try_get(0)?, row.try_get(1)?);

        let c = self.customer(customer).await?;
        let &Customer { w: c_w, d: c_d, .. } = customer;
        let who = "SELECT concat_ws(' ', c_first, c_middle, c_last, c_street_1, c_street_2, c_city, c_state,
                       c_zip, c_phone), c_credit, c_credit_lim, c_discount, c_balance, c_data
                   FROM customer WHERE c_w_id = $1 AND c_d_id = $2 AND c_id = $3 FOR UPDATE";
        let row = self.row(who, &[&c_w, &c_d, &c]).await?;
        let (person, credit): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let (limit, discount): (Decimal, Decimal) = (row.try_get(2)?, row.try_get(3)?);
        let balance: Decimal = row.try_get(4)?;
        let balance = Decimal::cents(balance.units(2) - amount.units(2));
        let mut shown = format!(
            "payment {w}/{d}: {w_address}, {d_address}, {c_w}/{c_d}/{c} {person} {credit} {limit} \
             {discount} paid {amount} has {balance}"
        );
        if credit == "BC" {
            let data: String = row.try_get(5)?;
            let mut data = format!("{c} {c_d} {c_w} {d} {w} {amount} {data}");
            data.truncate(DATA_MAX);
            let note = "UPDATE customer SET c_balance = $1, c_ytd_payment = c_ytd_payment + $2,
                            c_payment_cnt = c_payment_cnt + 1, c_data = $3
                        WHERE c_w_id = $4 AND c_d_id = $5 AND c_id = $6";
            self.rows(note, &[&balance, &amount, &data, &c_w, &c_d, &c]).await?;
            data.truncate(DATA_SHOWN);
            shown.extend([", ", &data]);
        } else {
            let pay = "UPDATE customer SET c_balance = $1, c_ytd_payment = c_ytd_payment + $2,
                           c_payment_cnt = c_payment_cnt + 1
                       WHERE c_w_id = $3 AND c_d_id = $4 AND c_id = $5";
            self.rows(pay, &[&balance, &amount, &c_w, &c_d, &c]).await?;
        }
        let data = format!("{w_name}    {d_name}");
        let note = "INSERT INTO history (h_c_id, h_c_d_id, h_c_w_id, h_d_id, h_w_id, h_date, h_amount, h_data)
                    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
        self.rows(note, &[&c, &c_d, &c_w, &d, &w, &at, &amount, &data]).await?;
        Ok(shown)
    }
}
