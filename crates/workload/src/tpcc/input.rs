//! What is typed at a terminal (clauses 2.4.1, 2.5.1, 2.6.1, 2.7.1, 2.8.1).

use super::decimal::Decimal;
use super::random::Random;
use super::schema::{DISTRICTS, Scale};

/// A kind of transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    NewOrder,
    Payment,
    OrderStatus,
    Delivery,
    StockLevel,
}

/// A transaction with its values.
#[derive(Debug, Clone)]
pub(super) enum Input {
    NewOrder { w: i32, d: i32, c: i32, lines: Vec<Line> },
    Payment { w: i32, d: i32, customer: Customer, amount: Decimal },
    OrderStatus(Customer),
    Delivery { w: i32, carrier: i32 },
    StockLevel { w: i32, d: i32, threshold: i32 },
}

/// A line of an order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line {
    pub item: i32,
    /// The warehouse that supplies it.
    pub from: i32,
    pub quantity: i32,
}

/// Somebody, of a district of a warehouse.
#[derive(Debug, Clone)]
pub(super) struct Customer {
    pub w: i32,
    pub d: i32,
    pub by: By,
}

/// How customers are found.
#[derive(Debug, Clone)]
pub(super) enum By {
    Number(i32),
    /// Several have it: the one in the middle, by first name.
    LastName(String),
}

impl Input {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Input::NewOrder { .. } => Kind::NewOrder,
            Input::Payment { .. } => Kind::Payment,
            Input::OrderStatus(_) => Kind::OrderStatus,
            Input::Delivery { .. } => Kind::Delivery,
            Input::StockLevel { .. } => Kind::StockLevel,
        }
    }

    /// Whether an order has an item that nobody has, so that it is rolled back.
    pub(super) fn is_void(&self, scale: Scale) -> bool {
        match self {
            Input::NewOrder { lines, .. } => lines.iter().any(|line| line.item > scale.items),
            _ => false,
        }
    }

    /// The next one at a terminal of that warehouse, which asks for the stock of that district.
    pub(super) fn next(random: &mut Random, scale: Scale, w: i32, own: i32) -> Input {
        let d = random.within(1, DISTRICTS);
        match random.within(1, 100) {
            1..=45 => Self::new_order(random, scale, w, d),
            46..=88 => {
                let (mut of_w, mut of_d) = (w, d);
                if scale.warehouses > 1 && random.percent(15) {
                    (of_w, of_d) = (another(random, scale, w), random.within(1, DISTRICTS));
                }
                let customer = Customer::any(random, scale, of_w, of_d);
                let amount = Decimal::cents(i64::from(random.within(100, 500_000)));
                Input::Payment { w, d, customer, amount }
            }
            89..=92 => Input::OrderStatus(Customer::any(random, scale, w, d)),
            93..=96 => Input::Delivery { w, carrier: random.within(1, 10) },
            _ => Input::StockLevel { w, d: own, threshold: random.within(10, 20) },
        }
    }

    fn new_order(random: &mut Random, scale: Scale, w: i32, d: i32) -> Input {
        let c = random.customer(scale.customers);
        let count = random.within(5, 15);
        let mut lines: Vec<Line> = (0..count)
            .map(|_| {
                let item = random.item(scale.items);
                let remote = scale.warehouses > 1 && random.percent(1);
                let from = if remote { another(random, scale, w) } else { w };
                Line { item, from, quantity: random.within(1, 10) }
            })
            .collect();
        if random.percent(1) {
            // Nobody has it: the order is rolled back.
            lines.last_mut().expect("at least five").item = scale.items + 1;
        }
        Input::NewOrder { w, d, c, lines }
    }
}

impl Customer {
    fn any(random: &mut Random, scale: Scale, w: i32, d: i32) -> Customer {
        let by = match random.percent(60) {
            true => By::LastName(random.last_name(scale.customers)),
            false => By::Number(random.customer(scale.customers)),
        };
        Customer { w, d, by }
    }
}

fn another(random: &mut Random, scale: Scale, w: i32) -> i32 {
    let other = random.within(1, scale.warehouses - 1);
    if other >= w { other + 1 } else { other }
}
