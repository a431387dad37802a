//! Paths from text.

use super::lex::{Token, syntax, tokens};
use super::{Arith, Compare, Expr, Method, Path, RegexFlags, Step};
use crate::error::{Result, TypeError};
use crate::regex::Regex;

/// Deepest nesting.
const DEPTH_MAX: usize = 100;

/// The path that a text says.
pub(crate) fn parse(text: &str) -> Result<Path> {
    if text.trim().is_empty() {
        return Err(TypeError::invalid_input("jsonpath", text));
    }
    let mut parser = Parser { tokens: tokens(text)?, at: 0, depth: 0, filters: 0, subscripts: 0 };
    let strict = parser.word("strict");
    if !strict {
        parser.word("lax");
    }
    let root = parser.or()?.expr;
    match parser.peek() {
        Token::End => Ok(Path { strict, root }),
        _ => Err(parser.unexpected()),
    }
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    /// Filters around here: `@` is known in them.
    filters: usize,
    /// Subscripts around here: `last` is known in them.
    subscripts: usize,
}

/// A part, and whether it is a condition; one in parentheses may be negated and tested.
struct Parsed {
    expr: Expr,
    condition: bool,
    enclosed: bool,
}

fn value(expr: Expr) -> Parsed {
    Parsed { expr, condition: false, enclosed: false }
}

fn condition(expr: Expr) -> Parsed {
    Parsed { expr, condition: true, enclosed: false }
}

impl Parser {
    fn peek(&self) -> &Token {
        &self.tokens[self.at]
    }

    fn sign(&mut self, sign: &str) -> bool {
        let fits = matches!(self.peek(), Token::Sign(found) if *found == sign);
        self.at += usize::from(fits);
        fits
    }

    fn word(&mut self, word: &str) -> bool {
        let fits = matches!(self.peek(), Token::Word(found) if found.eq_ignore_ascii_case(word));
        self.at += usize::from(fits);
        fits
    }

    fn expect(&mut self, sign: &str) -> Result<()> {
        if self.sign(sign) { Ok(()) } else { Err(self.unexpected()) }
    }

    fn unexpected(&self) -> TypeError {
        let near = match self.peek() {
            Token::End => return syntax("syntax error at end of jsonpath input"),
            Token::Sign(sign) => (*sign).to_owned(),
            Token::Word(word) | Token::String(word) => word.clone(),
            Token::Variable(name) => format!("${name}"),
            Token::Number(number) => number.to_string(),
        };
        syntax(format!("syntax error at or near \"{near}\" of jsonpath input"))
    }

    fn condition(&mut self) -> Result<Expr> {
        let parsed = self.or()?;
        if parsed.condition { Ok(parsed.expr) } else { Err(self.unexpected()) }
    }

    fn or(&mut self) -> Result<Parsed> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(TypeError::new("54001", "stack depth limit exceeded"));
        }
        let mut left = self.and()?;
        while left.condition && self.sign("||") {
            let right = self.and()?;
            if !right.condition {
                return Err(self.unexpected());
            }
            left = condition(Expr::Or(Box::new(left.expr), Box::new(right.expr)));
        }
        self.depth -= 1;
        Ok(left)
    }

    fn and(&mut self) -> Result<Parsed> {
        let mut left = self.comparison()?;
        while left.condition && self.sign("&&") {
            let right = self.comparison()?;
            if !right.condition {
                return Err(self.unexpected());
            }
            left = condition(Expr::And(Box::new(left.expr), Box::new(right.expr)));
        }
        Ok(left)
    }

    fn comparison(&mut self) -> Result<Parsed> {
        if self.sign("!") {
            let inner = self.primary()?;
            if !inner.condition || !inner.enclosed {
                return Err(self.unexpected());
            }
            return Ok(condition(Expr::Not(Box::new(inner.expr))));
        }
        let left = self.sum()?;
        if left.condition {
            return Ok(left);
        }
        let operators = [
            ("==", Compare::Eq),
            ("!=", Compare::Ne),
            ("<>", Compare::Ne),
            ("<=", Compare::Le),
            (">=", Compare::Ge),
            ("<", Compare::Lt),
            (">", Compare::Gt),
        ];
        for (sign, operator) in operators {
            if self.sign(sign) {
                let right = self.sum()?;
                if right.condition {
                    return Err(self.unexpected());
                }
                let (left, right) = (Box::new(left.expr), Box::new(right.expr));
                return Ok(condition(Expr::Compare(operator, left, right)));
            }
        }
        if self.word("starts") {
            if !self.word("with") {
                return Err(self.unexpected());
            }
            let initial = match self.peek().clone() {
                Token::String(text) => Expr::String(text),
                Token::Variable(name) => Expr::Variable(name),
                _ => return Err(self.unexpected()),
            };
            self.at += 1;
            return Ok(condition(Expr::StartsWith(Box::new(left.expr), Box::new(initial))));
        }
        if self.word("like_regex") {
            return self.like_regex(left.expr);
        }
        Ok(left)
    }

    fn string(&mut self) -> Result<String> {
        let Token::String(text) = self.peek().clone() else { return Err(self.unexpected()) };
        self.at += 1;
        Ok(text)
    }

    fn like_regex(&mut self, value: Expr) -> Result<Parsed> {
        let pattern = self.string()?;
        let mut flags = RegexFlags::default();
        if self.word("flag") {
            for letter in self.string()?.chars() {
                match letter {
                    'i' => flags.insensitive = true,
                    's' => flags.dot_all = true,
                    'm' => flags.multi_line = true,
                    'q' => flags.quote = true,
                    'x' => {
                        return Err(TypeError::not_supported(
                            "XQuery \"x\" flag (expanded regular expressions) is not implemented",
                        ));
                    }
                    _ => {
                        return Err(syntax("invalid input syntax for type jsonpath").with_detail(
                            format!(
                                "Unrecognized flag character \"{letter}\" in LIKE_REGEX predicate."
                            ),
                        ));
                    }
                }
            }
        }
        Regex::new(&pattern, &flags.letters())?;
        Ok(condition(Expr::LikeRegex { value: Box::new(value), pattern, flags }))
    }

    fn sum(&mut self) -> Result<Parsed> {
        let mut left = self.product()?;
        while !left.condition {
            let operator = match () {
                () if self.sign("+") => Arith::Add,
                () if self.sign("-") => Arith::Sub,
                () => break,
            };
            let right = self.product()?;
            left = self.arith(operator, left, right)?;
        }
        Ok(left)
    }

    fn product(&mut self) -> Result<Parsed> {
        let mut left = self.unary()?;
        while !left.condition {
            let operator = match () {
                () if self.sign("*") => Arith::Mul,
                () if self.sign("/") => Arith::Div,
                () if self.sign("%") => Arith::Mod,
                () => break,
            };
            let right = self.unary()?;
            left = self.arith(operator, left, right)?;
        }
        Ok(left)
    }

    fn arith(&self, operator: Arith, left: Parsed, right: Parsed) -> Result<Parsed> {
        if right.condition {
            return Err(self.unexpected());
        }
        Ok(value(Expr::Arith(operator, Box::new(left.expr), Box::new(right.expr))))
    }

    fn unary(&mut self) -> Result<Parsed> {
        let minus = self.sign("-");
        if !minus && !self.sign("+") {
            return self.primary();
        }
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(TypeError::new("54001", "stack depth limit exceeded"));
        }
        let inner = self.unary()?;
        self.depth -= 1;
        if inner.condition {
            return Err(self.unexpected());
        }
        let inner = Box::new(inner.expr);
        Ok(value(if minus { Expr::Minus(inner) } else { Expr::Plus(inner) }))
    }

    fn primary(&mut self) -> Result<Parsed> {
        if self.sign("(") {
            let inner = self.or()?;
            self.expect(")")?;
            if inner.condition && self.word("is") {
                if !self.word("unknown") {
                    return Err(self.unexpected());
                }
                return Ok(condition(Expr::IsUnknown(Box::new(inner.expr))));
            }
            let steps = self.steps()?;
            if steps.is_empty() {
                return Ok(Parsed { enclosed: true, ..inner });
            }
            return Ok(value(Expr::Steps(Box::new(inner.expr), steps)));
        }
        let token = self.peek().clone();
        self.at += 1;
        let root = match token {
            Token::Sign("$") => Expr::Root,
            Token::Sign("@") => {
                if self.filters == 0 {
                    return Err(syntax("@ is not allowed in root expressions"));
                }
                Expr::Current
            }
            Token::String(text) => Expr::String(text),
            Token::Variable(name) => Expr::Variable(name),
            Token::Number(number) => Expr::Number(number),
            Token::Word(word) => match word.as_str() {
                "null" => Expr::Null,
                "true" => Expr::Bool(true),
                "false" => Expr::Bool(false),
                word if word.eq_ignore_ascii_case("exists") => {
                    self.expect("(")?;
                    let inner = self.sum()?;
                    self.expect(")")?;
                    let exists = condition(Expr::Exists(Box::new(inner.expr)));
                    return Ok(Parsed { enclosed: true, ..exists });
                }
                word if word.eq_ignore_ascii_case("last") => {
                    if self.subscripts == 0 {
                        return Err(syntax("LAST is allowed only in array subscripts"));
                    }
                    Expr::Last
                }
                _ => {
                    self.at -= 1;
                    return Err(self.unexpected());
                }
            },
            Token::Sign(_) | Token::End => {
                self.at -= 1;
                return Err(self.unexpected());
            }
        };
        let steps = self.steps()?;
        if steps.is_empty() {
            return Ok(value(root));
        }
        Ok(value(Expr::Steps(Box::new(root), steps)))
    }

    fn steps(&mut self) -> Result<Vec<Step>> {
        let mut steps = Vec::new();
        loop {
            if self.sign(".") {
                steps.push(self.member()?);
            } else if self.sign("[") {
                steps.push(self.elements()?);
            } else if self.sign("?") {
                self.expect("(")?;
                self.filters += 1;
                steps.push(Step::Filter(self.condition()?));
                self.filters -= 1;
                self.expect(")")?;
            } else {
                return Ok(steps);
            }
        }
    }

    fn member(&mut self) -> Result<Step> {
        if self.sign("*") {
            return Ok(Step::AnyKey);
        }
        if self.sign("**") {
            return self.descend();
        }
        let (Token::Word(name) | Token::String(name)) = self.peek().clone() else {
            return Err(self.unexpected());
        };
        let is_word = matches!(self.peek(), Token::Word(_));
        self.at += 1;
        if !is_word || !self.sign("(") {
            return Ok(Step::Key(name));
        }
        let lower = name.to_ascii_lowercase();
        if lower == "datetime" {
            return Err(TypeError::not_supported(
                "jsonpath item method .datetime() is not supported",
            ));
        }
        let Some(method) = Method::by_name(&lower) else {
            self.at -= 1;
            return Err(self.unexpected());
        };
        self.expect(")")?;
        Ok(Step::Method(method))
    }

    fn level(&mut self) -> Result<Option<u32>> {
        if self.word("last") {
            return Ok(None);
        }
        let level = match self.peek() {
            Token::Number(number) => number.exact_i64().and_then(|n| u32::try_from(n).ok()),
            _ => None,
        };
        let level = level.ok_or_else(|| self.unexpected())?;
        self.at += 1;
        Ok(Some(level))
    }

    fn descend(&mut self) -> Result<Step> {
        if !self.sign("{") {
            return Ok(Step::Descend { first: Some(0), last: None });
        }
        let first = self.level()?;
        let last = if self.word("to") { self.level()? } else { first };
        self.expect("}")?;
        Ok(Step::Descend { first, last })
    }

    fn elements(&mut self) -> Result<Step> {
        if self.sign("*") {
            self.expect("]")?;
            return Ok(Step::AnyElement);
        }
        self.subscripts += 1;
        let mut elements = Vec::new();
        loop {
            let from = self.sum()?.expr;
            let to = if self.word("to") { Some(self.sum()?.expr) } else { None };
            elements.push((from, to));
            if !self.sign(",") {
                break;
            }
        }
        self.subscripts -= 1;
        self.expect("]")?;
        Ok(Step::Elements(elements))
    }
}
