//! The command line: one subcommand per thing a person does with a cluster.
//!
//! Every flag can also be given by an environment variable `CONCLAVE_…`, which `--help` names.

mod start;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub(crate) use start::{StartArgs, StartSingleArgs};

/// Conclave: a distributed SQL database that speaks PostgreSQL.
#[derive(Debug, Parser)]
#[command(name = "conclave", version, about, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs one node of a cluster.
    ///
    /// Start as many as you like with the same --join list, then run `conclave init` once against
    /// any of them.
    Start(StartArgs),
    /// Runs a cluster of one node, initialised at once.
    StartSingle(StartSingleArgs),
    /// Initialises a new cluster, once, on a node that was started with `conclave start`.
    Init(crate::cluster::InitArgs),
    /// Makes the certificates of a secure cluster: of its authority, its nodes, its users.
    Cert(crate::certificates::CertArgs),
    /// Runs a whole cluster in one process on a temporary folder, with a sample database.
    ///
    /// Opens a shell on it; without a terminal it runs a demonstration and ends.
    Demo(crate::demo::DemoArgs),
    /// Opens an SQL shell, or runs statements with -e or -f.
    Sql(shell::Options),
    /// Checks that a cluster keeps its promises: clients, faults, a verdict.
    ///
    /// Every transaction is recorded; afterwards a search for orders that the isolation level forbids
    /// tells of the first ones it finds. Exit code 1: there are some.
    Check(workload::CheckArgs),
    /// Runs sqllogictest files against a server, each in a database of its own.
    ///
    /// Exit code 1: a record did not do as it says.
    Test(workload::suite::SuiteArgs),
    /// Sends random statements to a server and to PostgreSQL, and compares the answers.
    ///
    /// What differs is made as small as possible and told with the tables it needs. Exit code 1:
    /// something differs that is not meant to.
    Fuzz(workload::fuzz::FuzzArgs),
    /// Runs the 22 queries of TPC-H on a server, and beside PostgreSQL if it is given.
    ///
    /// Makes a database `tpch`, loads it, and tells of each query whether the answers are the same, and
    /// how long they took. Exit code 1: an answer is not as it should be.
    Tpch(workload::tpch::TpchArgs),
    /// Runs TPC-C's transactions on a server.
    ///
    /// Makes a database `tpcc` and loads it. Then the same transactions run one after another there and on
    /// PostgreSQL, if it is given, and all answers and tables are compared; or, with --terminals, many
    /// terminals work at once. Exit code 1: something differs, or a consistency condition does not hold.
    Tpcc(workload::tpcc::TpccArgs),
    /// Shows the nodes and ranges of a running cluster.
    Status(crate::status::StatusArgs),
}

/// Parses the command line and runs what it names.
pub(crate) fn run() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Start(args) => start::run(args),
        Command::StartSingle(args) => start::run_single(args),
        Command::Init(args) => crate::cluster::run_init(args),
        Command::Cert(args) => crate::certificates::run(args),
        Command::Demo(args) => crate::demo::run(args),
        Command::Sql(options) => return run_shell(options),
        Command::Check(args) => return verdict(workload::check(&args)),
        Command::Test(args) => return verdict(workload::suite::test(&args)),
        Command::Fuzz(args) => return verdict(workload::fuzz::fuzz(&args)),
        Command::Tpch(args) => return verdict(workload::tpch::tpch(&args)),
        Command::Tpcc(args) => return verdict(workload::tpcc::tpcc(&args)),
        Command::Status(args) => crate::status::run(args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            ExitCode::FAILURE
        }
    }
}

fn verdict(outcome: Result<bool, workload::CheckError>) -> ExitCode {
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            report(&error);
            // Not the code of a failure: nothing was found out.
            ExitCode::from(2)
        }
    }
}

fn run_shell(options: shell::Options) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            report(&crate::error::StartError::Runtime(error));
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(shell::run(options)) {
        Ok(code) => code,
        Err(error) => {
            report(&error);
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "the last word of a failed command is for its user")]
fn report(error: &dyn std::error::Error) {
    eprint!("conclave: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        eprint!(": {cause}");
        source = cause.source();
    }
    eprintln!();
}
