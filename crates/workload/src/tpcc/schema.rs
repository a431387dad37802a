//! The nine tables (clause 1.3), and how large they are.

use super::TpccArgs;
use crate::error::CheckError;
use crate::server::Server;

/// Districts of a warehouse.
pub(super) const DISTRICTS: i32 = 10;

/// How many rows there are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    pub warehouses: i32,
    pub items: i32,
    /// Of a district; as many orders has it to begin with.
    pub customers: i32,
    pub seed: u64,
}

impl Scale {
    /// Checks the flags.
    pub(super) fn of(args: &TpccArgs) -> Result<Scale, CheckError> {
        let TpccArgs { warehouses, items, customers, seed, .. } = *args;
        if warehouses < 1 || items < 20 || customers < 10 {
            let least = "at least 1 warehouse, 20 items and 10 customers";
            return Err(CheckError::Refused(least.to_owned()));
        }
        Ok(Scale { warehouses, items, customers, seed })
    }

    /// The last order that is delivered at the beginning: of 3,000 the first 2,100 are.
    pub(super) fn delivered(&self) -> i32 {
        self.customers * 7 / 10
    }
}

/// A table.
pub(super) struct Table {
    pub name: &'static str,
    columns: &'static str,
    /// Columns that no two rows are alike in.
    pub key: &'static str,
}

pub(super) const TABLES: [Table; 9] = [
    Table {
        name: "warehouse",
        columns: "w_id integer PRIMARY KEY, w_name varchar(10), w_street_1 varchar(20),
            w_street_2 varchar(20), w_city varchar(20), w_state char(2), w_zip char(9),
            w_tax numeric(4,4), w_ytd numeric(12,2)",
        key: "w_id",
    },
    Table {
        name: "district",
        columns: "d_id integer, d_w_id integer, d_name varchar(10), d_street_1 varchar(20),
            d_street_2 varchar(20), d_city varchar(20), d_state char(2), d_zip char(9),
            d_tax numeric(4,4), d_ytd numeric(12,2), d_next_o_id integer, PRIMARY KEY (d_w_id, d_id)",
        key: "d_w_id, d_id",
    },
    Table {
        name: "customer",
        columns: "c_id integer, c_d_id integer, c_w_id integer, c_first varchar(16), c_middle char(2),
            c_last varchar(16), c_street_1 varchar(20), c_street_2 varchar(20), c_city varchar(20),
            c_state char(2), c_zip char(9), c_phone char(16), c_since timestamp, c_credit char(2),
            c_credit_lim numeric(12,2), c_discount numeric(4,4), c_balance numeric(12,2),
            c_ytd_payment numeric(12,2), c_payment_cnt integer, c_delivery_cnt integer,
            c_data varchar(500), PRIMARY KEY (c_w_id, c_d_id, c_id)",
        key: "c_w_id, c_d_id, c_id",
    },
    Table {
        name: "history",
        columns: "h_c_id integer, h_c_d_id integer, h_c_w_id integer, h_d_id integer, h_w_id integer,
            h_date timestamp, h_amount numeric(6,2), h_data varchar(24)",
        key: "h_c_w_id, h_c_d_id, h_c_id, h_w_id, h_d_id, h_date, h_amount",
    },
    Table {
        name: "item",
        columns: "i_id integer PRIMARY KEY, i_im_id integer, i_name varchar(24), i_price numeric(5,2),
            i_data varchar(50)",
        key: "i_id",
    },
    Table {
        name: "stock",
        columns: "s_i_id integer, s_w_id integer, s_quantity integer, s_dist_01 char(24),
            s_dist_02 char(24), s_dist_03 char(24), s_dist_04 char(24), s_dist_05 char(24),
            s_dist_06 char(24), s_dist_07 char(24), s_dist_08 char(24), s_dist_09 char(24),
            s_dist_10 char(24), s_ytd integer, s_order_cnt integer, s_remote_cnt integer,
            s_data varchar(50), PRIMARY KEY (s_w_id, s_i_id)",
        key: "s_w_id, s_i_id",
    },
    Table {
        name: "orders",
        columns: "o_id integer, o_d_id integer, o_w_id integer, o_c_id integer, o_entry_d timestamp,
            o_carrier_id integer, o_ol_cnt integer, o_all_local integer,
            PRIMARY KEY (o_w_id, o_d_id, o_id)",
        key: "o_w_id, o_d_id, o_id",
    },
    Table {
        name: "new_order",
        columns: "no_o_id integer, no_d_id integer, no_w_id integer,
            PRIMARY KEY (no_w_id, no_d_id, no_o_id)",
        key: "no_w_id, no_d_id, no_o_id",
    },
    Table {
        name: "order_line",
        columns: "ol_o_id integer, ol_d_id integer, ol_w_id integer, ol_number integer,
            ol_i_id integer, ol_supply_w_id integer, ol_delivery_d timestamp, ol_quantity integer,
            ol_amount numeric(6,2), ol_dist_info char(24),
            PRIMARY KEY (ol_w_id, ol_d_id, ol_o_id, ol_number)",
        key: "ol_w_id, ol_d_id, ol_o_id, ol_number",
    },
];

/// What transactions look for that is no primary key, and the foreign keys: made when the rows are there.
const AFTERWARDS: [&str; 12] = [
    "CREATE INDEX customer_by_name ON customer (c_w_id, c_d_id, c_last, c_first)",
    "CREATE INDEX orders_by_customer ON orders (o_w_id, o_d_id, o_c_id, o_id)",
    "ALTER TABLE district ADD FOREIGN KEY (d_w_id) REFERENCES warehouse",
    "ALTER TABLE customer ADD FOREIGN KEY (c_w_id, c_d_id) REFERENCES district",
    "ALTER TABLE history ADD FOREIGN KEY (h_c_w_id, h_c_d_id, h_c_id) REFERENCES customer",
    "ALTER TABLE history ADD FOREIGN KEY (h_w_id, h_d_id) REFERENCES district",
    "ALTER TABLE stock ADD FOREIGN KEY (s_w_id) REFERENCES warehouse",
    "ALTER TABLE stock ADD FOREIGN KEY (s_i_id) REFERENCES item",
    "ALTER TABLE orders ADD FOREIGN KEY (o_w_id, o_d_id, o_c_id) REFERENCES customer",
    "ALTER TABLE new_order ADD FOREIGN KEY (no_w_id, no_d_id, no_o_id) REFERENCES orders",
    "ALTER TABLE order_line ADD FOREIGN KEY (ol_w_id, ol_d_id, ol_o_id) REFERENCES orders",
    "ALTER TABLE order_line ADD FOREIGN KEY (ol_supply_w_id, ol_i_id) REFERENCES stock",
];

/// Makes the tables, without foreign keys.
pub(super) async fn create(server: &Server) -> Result<(), CheckError> {
    for Table { name, columns, .. } in &TABLES {
        server.setup(&format!("CREATE TABLE {name} ({columns})")).await?;
    }
    Ok(())
}

/// Makes indexes and foreign keys, and looks at the rows.
pub(super) async fn finish(server: &Server) -> Result<(), CheckError> {
    for statement in AFTERWARDS {
        server.setup(statement).await?;
    }
    server.setup("ANALYZE").await
}
