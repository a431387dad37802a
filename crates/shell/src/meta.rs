//! What does a backslash command do?
//!
//! The commands are psql's, with psql's names; an unknown one is an error, never ignored.

use std::io::Write;
use std::path::Path;

use crate::error::ShellError;
use crate::input::Input;
use crate::interpreter::{Flow, Shell};
use crate::password;
use crate::render::Format;
use crate::splitter::Splitter;
use crate::startup;
use crate::tls::Target;
use crate::transfer::Transfer;

const HELP: &str = "\
General
  \\q                      leave (also Ctrl-D)
  \\? or \\h [STATEMENT]    this list; what a statement looks like
  \\g, \\gx                 run the typed statement without a semicolon; \\gx shows it expanded
  \\p, \\r                  show, forget the statement typed so far
  \\timing [on|off]        show how long statements take
  \\i FILE                 run the statements of a file
  \\copy T FROM|TO FILE    load or save a table (or query) with a file of this machine
  \\echo TEXT              print a text
Connection
  \\c [DATABASE [USER]]    connect to another database; also \\c postgres://...
  \\conninfo               where we are connected to
  \\password [USER]        change a password; it does not travel in the clear
Looking around
  \\d [NAME]               tables, views and sequences; the columns and indexes of one
  \\dt, \\di, \\dv [NAME]    tables, indexes, views
  \\dn, \\du, \\l            schemas, roles, databases
Showing results
  \\x [on|off]             one line per column
  \\t [on|off]             rows only
  \\pset format aligned|csv|expanded
  \\pset null TEXT         what NULL looks like
";

/// Enough of each statement to remember the rest.
const SYNTAX: &[(&str, &str)] = &[
    (
        "ALTER TABLE",
        "ALTER TABLE t ADD COLUMN c type | DROP COLUMN c | ADD PRIMARY KEY (c) | \
      SPLIT AT VALUES (v), ...",
    ),
    (
        "BEGIN",
        "BEGIN [ISOLATION LEVEL SERIALIZABLE | REPEATABLE READ | READ COMMITTED] [READ ONLY]",
    ),
    ("COMMIT", "COMMIT"),
    ("COPY", "COPY t [(columns)] FROM STDIN | TO STDOUT [WITH (FORMAT csv, HEADER)]"),
    ("CREATE DATABASE", "CREATE DATABASE name"),
    ("CREATE INDEX", "CREATE [UNIQUE] INDEX [name] ON t (c [DESC], ...)"),
    ("CREATE SCHEMA", "CREATE SCHEMA name"),
    (
        "CREATE TABLE",
        "CREATE TABLE [IF NOT EXISTS] t (c type [NOT NULL] [DEFAULT e] [PRIMARY KEY], \
      ..., [PRIMARY KEY (c, ...)])",
    ),
    ("DELETE", "DELETE FROM t [WHERE condition] [RETURNING ...]"),
    ("DROP TABLE", "DROP TABLE [IF EXISTS] t, ..."),
    ("EXPLAIN", "EXPLAIN [ANALYZE] statement"),
    ("INSERT", "INSERT INTO t [(columns)] VALUES (...), ... | SELECT ... [RETURNING ...]"),
    ("ROLLBACK", "ROLLBACK [TO SAVEPOINT name]"),
    (
        "SELECT",
        "[WITH x AS (...)] SELECT ... FROM t [JOIN u ON ...] [WHERE ...] [GROUP BY ...] \
      [HAVING ...] [ORDER BY ...] [LIMIT n] [FOR UPDATE]",
    ),
    ("SET", "SET [LOCAL] name = value"),
    ("SHOW", "SHOW name | ALL"),
    ("TRUNCATE", "TRUNCATE t, ..."),
    ("UPDATE", "UPDATE t SET c = e, ... [FROM u] [WHERE condition] [RETURNING ...]"),
];

impl Shell {
    /// Carries out one command, given without its backslash.
    pub(crate) async fn command(
        &mut self,
        command: &str,
        splitter: &mut Splitter,
        input: &mut Input,
    ) -> Result<Flow, ShellError> {
        let (name, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        let rest = rest.trim();
        let name = name.trim_end_matches(';');
        let argument = rest.trim_end_matches(';').trim_end();
        match name {
            "q" | "quit" | "exit" => return Ok(Flow::Quit),
            "g" | "gx" => return self.go(name == "gx", splitter, input).await,
            "p" => self.print(splitter.pending())?,
            "r" => splitter.clear(),
            "?" => self.print(HELP.trim_end())?,
            "h" | "help" => self.syntax(argument)?,
            "echo" => self.print(rest)?,
            "timing" => return self.switch("Timing", argument, |shell| &mut shell.timing),
            "t" => {
                return self.switch("Tuples only", argument, |shell| &mut shell.style.tuples_only);
            }
            "x" => return self.expand(argument),
            "pset" => return self.pset(argument),
            "i" | "include" => return self.include(argument).await,
            "copy" => {
                return match Transfer::parse(rest) {
                    Some(transfer) => self.transfer(&transfer, input).await,
                    None => self.complain("\\copy: usage: \\copy TABLE FROM|TO FILE [OPTIONS]"),
                };
            }
            "c" | "connect" => return self.change_connection(argument).await,
            "conninfo" => self.conninfo()?,
            "password" => return self.change_password(argument, input).await,
            "d" | "dt" | "di" | "dv" | "dn" | "du" | "l" => {
                return self.describe(name, argument, input).await;
            }
            _ => return self.complain(&format!("invalid command \\{name}; \\? lists them")),
        }
        Ok(Flow::Continue)
    }

    pub(crate) fn print(&mut self, text: &str) -> Result<(), ShellError> {
        let written = writeln!(self.out, "{text}").and_then(|()| self.out.flush());
        written.map_err(ShellError::Terminal)
    }

    async fn go(
        &mut self,
        expanded: bool,
        splitter: &mut Splitter,
        input: &mut Input,
    ) -> Result<Flow, ShellError> {
        let Some(sql) = splitter.take() else { return Ok(Flow::Continue) };
        let before = self.style.format;
        if expanded {
            self.style.format = Format::Expanded;
        }
        let flow = self.statement(&sql, input).await;
        self.style.format = before;
        flow
    }

    fn syntax(&mut self, topic: &str) -> Result<(), ShellError> {
        let topic = topic.to_uppercase();
        let found: Vec<String> = SYNTAX
            .iter()
            .filter(|(name, _)| name.starts_with(&topic))
            .map(|(_, syntax)| format!("  {syntax}"))
            .collect();
        match found.as_slice() {
            [] => self.print(&format!("nothing is known here about {topic}")),
            lines => self.print(&lines.join("\n")),
        }
    }

    fn switch(
        &mut self,
        what: &str,
        argument: &str,
        place: impl FnOnce(&mut Self) -> &mut bool,
    ) -> Result<Flow, ShellError> {
        let value = place(self);
        *value = match argument {
            "" => !*value,
            "on" => true,
            "off" => false,
            _ => return self.complain(&format!("{argument} is neither on nor off")),
        };
        let state = if *value { "on" } else { "off" };
        self.say(&format!("{what} is {state}."))
    }

    /// What only a person wants to hear.
    fn say(&mut self, text: &str) -> Result<Flow, ShellError> {
        if !self.quiet {
            self.print(text)?;
        }
        Ok(Flow::Continue)
    }

    fn expand(&mut self, argument: &str) -> Result<Flow, ShellError> {
        let expanded = match argument {
            "" => self.style.format != Format::Expanded,
            "on" => true,
            "off" => false,
            _ => return self.complain(&format!("{argument} is neither on nor off")),
        };
        self.style.format = if expanded { Format::Expanded } else { Format::Aligned };
        self.say(&format!("Expanded display is {}.", if expanded { "on" } else { "off" }))
    }

    fn pset(&mut self, argument: &str) -> Result<Flow, ShellError> {
        let (option, value) = argument.split_once(char::is_whitespace).unwrap_or((argument, ""));
        let value = value.trim();
        match (option, value) {
            ("format", "aligned") => self.style.format = Format::Aligned,
            ("format", "csv") => self.style.format = Format::Csv,
            ("format", "expanded") => self.style.format = Format::Expanded,
            ("format", _) => return self.complain("\\pset format: aligned, csv or expanded"),
            ("expanded", _) => return self.expand(value),
            ("tuples_only" | "t", _) => {
                return self.switch("Tuples only", value, |shell| &mut shell.style.tuples_only);
            }
            ("null", _) => self.style.null = value.trim_matches('\'').to_owned(),
            _ => return self.complain("\\pset: format, null, expanded or tuples_only"),
        }
        Ok(Flow::Continue)
    }

    async fn include(&mut self, argument: &str) -> Result<Flow, ShellError> {
        let path = Path::new(argument.trim_matches('\''));
        match self.work_through_file(path).await {
            Err(ShellError::File { path, source }) => {
                self.complain(&format!("{}: {source}", path.display()))
            }
            // \q in a file ends the file.
            Ok(Flow::Quit) => Ok(Flow::Continue),
            other => other,
        }
    }

    async fn change_connection(&mut self, argument: &str) -> Result<Flow, ShellError> {
        let mut target = if argument.contains("://") || argument.contains('=') {
            match Target::parse(argument, self.certs_dir()) {
                Ok(target) => target,
                Err(error) => return self.complain(&format!("\\c: {error}")),
            }
        } else {
            let mut target = self.target.clone();
            let mut words = argument.split_whitespace().filter(|&word| word != "-");
            if let Some(database) = words.next() {
                target.config.dbname(database);
            }
            if let Some(user) = words.next() {
                // The password was another user's.
                if user != self.target.user() {
                    target = target.without_password();
                }
                target.config.user(user);
            }
            target
        };
        let mut connected = startup::connect(&target).await;
        if let Err(ShellError::PasswordNeeded(user)) = &connected
            && self.interactive
        {
            let prompt = format!("Password for user {user}: ");
            target.config.password(password::ask(&prompt)?);
            connected = startup::connect(&target).await;
        }
        match connected {
            Ok(connection) => {
                let before = self.connection.replace(connection);
                if let Some(before) = before {
                    // The old session ends either way.
                    drop(before.terminate().await);
                }
                self.target = target;
                self.names_stale = true;
                self.conninfo()?;
                Ok(Flow::Continue)
            }
            Err(error) => {
                let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
                self.complain(&format!("\\c: {error}{}", cause.unwrap_or_default()))?;
                self.complain("the previous connection is kept")
            }
        }
    }

    fn conninfo(&mut self) -> Result<(), ShellError> {
        let user = self.target.user().to_owned();
        let database = self.target.config.get_dbname().unwrap_or(&user).to_owned();
        match &self.connection {
            Some(connection) => {
                let address = connection.address.to_string();
                self.print(&format!(
                    "You are connected to database \"{database}\" as user \"{user}\" at {address}."
                ))
            }
            None => self.print("You are not connected."),
        }
    }
}
