//! A terminal: a connection that carries out one transaction after another.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Statement};

use super::input::Input;
use crate::connect::Connector;
use crate::error::CheckError;
use crate::server::{Made, Server};

/// The name of the database.
pub(super) const DATABASE: &str = "tpcc";
/// How often a transaction is begun again before it counts as failed.
const ATTEMPTS: u32 = 100;

/// Why a transaction could not be carried out.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// The server said so, or is gone.
    #[error("{0:?}")]
    Server(#[from] tokio_postgres::Error),
    /// A row that must be there is not.
    #[error("no {0}")]
    Missing(&'static str),
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Late(Duration),
}

impl Trouble {
    /// SQLSTATE; empty if the server said nothing.
    pub(super) fn code(&self) -> &str {
        match self {
            Trouble::Server(error) => error.code().map_or("", |code| code.code()),
            Trouble::Missing(_) | Trouble::Late(_) => "",
        }
    }

    /// Whether the same transaction may succeed another time: others were in its way.
    fn passes(&self) -> bool {
        matches!(self.code(), "40001" | "40P01")
    }
}

/// A connection, and statements that it has prepared.
pub(super) struct Terminal {
    server: Server,
    prepared: HashMap<&'static str, Statement>,
    patience: Duration,
    /// Transactions that were begun again.
    pub retries: u64,
}

impl Terminal {
    /// Connects to the database.
    pub(super) async fn open(
        url: &str,
        connector: &Connector,
        patience: Duration,
    ) -> Result<Terminal, CheckError> {
        let server = Server::open(url, connector, DATABASE, Made::Before, patience).await?;
        Ok(Terminal { server, prepared: HashMap::new(), patience, retries: 0 })
    }

    /// The rows that a statement answers.
    pub(super) async fn rows(
        &mut self,
        sql: &'static str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Trouble> {
        let client = self.server.client();
        let statement = match self.prepared.get(sql) {
            Some(statement) => statement,
            None => {
                let statement = client.prepare(sql).await?;
                self.prepared.entry(sql).or_insert(statement)
            }
        };
        Ok(client.query(statement, params).await?)
    }

    /// The row that a statement answers.
    pub(super) async fn row(
        &mut self,
        sql: &'static str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Row, Trouble> {
        self.rows(sql, params).await?.pop().ok_or(Trouble::Missing(sql))
    }

    /// Carries a transaction out, again if others were in the way; answers what the terminal shows.
    pub(super) async fn perform(
        &mut self,
        input: &Input,
        at: SystemTime,
    ) -> Result<String, Trouble> {
        let mut attempts = 1;
        loop {
            let patience = self.patience;
            let tried = tokio::time::timeout(patience, self.attempt(input, at)).await;
            let trouble = match tried {
                Ok(Ok(shown)) => return Ok(shown),
                Ok(Err(trouble)) => trouble,
                Err(_) => return Err(Trouble::Late(patience)),
            };
            if !self.server.client().is_closed() {
                self.end("ROLLBACK").await?;
            }
            if !trouble.passes() || attempts == ATTEMPTS {
                return Err(trouble);
            }
            attempts += 1;
            self.retries += 1;
        }
    }

    async fn attempt(&mut self, input: &Input, at: SystemTime) -> Result<String, Trouble> {
        self.end("BEGIN").await?;
        let shown = match input {
            Input::NewOrder { w, d, c, lines } => {
                match self.new_order((*w, *d, *c), lines, at).await? {
                    Some(shown) => shown,
                    None => {
                        self.end("ROLLBACK").await?;
                        return Ok(format!("new-order {w}/{d}/{c}: item number is not valid"));
                    }
                }
            }
            Input::Payment { w, d, customer, amount } => {
                self.payment((*w, *d), customer, *amount, at).await?
            }
            Input::OrderStatus(customer) => self.order_status(customer).await?,
            Input::Delivery { w, carrier } => self.delivery(*w, *carrier, at).await?,
            Input::StockLevel { w, d, threshold } => self.stock_level(*w, *d, *threshold).await?,
        };
        self.end("COMMIT").await?;
        Ok(shown)
    }

    async fn end(&mut self, sql: &str) -> Result<(), Trouble> {
        Ok(self.server.client().batch_execute(sql).await?)
    }
}

/// A moment as text.
pub(super) fn moment(at: SystemTime) -> String {
    match at.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => since.as_secs().to_string(),
        Err(before) => format!("-{}", before.duration().as_secs()),
    }
}
