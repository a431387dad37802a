//! The tables, with their keys, and the rows that the generator makes for them.

use std::fmt::Display;

use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator,
    PartSuppGenerator, RegionGenerator, SupplierGenerator,
};

use crate::error::CheckError;
use crate::server::Server;

/// Rows of one COPY: a transaction of moderate size.
const BATCH_ROWS: usize = 50_000;

type Lines = Box<dyn Iterator<Item = String> + Send>;

struct Table {
    name: &'static str,
    columns: &'static str,
    lines: fn(f64) -> Lines,
}

/// Lines for COPY: the generator's, which end in a separator.
fn lines<R: Display>(rows: impl Iterator<Item = R> + Send + 'static) -> Lines {
    Box::new(rows.map(|row| {
        let mut line = row.to_string();
        let end = line.pop();
        debug_assert_eq!(end, Some('|'));
        line
    }))
}

const TABLES: [Table; 8] = [
    Table {
        name: "region",
        columns: "r_regionkey integer PRIMARY KEY, r_name char(25) NOT NULL, r_comment varchar(152)",
        lines: |scale| lines(RegionGenerator::new(scale, 1, 1).iter()),
    },
    Table {
        name: "nation",
        columns: "n_nationkey integer PRIMARY KEY, n_name char(25) NOT NULL,
            n_regionkey integer NOT NULL, n_comment varchar(152)",
        lines: |scale| lines(NationGenerator::new(scale, 1, 1).iter()),
    },
    Table {
        name: "part",
        columns:
            "p_partkey integer PRIMARY KEY, p_name varchar(55) NOT NULL, p_mfgr char(25) NOT NULL,
            p_brand char(10) NOT NULL, p_type varchar(25) NOT NULL, p_size integer NOT NULL,
            p_container char(10) NOT NULL, p_retailprice decimal(15,2) NOT NULL,
            p_comment varchar(23) NOT NULL",
        lines: |scale| lines(PartGenerator::new(scale, 1, 1).iter()),
    },
    Table {
        name: "supplier",
        columns: "s_suppkey integer PRIMARY KEY, s_name char(25) NOT NULL,
            s_address varchar(40) NOT NULL, s_nationkey integer NOT NULL, s_phone char(15) NOT NULL,
            s_acctbal decimal(15,2) NOT NULL, s_comment varchar(101) NOT NULL",
        lines: |scale| lines(SupplierGenerator::new(scale, 1, 1).iter()),
    },
    Table {
        name: "partsupp",
        columns: "ps_partkey integer NOT NULL, ps_suppkey integer NOT NULL,
            ps_availqty integer NOT NULL, ps_supplycost decimal(15,2) NOT NULL,
            ps_comment varchar(199) NOT NULL, PRIMARY KEY (ps_partkey, ps_suppkey)",
        lines: |scale| lines(PartSuppGenerator::new(scale, 1, 1).iter()),
    },
    Table {
        name: "customer",
        columns: "c_custkey integer PRIMARY KEY, c_name varchar(25) NOT NULL,
            c_address varchar(40) NOT NULL, c_nationkey integer NOT NULL, c_phone char(15) NOT NULL,
            c_acctbal decimal(15,2) NOT NULL, c_mktsegment char(10) NOT NULL,
            c_comment varchar(117) NOT NULL",
        lines: |scale| lines(CustomerGenerator::new(scale, 1, 1).iter()),
    },
    Table {
        name: "orders",
        columns: "o_orderkey bigint PRIMARY KEY, o_custkey integer NOT NULL,
            o_orderstatus char(1) NOT NULL, o_totalprice decimal(15,2) NOT NULL,
            o_orderdate date NOT NULL, o_orderpriority char(15) NOT NULL, o_clerk char(15) NOT NULL,
            o_shippriority integer NOT NULL, o_comment varchar(79) NOT NULL",
        lines: |scale| lines(OrderGenerator::new(scale, 1, 1).iter()),
    },
    Table {
        name: "lineitem",
        columns:
            "l_orderkey bigint NOT NULL, l_partkey integer NOT NULL, l_suppkey integer NOT NULL,
            l_linenumber integer NOT NULL, l_quantity decimal(15,2) NOT NULL,
            l_extendedprice decimal(15,2) NOT NULL, l_discount decimal(15,2) NOT NULL,
            l_tax decimal(15,2) NOT NULL, l_returnflag char(1) NOT NULL,
            l_linestatus char(1) NOT NULL, l_shipdate date NOT NULL, l_commitdate date NOT NULL,
            l_receiptdate date NOT NULL, l_shipinstruct char(25) NOT NULL,
            l_shipmode char(10) NOT NULL, l_comment varchar(44) NOT NULL,
            PRIMARY KEY (l_orderkey, l_linenumber)",
        lines: |scale| lines(LineItemGenerator::new(scale, 1, 1).iter()),
    },
];

/// Added when the rows are there, so that each is checked by one join.
const FOREIGN_KEYS: [(&str, &str, &str); 8] = [
    ("nation", "n_regionkey", "region"),
    ("supplier", "s_nationkey", "nation"),
    ("customer", "c_nationkey", "nation"),
    ("partsupp", "ps_partkey", "part"),
    ("partsupp", "ps_suppkey", "supplier"),
    ("orders", "o_custkey", "customer"),
    ("lineitem", "l_orderkey", "orders"),
    ("lineitem", "l_partkey, l_suppkey", "partsupp"),
];

/// Without it PostgreSQL reads all lines again and again in queries 17 and 20.
const INDEX: &str = "CREATE INDEX lineitem_by_part ON lineitem (l_partkey, l_suppkey)";

/// Makes the tables and fills them.
///
/// # Errors
///
/// The server refuses something.
pub(super) async fn load(server: &Server, scale: f64) -> Result<(), CheckError> {
    for Table { name, columns, lines } in &TABLES {
        server.setup(&format!("CREATE TABLE {name} ({columns})")).await?;
        let copy = format!("COPY {name} FROM STDIN (DELIMITER '|')");
        let mut lines = lines(scale).peekable();
        while lines.peek().is_some() {
            server.copy(&copy, lines.by_ref().take(BATCH_ROWS)).await?;
        }
    }
    for (table, columns, referenced) in FOREIGN_KEYS {
        let key =
            format!("ALTER TABLE {table} ADD FOREIGN KEY ({columns}) REFERENCES {referenced}");
        server.setup(&key).await?;
    }
    server.setup(INDEX).await?;
    server.setup("ANALYZE").await
}
