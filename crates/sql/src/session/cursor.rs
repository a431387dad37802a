//! SQL's cursors: DECLARE, FETCH, MOVE, CLOSE.
//!
//! ```text
//!            first          kept rows            at
//!   | gone ... | r r r r r r r r r r r r r r r r ... | not asked for yet
//!                         ▲ position: 0 is before the first row, n + 1 behind the last
//! ```
//!
//! A cursor's query runs as it is fetched, on what the transaction saw when it was declared. Rows are kept
//! so that they can be fetched again: all of them with SCROLL, none with NO SCROLL, and without either as
//! many as fit into [`KEPT_BYTES`]. A cursor WITH HOLD is run to its end when it is declared.
//!
//! Cursors end with their transaction, or with the savepoint that they were declared behind; those WITH
//! HOLD only if it is rolled back.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use pgtypes::Datum;
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

use super::Session;
use super::api::{ResultColumn, Sink};
use super::bound::{Cursor, Held};
use super::collect::CollectSink;
use super::execute::{Job, Tag};
use super::script::{Parsed, parse_one};
use super::transaction::Block;
use crate::{SqlError, SqlState};

/// Rows kept of a cursor that is neither SCROLL nor NO SCROLL, in bytes.
const KEPT_BYTES: usize = 16 << 20;

/// DECLARE.
#[derive(Debug, Clone)]
pub(crate) struct Declare {
    name: String,
    binary: bool,
    scroll: Option<bool>,
    hold: bool,
    /// Where the query begins, in bytes.
    query: usize,
}

/// FETCH and MOVE.
#[derive(Debug, Clone)]
pub(crate) struct Fetch {
    name: String,
    direction: Direction,
    /// FETCH: rows are given out.
    shows: bool,
}

/// Where to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    /// So many rows on; back, if less than zero.
    Forward(i64),
    /// To the row of that number; counted from the end, if less than zero.
    Absolute(i64),
    /// To the row so far away.
    Relative(i64),
}

/// A cursor of a session.
#[derive(Debug)]
pub(super) struct SqlCursor {
    columns: Arc<[ResultColumn]>,
    /// Rows that were not asked for yet; none at the end.
    source: Option<Mutex<Cursor>>,
    rows: VecDeque<Vec<Datum>>,
    /// Number of rows gone before the first of `rows`.
    first: usize,
    held: Held,
    /// 0: before the first row.
    position: usize,
    scroll: Option<bool>,
    hold: bool,
    binary: bool,
    statement: String,
    declared_at: i64,
    /// The transaction, while it is open.
    epoch: Option<u64>,
    /// Savepoints set when it was declared.
    depth: usize,
}

/// A row of `pg_cursors`.
#[derive(Debug, Clone)]
pub(crate) struct CursorInfo {
    pub(crate) name: String,
    pub(crate) statement: String,
    pub(crate) hold: bool,
    pub(crate) binary: bool,
    pub(crate) scroll: bool,
    pub(crate) declared_at: i64,
}

fn word(parser: &mut Parser<'_>, wanted: &str) -> bool {
    let token = parser.peek_token();
    let found = matches!(&token.token, Token::Word(w)
        if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(wanted));
    if found {
        parser.next_token();
    }
    found
}

fn name(parser: &mut Parser<'_>) -> Result<String, ParserError> {
    Ok(crate::bind::fold(&parser.parse_identifier()?))
}

/// `DECLARE c [BINARY] [INSENSITIVE] [[NO] SCROLL] CURSOR [WITH HOLD] FOR …`. The query is left for later.
pub(super) fn parse_declare(parser: &mut Parser<'_>, text: &str) -> Result<Declare, ParserError> {
    parser.expect_keyword(Keyword::DECLARE)?;
    let mut declare =
        Declare { name: name(parser)?, binary: false, scroll: None, hold: false, query: 0 };
    while !word(parser, "cursor") {
        if word(parser, "binary") {
            declare.binary = true;
        } else if word(parser, "no") {
            if !word(parser, "scroll") {
                let found = parser.peek_token();
                return parser.expected("SCROLL", found);
            }
            declare.scroll = Some(false);
        } else if word(parser, "scroll") {
            declare.scroll = Some(true);
        } else if !word(parser, "insensitive") && !word(parser, "asensitive") {
            let found = parser.peek_token();
            return parser.expected("CURSOR", found);
        }
    }
    for (first, hold) in [("with", true), ("without", false)] {
        if word(parser, first) {
            if !word(parser, "hold") {
                let found = parser.peek_token();
                return parser.expected("HOLD", found);
            }
            declare.hold = hold;
        }
    }
    parser.expect_keyword(Keyword::FOR)?;
    let next = parser.peek_token();
    let at = crate::bind::position(text, next.span.start).unwrap_or(1) - 1;
    declare.query = text.char_indices().nth(at).map_or(text.len(), |(byte, _)| byte);
    while parser.next_token().token != Token::EOF {}
    Ok(declare)
}

fn count(parser: &mut Parser<'_>) -> Result<Option<i64>, ParserError> {
    let minus = parser.consume_token(&Token::Minus);
    let plus = !minus && parser.consume_token(&Token::Plus);
    match parser.peek_token().token {
        Token::Number(digits, _) => {
            let token = parser.next_token();
            match format!("{}{digits}", if minus { "-" } else { "" }).parse::<i32>() {
                Ok(count) => Ok(Some(i64::from(count))),
                Err(_) => parser.expected("an integer", token),
            }
        }
        _ if minus || plus => {
            let found = parser.peek_token();
            parser.expected("a number", found)
        }
        _ => Ok(None),
    }
}

/// `FETCH [direction] [FROM | IN] c`, and MOVE.
pub(super) fn parse_fetch(parser: &mut Parser<'_>) -> Result<Fetch, ParserError> {
    let shows = !word(parser, "move");
    if shows {
        parser.expect_keyword(Keyword::FETCH)?;
    }
    const ALL: i64 = i64::MAX;
    let needed = |parser: &mut Parser<'_>| match count(parser)? {
        Some(n) => Ok(n),
        None => {
            let found = parser.peek_token();
            parser.expected("a number", found)
        }
    };
    let or_all = |parser: &mut Parser<'_>| -> Result<i64, ParserError> {
        if word(parser, "all") { Ok(ALL) } else { Ok(count(parser)?.unwrap_or(1)) }
    };
    let direction = if word(parser, "next") {
        Direction::Forward(1)
    } else if word(parser, "prior") {
        Direction::Forward(-1)
    } else if word(parser, "first") {
        Direction::Absolute(1)
    } else if word(parser, "last") {
        Direction::Absolute(-1)
    } else if word(parser, "absolute") {
        Direction::Absolute(needed(parser)?)
    } else if word(parser, "relative") {
        Direction::Relative(needed(parser)?)
    } else if word(parser, "forward") {
        Direction::Forward(or_all(parser)?)
    } else if word(parser, "backward") {
        Direction::Forward(-or_all(parser)?)
    } else {
        Direction::Forward(or_all(parser)?)
    };
    if !word(parser, "from") {
        word(parser, "in");
    }
    Ok(Fetch { name: name(parser)?, direction, shows })
}

/// `CLOSE c`, `CLOSE ALL`.
pub(super) fn parse_close(parser: &mut Parser<'_>) -> Result<Option<String>, ParserError> {
    parser.expect_keyword(Keyword::CLOSE)?;
    if word(parser, "all") { Ok(None) } else { name(parser).map(Some) }
}

impl SqlCursor {
    fn forward_only() -> SqlError {
        SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "cursor can only scan forward")
            .hint("Declare it with SCROLL option to enable backward scan.")
    }

    /// Number of rows, once it is known.
    fn count(&self) -> Option<usize> {
        self.source.is_none().then(|| self.first + self.rows.len())
    }

    /// Takes rows from the query until there are `wanted`, or no more.
    async fn fill(&mut self, wanted: usize) -> Result<(), SqlError> {
        while self.first + self.rows.len() < wanted {
            let Some(source) = &mut self.source else { return Ok(()) };
            let Some(rows) = source.get_mut().next_rows().await? else {
                self.source = None;
                return Ok(());
            };
            let bytes = rows.iter().map(|row| size(row)).sum();
            self.held.add(bytes).map_err(|error| {
                error
                    .detail(
                        "The rows of a cursor that can be fetched again do not fit into memory.",
                    )
                    .hint("Declare it with NO SCROLL and without WITH HOLD.")
            })?;
            self.rows.extend(rows);
            self.trim();
        }
        Ok(())
    }

    /// Lets go of rows that need not be kept.
    fn trim(&mut self) {
        let keep = match self.scroll {
            Some(true) => return,
            _ if self.hold => return,
            Some(false) => 0,
            None => KEPT_BYTES,
        };
        if self.held.bytes() <= keep {
            return;
        }
        // The row it stands on can be asked for once more.
        while self.first + 1 < self.position
            && let Some(row) = self.rows.pop_front()
        {
            self.held.remove(size(&row));
            self.first += 1;
        }
    }

    /// Goes to a row, counted from 1; false if there is none of that number.
    async fn go(&mut self, to: usize) -> Result<bool, SqlError> {
        if to < self.position && self.scroll == Some(false) {
            return Err(Self::forward_only());
        }
        if to == 0 {
            self.position = 0;
            return Ok(false);
        }
        if to <= self.first {
            return Err(Self::forward_only());
        }
        self.fill(to).await?;
        let last = self.first + self.rows.len();
        self.position = to.min(last + 1);
        Ok(to <= last)
    }

    fn row(&self) -> Result<&[Datum], SqlError> {
        let at = self.position.checked_sub(self.first + 1);
        let row = at.and_then(|at| self.rows.get(at));
        row.map(Vec::as_slice).ok_or_else(Self::forward_only)
    }

    fn on_row(&self) -> bool {
        self.position > 0 && self.count().is_none_or(|count| self.position <= count)
    }

    /// Carries out a FETCH or MOVE; how many rows it is about.
    async fn run(
        &mut self,
        direction: Direction,
        sink: &mut Option<&mut dyn Sink>,
    ) -> Result<u64, SqlError> {
        let target = match direction {
            Direction::Forward(0) | Direction::Relative(0) => {
                if !self.on_row() {
                    return Ok(0);
                }
                if sink.is_some() && self.scroll == Some(false) {
                    return Err(Self::forward_only());
                }
                return self.show(sink).map(|()| 1);
            }
            Direction::Forward(rows) => return self.steps(rows, sink).await,
            Direction::Absolute(to) if to >= 0 => usize::try_from(to).unwrap_or(usize::MAX),
            Direction::Absolute(to) => {
                let back = usize::try_from(to.unsigned_abs()).unwrap_or(usize::MAX);
                if self.scroll == Some(false) {
                    return Err(Self::forward_only());
                }
                self.fill(usize::MAX).await?;
                let count = self.first + self.rows.len();
                (count + 1).saturating_sub(back)
            }
            Direction::Relative(by) => {
                let to = i64::try_from(self.position).unwrap_or(i64::MAX).saturating_add(by);
                usize::try_from(to).unwrap_or(0)
            }
        };
        if !self.go(target).await? {
            return Ok(0);
        }
        self.show(sink).map(|()| 1)
    }

    async fn steps(
        &mut self,
        rows: i64,
        sink: &mut Option<&mut dyn Sink>,
    ) -> Result<u64, SqlError> {
        let mut done = 0;
        while done < rows.unsigned_abs() {
            let next = if rows > 0 {
                self.position + 1
            } else if self.position == 0 {
                break;
            } else {
                self.position - 1
            };
            if !self.go(next).await? {
                break;
            }
            self.show(sink)?;
            done += 1;
            if let Some(sink) = sink {
                sink.flush().await?;
            }
        }
        Ok(done)
    }

    fn show(&self, sink: &mut Option<&mut dyn Sink>) -> Result<(), SqlError> {
        match sink {
            Some(sink) => sink.row(self.row()?),
            None => Ok(()),
        }
    }
}

fn size(row: &[Datum]) -> usize {
    row.iter().map(Datum::size).sum::<usize>() + size_of::<Vec<Datum>>()
}

impl Session {
    /// DECLARE.
    pub(super) async fn declare(
        &mut self,
        declare: &Declare,
        job: Job<'_>,
        sink: &mut dyn Sink,
    ) -> Result<Tag, SqlError> {
        self.refuse_if_failed()?;
        let outside = match self.tx.block {
            Block::Explicit | Block::Failed => false,
            Block::Idle | Block::Implicit => job.lone,
        };
        if outside && !declare.hold {
            return Err(SqlError::new(
                SqlState::NO_ACTIVE_SQL_TRANSACTION,
                "DECLARE CURSOR can only be used in transaction blocks",
            ));
        }
        let text = job.text[declare.query..].trim_end();
        let offset = job.text[..declare.query].chars().count();
        let moved = |error: SqlError| match error.fields().position {
            Some(position) => error.with_position(position + offset),
            None => error,
        };
        let parsed = parse_one(text).map_err(moved)?;
        check_query(&parsed, text, offset)?;
        if self.cursors.contains_key(&declare.name) {
            return Err(SqlError::new(
                SqlState::DUPLICATE_CURSOR,
                format!("cursor \"{}\" already exists", declare.name),
            ));
        }
        let inner = Job { text, parsed: &parsed, prepared: None, params: job.params, lone: false };
        let described = self.describe(text, parsed.clone(), &[]).await.map_err(moved)?;
        let columns = described.columns().cloned().unwrap_or_else(|| Arc::new([]));
        let mut cursor = SqlCursor {
            columns,
            source: None,
            rows: VecDeque::new(),
            first: 0,
            held: Held::new(Arc::clone(self.engine.db.memory())),
            position: 0,
            scroll: declare.scroll,
            hold: declare.hold,
            binary: declare.binary,
            statement: job.text.trim_end().to_owned(),
            declared_at: self.env.statement_time,
            epoch: Some(self.epoch),
            depth: self.tx.savepoints(),
        };
        match self.open_cursor(inner).await.map_err(moved)? {
            // Never locked: it makes a session fit to be lent to tasks.
            Some(source) => cursor.source = Some(Mutex::new(source)),
            None => {
                let mut rows = CollectSink::over(sink);
                Box::pin(self.run(inner, &mut rows)).await.map_err(moved)?;
                cursor.rows = rows.into_rows();
            }
        }
        if declare.hold {
            cursor.fill(usize::MAX).await?;
        }
        // What is fetched of it cannot be told anew.
        self.tx.history.lose();
        self.cursors.insert(declare.name.clone(), cursor);
        Ok(Tag::Text("DECLARE CURSOR"))
    }

    /// FETCH and MOVE.
    pub(super) async fn fetch_cursor(
        &mut self,
        fetch: &Fetch,
        sink: &mut dyn Sink,
    ) -> Result<Tag, SqlError> {
        self.refuse_if_failed()?;
        let Some(mut cursor) = self.cursors.remove(&fetch.name) else {
            return Err(no_cursor(&fetch.name));
        };
        let result = if fetch.shows {
            sink.environment(&self.env);
            match sink.columns(&cursor.columns) {
                Ok(()) => cursor.run(fetch.direction, &mut Some(sink)).await,
                Err(error) => Err(error),
            }
        } else {
            cursor.run(fetch.direction, &mut None).await
        };
        self.cursors.insert(fetch.name.clone(), cursor);
        self.tx.history.lose();
        Ok(Tag::Count(if fetch.shows { "FETCH" } else { "MOVE" }, result?))
    }

    /// CLOSE.
    pub(super) fn close_cursor(&mut self, name: Option<&str>) -> Result<Tag, SqlError> {
        self.refuse_if_failed()?;
        let Some(name) = name else {
            self.cursors.clear();
            return Ok(Tag::Text("CLOSE CURSOR ALL"));
        };
        match self.cursors.remove(name) {
            Some(_) => Ok(Tag::Text("CLOSE CURSOR")),
            None => Err(no_cursor(name)),
        }
    }

    /// Columns of a cursor, and whether it is a binary one: it is a portal to the protocol.
    #[must_use]
    pub fn cursor_columns(&self, name: &str) -> Option<(Arc<[ResultColumn]>, bool)> {
        self.cursors.get(name).map(|cursor| (cursor.columns.clone(), cursor.binary))
    }

    /// Closes a cursor, if there is one of that name.
    pub fn drop_cursor(&mut self, name: &str) {
        self.cursors.remove(name);
    }

    /// Columns of what a FETCH gives out, if the cursor is there.
    pub(super) fn fetched_columns(&self, fetch: &Fetch) -> Option<Arc<[ResultColumn]>> {
        self.cursors.get(&fetch.name).filter(|_| fetch.shows).map(|c| c.columns.clone())
    }

    /// The transaction ends: its cursors too, but for those WITH HOLD if it commits.
    pub(super) fn end_cursors(&mut self, committed: bool) {
        self.cursors.retain(|_, cursor| {
            if cursor.epoch.is_none() {
                return true;
            }
            cursor.epoch = None;
            committed && cursor.hold
        });
    }

    /// So many savepoints are left; `undone`: what was behind the last of them is gone.
    pub(super) fn cut_cursors(&mut self, savepoints: usize, undone: bool) {
        self.cursors.retain(|_, cursor| {
            let behind = cursor.epoch.is_some() && cursor.depth >= savepoints;
            if behind && !undone {
                cursor.depth = savepoints;
            }
            !(behind && undone)
        });
    }

    /// What `pg_cursors` shows.
    pub(super) fn cursor_infos(&self) -> Vec<CursorInfo> {
        let info = |(name, cursor): (&String, &SqlCursor)| CursorInfo {
            name: name.clone(),
            statement: cursor.statement.clone(),
            hold: cursor.hold,
            binary: cursor.binary,
            scroll: cursor.scroll != Some(false),
            declared_at: cursor.declared_at,
        };
        self.cursors.iter().map(info).collect()
    }
}

fn no_cursor(name: &str) -> SqlError {
    SqlError::new(SqlState::INVALID_CURSOR_NAME, format!("cursor \"{name}\" does not exist"))
}

/// A cursor's statement reads.
fn check_query(parsed: &Parsed, text: &str, offset: usize) -> Result<(), SqlError> {
    use sqlparser::ast::{SetExpr, Statement};
    let writes = |body: &SetExpr| {
        matches!(
            body,
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_)
        )
    };
    match parsed.statement() {
        Some(Statement::Query(query)) if !writes(&query.body) => {
            let with = query.with.iter().flat_map(|with| &with.cte_tables);
            if with.into_iter().any(|cte| writes(&cte.query.body)) {
                return Err(SqlError::new(
                    SqlState::FEATURE_NOT_SUPPORTED,
                    "DECLARE CURSOR must not contain data-modifying statements in WITH",
                ));
            }
            Ok(())
        }
        _ => {
            let first: String = text.split_whitespace().next().unwrap_or("").to_owned();
            Err(SqlError::syntax(format!("syntax error at or near \"{first}\""))
                .with_position(offset + 1))
        }
    }
}
