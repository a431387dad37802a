//! The rows that all begins with (clause 4.3.3), as lines for COPY.

use super::random::{Random, last_name};
use super::schema::{DISTRICTS, Scale, create, finish};
use crate::error::CheckError;
use crate::server::Server;

/// When everything at the beginning happened.
const BEGINNING: &str = "2026-01-01 00:00:00";
/// Rows of stock or items in one COPY.
const BATCH_ROWS: usize = 20_000;

/// Streams of random numbers, one per kind of rows.
const OF_ITEMS: i32 = 1;
const OF_WAREHOUSE: i32 = 2;
const OF_STOCK: i32 = 3;
const OF_DISTRICT: i32 = 4;
const OF_CUSTOMERS: i32 = 5;
const OF_ORDERS: i32 = 6;

/// Makes the tables and fills them.
///
/// # Errors
///
/// The server refuses something.
pub(super) async fn load(server: &Server, scale: Scale) -> Result<(), CheckError> {
    create(server).await?;
    copy_all(server, "item", items(scale)).await?;
    for w in 1..=scale.warehouses {
        copy_all(server, "warehouse", [warehouse(scale, w)].into_iter()).await?;
        copy_all(server, "stock", stock(scale, w)).await?;
        for d in 1..=DISTRICTS {
            copy_all(server, "district", [district(scale, w, d)].into_iter()).await?;
            let (customers, history) = customers(scale, w, d);
            copy_all(server, "customer", customers.into_iter()).await?;
            copy_all(server, "history", history.into_iter()).await?;
            let orders = orders(scale, w, d);
            copy_all(server, "orders", orders.heads.into_iter()).await?;
            copy_all(server, "new_order", orders.new.into_iter()).await?;
            copy_all(server, "order_line", orders.lines.into_iter()).await?;
        }
    }
    finish(server).await
}

async fn copy_all(
    server: &Server,
    table: &str,
    lines: impl Iterator<Item = String>,
) -> Result<(), CheckError> {
    let copy = format!("COPY {table} FROM STDIN");
    let mut lines = lines.peekable();
    while lines.peek().is_some() {
        server.copy(&copy, lines.by_ref().take(BATCH_ROWS)).await?;
    }
    Ok(())
}

/// Values of a line.
fn line(values: &[&dyn std::fmt::Display]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join("\t")
}

fn items(scale: Scale) -> impl Iterator<Item = String> {
    let mut random = Random::new(scale.seed, &[OF_ITEMS]);
    (1..=scale.items).map(move |i| {
        let (image, name) = (random.within(1, 10_000), random.text(14, 24));
        let (price, data) = (cents(random.within(100, 10_000)), random.data());
        line(&[&i, &image, &name, &price, &data])
    })
}

fn cents(cents: i32) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

/// A share of at most that many ten-thousandths.
fn share(random: &mut Random, most: i32) -> String {
    format!("0.{:04}", random.within(0, most))
}

/// Streets, city, state, zip.
fn address(random: &mut Random) -> [String; 5] {
    let [one, two, city] = [(); 3].map(|()| random.text(10, 20));
    [one, two, city, random.text(2, 2), random.digits(4) + "11111"]
}

fn warehouse(scale: Scale, w: i32) -> String {
    let mut random = Random::new(scale.seed, &[OF_WAREHOUSE, w]);
    let (name, address) = (random.text(6, 10), address(&mut random).join("\t"));
    let tax = share(&mut random, 2_000);
    line(&[&w, &name, &address, &tax, &format!("{}.00", 10 * DISTRICTS * scale.customers)])
}

fn district(scale: Scale, w: i32, d: i32) -> String {
    let mut random = Random::new(scale.seed, &[OF_DISTRICT, w, d]);
    let (name, address) = (random.text(6, 10), address(&mut random).join("\t"));
    let (tax, ytd) = (share(&mut random, 2_000), format!("{}.00", 10 * scale.customers));
    line(&[&d, &w, &name, &address, &tax, &ytd, &(scale.customers + 1)])
}

fn stock(scale: Scale, w: i32) -> impl Iterator<Item = String> {
    let mut random = Random::new(scale.seed, &[OF_STOCK, w]);
    (1..=scale.items).map(move |i| {
        let quantity = random.within(10, 100);
        let dist: Vec<String> = (0..DISTRICTS).map(|_| random.text(24, 24)).collect();
        line(&[&i, &w, &quantity, &dist.join("\t"), &0, &0, &0, &random.data()])
    })
}

/// Customers, and the payment that each has made.
fn customers(scale: Scale, w: i32, d: i32) -> (Vec<String>, Vec<String>) {
    let mut random = Random::new(scale.seed, &[OF_CUSTOMERS, w, d]);
    let mut customers = Vec::new();
    let mut history = Vec::new();
    for c in 1..=scale.customers {
        let last = match c {
            ..=1_000 => last_name(c - 1),
            _ => random.last_name_of_load(scale.customers),
        };
        let (first, address) = (random.text(8, 16), address(&mut random).join("\t"));
        let phone = random.digits(16);
        let credit = if random.percent(10) { "BC" } else { "GC" };
        let (discount, data) = (share(&mut random, 5_000), random.text(300, 500));
        customers.push(line(&[
            &c,
            &d,
            &w,
            &first,
            &"OE",
            &last,
            &address,
            &phone,
            &BEGINNING,
            &credit,
            &"50000.00",
            &discount,
            &"-10.00",
            &"10.00",
            &1,
            &0,
            &data,
        ]));
        let data = random.text(12, 24);
        history.push(line(&[&c, &d, &w, &d, &w, &BEGINNING, &"10.00", &data]));
    }
    (customers, history)
}

#[derive(Default)]
struct Orders {
    heads: Vec<String>,
    new: Vec<String>,
    lines: Vec<String>,
}

/// An order of every customer; the last ones are not delivered yet.
fn orders(scale: Scale, w: i32, d: i32) -> Orders {
    const NULL: &str = "\\N";
    let mut random = Random::new(scale.seed, &[OF_ORDERS, w, d]);
    let mut orders = Orders::default();
    for (o, c) in (1..).zip(random.shuffled(scale.customers)) {
        let delivered = o <= scale.delivered();
        let count = random.within(5, 15);
        let carrier = random.within(1, 10).to_string();
        let carrier = if delivered { carrier.as_str() } else { NULL };
        orders.heads.push(line(&[&o, &d, &w, &c, &BEGINNING, &carrier, &count, &1]));
        if !delivered {
            orders.new.push(line(&[&o, &d, &w]));
        }
        for number in 1..=count {
            let item = random.within(1, scale.items);
            let amount = random.within(1, 999_999);
            let (at, amount) = if delivered { (BEGINNING, 0) } else { (NULL, amount) };
            let info = random.text(24, 24);
            orders.lines.push(line(&[
                &o,
                &d,
                &w,
                &number,
                &item,
                &w,
                &at,
                &5,
                &cents(amount),
                &info,
            ]));
        }
    }
    orders
}
