//! In which order is what done, and when does it stop?
//!
//! [`Shell`] is the state of a run: the connection, how results are shown, where output goes. It
//! reads pieces from an input and hands statements to `statement`, commands to `meta`.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, PoisonError, RwLock};

use futures::FutureExt;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::editor::Terminal;
use crate::error::ShellError;
use crate::input::{Input, Line};
use crate::names::{NAMES_QUERY, Names};
use crate::options::Options;
use crate::password;
use crate::render::Style;
use crate::splitter::{Piece, Splitter};
use crate::startup;
use crate::tls::Target;
use crate::wire::{Connection, Status};

const INTERRUPTED: u8 = 130;

/// What a piece of input leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// The next piece is read.
    Continue,
    /// The next piece is read, if failures do not end the run.
    Failed,
    /// The run is over.
    Quit,
    /// Ctrl-C ended the run.
    Interrupted,
}

/// A run of the shell.
pub(crate) struct Shell {
    pub(crate) target: Target,
    /// None after it was lost and until the next statement tries again.
    pub(crate) connection: Option<Connection>,
    pub(crate) style: Style,
    pub(crate) timing: bool,
    pub(crate) quiet: bool,
    /// A person sits at the terminal: failures do not end the run, a lost connection is replaced.
    pub(crate) interactive: bool,
    pub(crate) names_stale: bool,
    pub(crate) out: Box<dyn Write + Send>,
    pub(crate) err: Box<dyn Write + Send>,
    pub(crate) interrupts: Signal,
    /// Standard input as data for the COPY statements of the command line.
    pub(crate) data: Option<Input>,
    names: Arc<RwLock<Names>>,
    failed: bool,
    options: Options,
}

impl Shell {
    /// Where certificates are, if the command line says.
    pub(crate) fn certs_dir(&self) -> Option<std::path::PathBuf> {
        self.options.certs_dir.clone()
    }

    /// Connects, with output to the terminal.
    pub(crate) async fn connect(options: Options) -> Result<Self, ShellError> {
        let out = io::BufWriter::with_capacity(64 * 1024, io::stdout());
        Self::connect_to(options, Box::new(out), Box::new(io::stderr())).await
    }

    /// Connects, with output to where the caller says.
    pub(crate) async fn connect_to(
        options: Options,
        out: Box<dyn Write + Send>,
        err: Box<dyn Write + Send>,
    ) -> Result<Self, ShellError> {
        let mut target = Target::parse(&options.url, options.certs_dir.clone())?;
        let connection = match startup::connect(&target).await {
            Err(ShellError::PasswordNeeded(user)) if io::stdin().is_terminal() => {
                let prompt = format!("Password for user {user}: ");
                target.config.password(password::ask(&prompt)?);
                startup::connect(&target).await?
            }
            other => other?,
        };
        let format = options.format();
        Ok(Self {
            target,
            connection: Some(connection),
            style: Style { format, null: String::new(), tuples_only: options.tuples_only },
            timing: options.timing,
            quiet: options.quiet,
            interactive: false,
            names_stale: true,
            out,
            err,
            interrupts: signal(SignalKind::interrupt()).map_err(ShellError::Terminal)?,
            data: None,
            names: Arc::default(),
            failed: false,
            options,
        })
    }

    /// Does everything the options ask for.
    pub(crate) async fn run(mut self) -> Result<ExitCode, ShellError> {
        let ended = self.run_inputs().await;
        let flushed = self.out.flush();
        if let Some(connection) = self.connection.take() {
            // Nobody is left to hear that the farewell could not be sent.
            drop(connection.terminate().await);
        }
        match ended {
            Err(ShellError::Terminal(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                Ok(ExitCode::SUCCESS)
            }
            Err(error) => Err(error),
            Ok(Flow::Interrupted) => Ok(ExitCode::from(INTERRUPTED)),
            Ok(_) => {
                flushed.map_err(ShellError::Terminal)?;
                Ok(if self.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
            }
        }
    }

    async fn run_inputs(&mut self) -> Result<Flow, ShellError> {
        let (execute, files) = (self.options.execute.clone(), self.options.files.clone());
        if execute.is_empty() && files.is_empty() {
            if io::stdin().is_terminal() {
                return self.converse().await;
            }
            return self.work_through(&mut Input::stdin()).await;
        }
        for text in &execute {
            let flow = self.work_through(&mut Input::text(text)).await?;
            if flow != Flow::Continue {
                return Ok(flow);
            }
        }
        for path in &files {
            let flow = self.work_through_file(path).await?;
            if flow != Flow::Continue {
                return Ok(flow);
            }
        }
        Ok(Flow::Continue)
    }

    /// The conversation with a person.
    async fn converse(&mut self) -> Result<Flow, ShellError> {
        self.interactive = true;
        if !self.quiet {
            self.welcome().map_err(ShellError::Terminal)?;
        }
        let history = self.options.history_file();
        let terminal = Terminal::new(self.names.clone(), history).map_err(ShellError::Terminal)?;
        let flow = self.work_through(&mut Input::terminal(terminal)).await?;
        // Failures were seen by the person; they do not make the conversation one.
        self.failed = false;
        Ok(flow)
    }

    fn welcome(&mut self) -> io::Result<()> {
        let version = self.connection.as_ref().and_then(|c| c.parameters.get("server_version"));
        let version = version.cloned().unwrap_or_default();
        writeln!(self.out, "conclave sql {} (server {version})", env!("CARGO_PKG_VERSION"))?;
        writeln!(self.out, "Type \\? for help, \\q to leave.\n")?;
        self.out.flush()
    }

    /// Works through a file named by the user.
    pub(crate) async fn work_through_file(&mut self, path: &Path) -> Result<Flow, ShellError> {
        let failed = |source| ShellError::File { path: path.to_owned(), source };
        let mut input = Input::file(path).map_err(failed)?;
        self.work_through(&mut input).await
    }

    /// Works through an input to its end.
    pub(crate) async fn work_through(&mut self, input: &mut Input) -> Result<Flow, ShellError> {
        let mut splitter = Splitter::default();
        loop {
            if input.is_terminal() {
                self.refresh_names().await;
            }
            let prompt = self.prompt(&splitter);
            let line = match self.read_line(input, &prompt).await? {
                Line::Text(line) => line,
                Line::Interrupted if input.is_terminal() => {
                    splitter.clear();
                    continue;
                }
                Line::Interrupted => return Ok(Flow::Interrupted),
                Line::End => break,
            };
            splitter.push_line(&line);
            while let Some(piece) = splitter.next_piece() {
                let flow = match piece {
                    Piece::Statement(sql) => self.statement(&sql, input).await?,
                    Piece::Command(command) => {
                        Box::pin(self.command(&command, &mut splitter, input)).await?
                    }
                };
                if let Some(end) = self.end_after(flow) {
                    return Ok(end);
                }
            }
        }
        if let Some(rest) = splitter.take().filter(|_| !input.is_terminal()) {
            let flow = self.statement(&rest, input).await?;
            return Ok(self.end_after(flow).unwrap_or(Flow::Continue));
        }
        Ok(Flow::Continue)
    }

    /// How the run ends after this, if it does.
    fn end_after(&mut self, flow: Flow) -> Option<Flow> {
        match flow {
            Flow::Continue => None,
            Flow::Failed => {
                self.failed = true;
                (!self.interactive && !self.options.keep_going).then_some(Flow::Failed)
            }
            Flow::Quit | Flow::Interrupted => Some(flow),
        }
    }

    /// The next line. The editor sees Ctrl-C itself; for the others it is a signal.
    async fn read_line(&mut self, input: &mut Input, prompt: &str) -> Result<Line, ShellError> {
        let failed = |name: &Option<String>, source| match name {
            Some(name) => ShellError::File { path: name.into(), source },
            None => ShellError::Terminal(source),
        };
        if input.is_terminal() {
            return input.line(prompt).await.map_err(ShellError::Terminal);
        }
        let interrupted = self.interrupts.recv();
        let name = input.name.clone();
        tokio::select! {
            biased;
            line = input.line(prompt) => line.map_err(|error| failed(&name, error)),
            _ = interrupted => Ok(Line::Interrupted),
        }
    }

    /// `database=> `, with a star inside a transaction and a bang inside a failed one.
    fn prompt(&self, splitter: &Splitter) -> String {
        let Some(connection) = &self.connection else { return "!> ".to_owned() };
        let database = self.target.config.get_dbname().unwrap_or(self.target.user());
        let join = if splitter.is_empty() { '=' } else { '-' };
        let state = match connection.status {
            Status::Idle => "",
            Status::InTransaction => "*",
            Status::Failed => "!",
        };
        format!("{database}{join}{state}> ")
    }

    /// Reads the names for completion anew if they may have changed. A server that cannot tell them
    /// leaves completion with what it knew.
    async fn refresh_names(&mut self) {
        let idle = self.connection.as_ref().is_some_and(|c| c.status == Status::Idle);
        if !self.names_stale || !idle {
            return;
        }
        self.names_stale = false;
        let Ok(Ok(rows)) = self.rows(NAMES_QUERY).await else { return };
        let mut found = Names::default();
        for row in rows {
            let text = |at: usize| {
                let value = row.get(at).cloned().flatten().unwrap_or_default();
                String::from_utf8_lossy(&value).into_owned()
            };
            let list = if text(0) == "t" { &mut found.tables } else { &mut found.columns };
            list.push(text(1));
        }
        found.tables.sort();
        found.columns.sort();
        *self.names.write().unwrap_or_else(PoisonError::into_inner) = found;
    }

    /// Forgets a Ctrl-C that came before there was anything to interrupt.
    pub(crate) fn forget_interrupts(&mut self) {
        while self.interrupts.recv().now_or_never().is_some() {}
    }

    /// Tells the user that something could not be done.
    pub(crate) fn complain(&mut self, text: &str) -> Result<Flow, ShellError> {
        self.out.flush().map_err(ShellError::Terminal)?;
        writeln!(self.err, "{text}").map_err(ShellError::Terminal)?;
        Ok(Flow::Failed)
    }
}
