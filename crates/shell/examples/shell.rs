//! The shell by itself, for hand runs against any PostgreSQL-wire server.

use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: shell::Options,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match shell::run(Arguments::parse().options).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}
