//! The consistency conditions of clause 3.3.2, as queries that count what breaks them.
//!
//! Number 11 is left out: it holds at the beginning only.

use crate::compare::Answer;
use crate::server::Server;

/// Number, and the query.
const CONDITIONS: [(u8, &str); 11] = [
    (
        1,
        "SELECT count(*) FROM warehouse
         WHERE w_ytd IS DISTINCT FROM (SELECT sum(d_ytd) FROM district WHERE d_w_id = w_id)",
    ),
    (
        2,
        "SELECT count(*) FROM district
         WHERE d_next_o_id - 1 IS DISTINCT FROM
                 (SELECT max(o_id) FROM orders WHERE o_w_id = d_w_id AND o_d_id = d_id)
             OR d_next_o_id - 1 <>
                 (SELECT max(no_o_id) FROM new_order WHERE no_w_id = d_w_id AND no_d_id = d_id)",
    ),
    (
        3,
        "SELECT count(*) FROM (
             SELECT max(no_o_id) - min(no_o_id) + 1 - count(*) AS gap
             FROM new_order GROUP BY no_w_id, no_d_id
         ) AS districts WHERE gap <> 0",
    ),
    (
        4,
        "SELECT count(*)
         FROM (SELECT o_w_id, o_d_id, sum(o_ol_cnt) AS told FROM orders GROUP BY o_w_id, o_d_id) AS o
             FULL JOIN (
                 SELECT ol_w_id, ol_d_id, count(*) AS there FROM order_line GROUP BY ol_w_id, ol_d_id
             ) AS ol ON ol_w_id = o_w_id AND ol_d_id = o_d_id
         WHERE told IS DISTINCT FROM there",
    ),
    (
        5,
        "SELECT count(*)
         FROM orders LEFT JOIN new_order
             ON no_w_id = o_w_id AND no_d_id = o_d_id AND no_o_id = o_id
         WHERE (o_carrier_id IS NULL) <> (no_o_id IS NOT NULL)",
    ),
    (
        6,
        "SELECT count(*)
         FROM orders LEFT JOIN (
                 SELECT ol_w_id, ol_d_id, ol_o_id, count(*) AS there
                 FROM order_line GROUP BY ol_w_id, ol_d_id, ol_o_id
             ) AS ol ON ol_w_id = o_w_id AND ol_d_id = o_d_id AND ol_o_id = o_id
         WHERE o_ol_cnt <> coalesce(there, 0)",
    ),
    (
        7,
        "SELECT count(*)
         FROM order_line JOIN orders ON o_w_id = ol_w_id AND o_d_id = ol_d_id AND o_id = ol_o_id
         WHERE (ol_delivery_d IS NULL) <> (o_carrier_id IS NULL)",
    ),
    (
        8,
        "SELECT count(*) FROM warehouse
         WHERE w_ytd IS DISTINCT FROM (SELECT sum(h_amount) FROM history WHERE h_w_id = w_id)",
    ),
    (
        9,
        "SELECT count(*) FROM district
         WHERE d_ytd IS DISTINCT FROM
             (SELECT sum(h_amount) FROM history WHERE h_w_id = d_w_id AND h_d_id = d_id)",
    ),
    (
        10,
        "SELECT count(*)
         FROM customer
             LEFT JOIN (
                 SELECT h_c_w_id, h_c_d_id, h_c_id, sum(h_amount) AS paid
                 FROM history GROUP BY h_c_w_id, h_c_d_id, h_c_id
             ) AS h ON h_c_w_id = c_w_id AND h_c_d_id = c_d_id AND h_c_id = c_id
             LEFT JOIN (
                 SELECT o_w_id, o_d_id, o_c_id, sum(ol_amount) AS got
                 FROM orders JOIN order_line
                     ON ol_w_id = o_w_id AND ol_d_id = o_d_id AND ol_o_id = o_id
                 WHERE ol_delivery_d IS NOT NULL GROUP BY o_w_id, o_d_id, o_c_id
             ) AS o ON o_w_id = c_w_id AND o_d_id = c_d_id AND o_c_id = c_id
         WHERE c_balance IS DISTINCT FROM coalesce(got, 0) - paid",
    ),
    (
        12,
        "SELECT count(*)
         FROM customer
             LEFT JOIN (
                 SELECT o_w_id, o_d_id, o_c_id, sum(ol_amount) AS got
                 FROM orders JOIN order_line
                     ON ol_w_id = o_w_id AND ol_d_id = o_d_id AND ol_o_id = o_id
                 WHERE ol_delivery_d IS NOT NULL GROUP BY o_w_id, o_d_id, o_c_id
             ) AS o ON o_w_id = c_w_id AND o_d_id = c_d_id AND o_c_id = c_id
         WHERE c_balance + c_ytd_payment <> coalesce(got, 0)",
    ),
];

/// The conditions that do not hold, with what the server said.
pub(super) async fn broken(server: &mut Server) -> Vec<String> {
    let mut broken = Vec::new();
    for (number, sql) in CONDITIONS {
        let said = match server.ask(sql).await {
            Answer::Rows { rows, .. } => match rows.first().and_then(|row| row[0].as_deref()) {
                Some("0") => continue,
                count => format!("{} rows break it", count.unwrap_or("no")),
            },
            Answer::Error(state, message) => format!("{state} {message}"),
            Answer::Lost(why) => why,
        };
        broken.push(format!("condition {number}: {said}"));
    }
    broken
}
