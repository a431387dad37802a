//! What can be asked of the shell on the command line?

use std::path::PathBuf;

use crate::render::Format;

/// Options of `conclave sql`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Where to connect: postgres://user:password@host:port/database, or libpq's key=value form.
    #[arg(
        long,
        short = 'u',
        value_name = "URL",
        env = "CONCLAVE_URL",
        default_value = "postgres://conclave@127.0.0.1:15432/conclave"
    )]
    pub url: String,
    /// Folder of certificates: connects over TLS, as the user whose client.USER.crt is there, or with a
    /// password (PGPASSWORD, or asked for).
    #[arg(long, env = "CONCLAVE_CERTS_DIR", value_name = "DIR")]
    pub certs_dir: Option<PathBuf>,
    /// Run these statements (or \commands) and exit. Can be repeated.
    #[arg(short = 'e', long = "execute", value_name = "SQL")]
    pub execute: Vec<String>,
    /// Run the statements in FILE and exit; `-` is standard input. Can be repeated.
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Print results as CSV with a header line.
    #[arg(long, conflicts_with = "expanded")]
    pub csv: bool,
    /// Print each row as a list of its columns.
    #[arg(short = 'x', long)]
    pub expanded: bool,
    /// Print rows only: no header, no row count.
    #[arg(short = 't', long)]
    pub tuples_only: bool,
    /// Print no command tags and no welcome.
    #[arg(short = 'q', long)]
    pub quiet: bool,
    /// Show how long each statement took.
    #[arg(long)]
    pub timing: bool,
    /// With -e and -f, go on after a failed statement. The exit code is still 1.
    #[arg(long)]
    pub keep_going: bool,
    /// Where the history of the line editor is kept.
    #[arg(long, value_name = "FILE", env = "CONCLAVE_HISTORY")]
    pub history: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            url: "postgres://conclave@127.0.0.1:15432/conclave".to_owned(),
            certs_dir: None,
            execute: Vec::new(),
            files: Vec::new(),
            csv: false,
            expanded: false,
            tuples_only: false,
            quiet: false,
            timing: false,
            keep_going: false,
            history: None,
        }
    }
}

impl Options {
    pub(crate) fn format(&self) -> Format {
        match (self.csv, self.expanded) {
            (true, _) => Format::Csv,
            (false, true) => Format::Expanded,
            (false, false) => Format::Aligned,
        }
    }

    /// The history file: as given, or `.conclave_history` in the home directory.
    pub(crate) fn history_file(&self) -> Option<PathBuf> {
        let home = || std::env::var_os("HOME").map(|home| home.into());
        let in_home = |home: PathBuf| home.join(".conclave_history");
        self.history.clone().or_else(|| home().map(in_home))
    }
}
