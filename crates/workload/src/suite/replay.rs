//! The records of one file, one after another, on one server.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use parking_lot::Mutex;
use sqllogictest::{Control, DefaultColumnType, QueryExpect, Record, ResultMode, Runner};

use super::Target;
use super::script::is_hashed;
use super::wire::{Failed, Printed, Wire, connect};

type Connecting = Pin<Box<dyn Future<Output = Result<Wire, Failed>> + Send>>;

/// The runner of a file's records, with the connections that they name.
pub(super) struct Replay {
    runner: Runner<Wire, Box<dyn FnMut() -> Connecting + Send>>,
    printed: Arc<Mutex<Printed>>,
    /// Values are compared one by one, printed by the types that a record names.
    of_sqlite: bool,
}

impl Replay {
    /// Connects, when a record asks, to the database of that name, the servers in turn.
    pub(super) fn new(target: &Target, urls: &[String], database: &str, of_sqlite: bool) -> Replay {
        let printed = Arc::new(Mutex::new(Printed::AsSent));
        let (connector, engine) = (target.connector.clone(), target.engine);
        let (urls, database, shared) = (urls.to_vec(), database.to_owned(), printed.clone());
        let mut turn = 0;
        let make = move || -> Connecting {
            let url = urls[turn % urls.len()].clone();
            turn += 1;
            let (connector, database) = (connector.clone(), database.clone());
            let printed = shared.clone();
            Box::pin(async move {
                let client = connect(&connector, &url, Some(&database)).await?;
                Ok(Wire { client, engine, printed })
            })
        };
        let mut runner = Runner::new(Box::new(make) as Box<dyn FnMut() -> Connecting + Send>);
        for label in &target.labels {
            runner.add_label(label);
        }
        Replay { runner, printed, of_sqlite }
    }

    /// Runs a record; tells why it did not do as it says.
    pub(super) async fn run(&mut self, record: Record<DefaultColumnType>) -> Result<(), String> {
        if let Record::Query { expected: QueryExpect::Results { types, results, .. }, .. } = &record
        {
            *self.printed.lock() = match self.of_sqlite {
                true => Printed::BySqlite(types.clone()),
                false => Printed::AsSent,
            };
            self.runner.with_hash_threshold(usize::from(is_hashed(results)));
            if self.of_sqlite {
                // Files name the mode nowhere, and a record may have changed it.
                let by_value = Record::Control(Control::ResultMode(ResultMode::ValueWise));
                drop(self.runner.run_async(by_value).await);
            }
        }
        self.runner.run_async(record).await.map(drop).map_err(|error| error.to_string())
    }
}
