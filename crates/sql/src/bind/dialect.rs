//! PostgreSQL's grammar as sqlparser knows it, where sqlparser errs.
//!
//! Everything but the following is [`PostgreSqlDialect`]'s:
//!
//! - `a IS DISTINCT FROM b AND c` is `(a IS DISTINCT FROM b) AND c`. sqlparser takes all that follows as the
//!   right operand.
//! - The name of an argument is an identifier, not any expression (that came with PostgreSQL 16, for
//!   `json_object`). sqlparser would read each argument twice, and those of nested calls 2^depth times.
//! - Behind INTERVAL stands no other one. sqlparser would go on for ever, on the stack.
//! - `INSERT INTO t SELECT 0 ON CONFLICT …`: the words that name a column only behind AS are PostgreSQL's.
//! - A join may stand inside of another one without parentheses: conditions tell.
//! - Words like FLOOR and ARRAY are read twice where what follows is wrong, as function and as name: again
//!   2^depth. So there is a budget: a statement that is read so many times over is too complex (54001).

use std::any::TypeId;
use std::cell::Cell;

use sqlparser::ast::Expr;
use sqlparser::dialect::{Dialect, PostgreSqlDialect, Precedence};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Token, TokenWithSpan};

/// Expressions that may be begun for each token of the text.
const BEGUN_PER_TOKEN: usize = 8;
/// And besides, so that short texts never suffer.
const BEGUN_LEAST: usize = 20_000;

/// Words that are a column's name only behind AS (PostgreSQL's documentation, appendix C).
const REQUIRE_AS: [Keyword; 38] = [
    Keyword::ARRAY,
    Keyword::AS,
    Keyword::CHAR,
    Keyword::CHARACTER,
    Keyword::CREATE,
    Keyword::DAY,
    Keyword::EXCEPT,
    Keyword::FETCH,
    Keyword::FILTER,
    Keyword::FOR,
    Keyword::FROM,
    Keyword::GRANT,
    Keyword::GROUP,
    Keyword::HAVING,
    Keyword::HOUR,
    Keyword::INTERSECT,
    Keyword::INTO,
    Keyword::LIMIT,
    Keyword::MINUTE,
    Keyword::MONTH,
    Keyword::NOTNULL,
    Keyword::OFFSET,
    Keyword::ON,
    Keyword::ORDER,
    Keyword::OVER,
    Keyword::OVERLAPS,
    Keyword::PRECISION,
    Keyword::RETURNING,
    Keyword::SECOND,
    Keyword::TO,
    Keyword::UNION,
    Keyword::VARYING,
    Keyword::WHERE,
    Keyword::WINDOW,
    Keyword::WITH,
    Keyword::WITHIN,
    Keyword::WITHOUT,
    Keyword::YEAR,
];

const BASE: PostgreSqlDialect = PostgreSqlDialect {};

/// PostgreSQL's dialect, for one text.
#[derive(Debug)]
pub(crate) struct Postgres {
    /// Expressions that may yet be begun.
    budget: Cell<usize>,
    /// Whether the word NATURAL is in it.
    natural: bool,
}

impl Postgres {
    /// For a text of these tokens.
    pub(crate) fn new(tokens: &[TokenWithSpan]) -> Postgres {
        let budget = tokens.len().saturating_mul(BEGUN_PER_TOKEN).saturating_add(BEGUN_LEAST);
        let natural = tokens.iter().any(|t| {
            matches!(&t.token, Token::Word(w)
                if w.quote_style.is_none() && w.keyword == Keyword::NATURAL)
        });
        Postgres { budget: Cell::new(budget), natural }
    }
}

/// What is as it was.
macro_rules! as_before {
    ($($method:ident),* $(,)?) => {
        $(fn $method(&self) -> bool {
            BASE.$method()
        })*
    };
}

impl Dialect for Postgres {
    fn dialect(&self) -> TypeId {
        BASE.dialect()
    }

    fn parse_prefix(&self, parser: &mut Parser<'_>) -> Option<Result<Expr, ParserError>> {
        // At the beginning the one is the other.
        let (last, next) = (parser.get_current_token(), parser.peek_token_ref());
        let keyword = |at: &TokenWithSpan| match &at.token {
            Token::Word(word) => Some(word.keyword),
            _ => None,
        };
        let is_interval = |at| keyword(at) == Some(Keyword::INTERVAL);
        if !std::ptr::eq(last, next) && is_interval(last) && is_interval(next) {
            return Some(parser.expected_ref("a value", next));
        }
        let Some(left) = self.budget.get().checked_sub(1) else {
            return Some(Err(ParserError::RecursionLimitExceeded));
        };
        self.budget.set(left);
        None
    }

    fn parse_infix(
        &self,
        parser: &mut Parser<'_>,
        left: &Expr,
        _: u8,
    ) -> Option<Result<Expr, ParserError>> {
        let not = match () {
            () if parser.parse_keywords(&[Keyword::IS, Keyword::DISTINCT, Keyword::FROM]) => false,
            () if parser.parse_keywords(&[
                Keyword::IS,
                Keyword::NOT,
                Keyword::DISTINCT,
                Keyword::FROM,
            ]) =>
            {
                true
            }
            () => return None,
        };
        let right = parser.parse_subexpr(self.prec_value(Precedence::Is));
        let left = Box::new(left.clone());
        Some(right.map(Box::new).map(|right| match not {
            false => Expr::IsDistinctFrom(left, right),
            true => Expr::IsNotDistinctFrom(left, right),
        }))
    }

    fn is_column_alias(&self, word: &Keyword, _: &mut Parser<'_>) -> bool {
        !REQUIRE_AS.contains(word)
    }

    /// `a JOIN b JOIN c ON … ON …` is `a JOIN (b JOIN c ON …) ON …`. A NATURAL JOIN has no ON to tell where
    /// it ends, so with one these are parsed as before: one after the other.
    fn supports_left_associative_joins_without_parens(&self) -> bool {
        self.natural
    }

    fn supports_named_fn_args_with_expr_name(&self) -> bool {
        false
    }

    fn identifier_quote_style(&self, identifier: &str) -> Option<char> {
        BASE.identifier_quote_style(identifier)
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        BASE.is_delimited_identifier_start(ch)
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        BASE.is_identifier_start(ch)
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        BASE.is_identifier_part(ch)
    }

    fn is_reserved_for_identifier(&self, keyword: Keyword) -> bool {
        BASE.is_reserved_for_identifier(keyword)
    }

    fn is_custom_operator_part(&self, ch: char) -> bool {
        BASE.is_custom_operator_part(ch)
    }

    fn get_next_precedence(&self, parser: &Parser<'_>) -> Option<Result<u8, ParserError>> {
        BASE.get_next_precedence(parser)
    }

    fn prec_value(&self, precedence: Precedence) -> u8 {
        BASE.prec_value(precedence)
    }

    as_before!(
        supports_unicode_string_literal,
        supports_filter_during_aggregation,
        supports_group_by_expr,
        allow_extract_custom,
        allow_extract_single_quotes,
        supports_create_index_with_clause,
        supports_explain_with_utility_options,
        supports_listen_notify,
        supports_factorial_operator,
        supports_bitwise_shift_operators,
        supports_comment_on,
        supports_load_extension,
        supports_named_fn_args_with_colon_operator,
        supports_empty_projections,
        supports_nested_comments,
        supports_string_escape_constant,
        supports_numeric_literal_underscores,
        supports_array_typedef_with_brackets,
        supports_geometric_types,
        supports_set_names,
        supports_alter_column_type_using,
        supports_notnull_operator,
        supports_interval_options,
        supports_insert_table_alias,
        supports_create_table_like_parenthesized,
        supports_select_wildcard_with_alias,
        supports_comma_separated_trim,
        supports_xml_expressions,
        supports_comment_optimizer_hint,
    );
}
