//! The canonical text of a path.

use std::fmt::{self, Display, Formatter, Write};

use super::{Arith, Compare, Expr, Path, Step};
use crate::json::escape;

impl Display for Path {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(if self.strict { "strict " } else { "" })?;
        print(&self.root, true, f)
    }
}

impl Arith {
    pub(super) fn sign(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
        }
    }
}

impl Compare {
    fn sign(self) -> &'static str {
        match self {
            Self::Eq => "==",
            Self::Ne => "!=",
            Self::Lt => "<",
            Self::Le => "<=",
            Self::Gt => ">",
            Self::Ge => ">=",
        }
    }
}

/// How tightly it binds: a part that binds no tighter than what is around it stands in parentheses.
fn priority(expr: &Expr) -> u8 {
    match expr {
        Expr::Or(..) => 0,
        Expr::And(..) => 1,
        Expr::Compare(..) | Expr::StartsWith(..) => 2,
        Expr::Arith(Arith::Add | Arith::Sub, ..) => 3,
        Expr::Arith(..) => 4,
        Expr::Minus(_) | Expr::Plus(_) => 5,
        _ => 6,
    }
}

fn print<W: Write>(expr: &Expr, brackets: bool, f: &mut W) -> fmt::Result {
    let binary = |sign: &str, left: &Expr, right: &Expr, f: &mut W| {
        f.write_str(if brackets { "(" } else { "" })?;
        print(left, priority(left) <= priority(expr), f)?;
        write!(f, " {sign} ")?;
        print(right, priority(right) <= priority(expr), f)?;
        f.write_str(if brackets { ")" } else { "" })
    };
    match expr {
        Expr::Null => f.write_str("null"),
        Expr::Bool(value) => write!(f, "{value}"),
        Expr::Number(value) => write!(f, "{value}"),
        Expr::String(text) => escape(text, f),
        Expr::Variable(name) => {
            f.write_str("$")?;
            escape(name, f)
        }
        Expr::Root => f.write_str("$"),
        Expr::Current => f.write_str("@"),
        Expr::Last => f.write_str("last"),
        Expr::Steps(root, all) => {
            print(root, true, f)?;
            all.iter().try_for_each(|step| print_step(step, f))
        }
        Expr::Arith(operator, left, right) => binary(operator.sign(), left, right, f),
        Expr::Compare(operator, left, right) => binary(operator.sign(), left, right, f),
        Expr::And(left, right) => binary("&&", left, right, f),
        Expr::Or(left, right) => binary("||", left, right, f),
        Expr::StartsWith(left, right) => binary("starts with", left, right, f),
        Expr::Minus(inner) | Expr::Plus(inner) => {
            f.write_str(if brackets { "(" } else { "" })?;
            f.write_str(if matches!(expr, Expr::Minus(_)) { "-" } else { "+" })?;
            print(inner, priority(inner) <= priority(expr), f)?;
            f.write_str(if brackets { ")" } else { "" })
        }
        Expr::Not(inner) => {
            f.write_str("!(")?;
            print(inner, false, f)?;
            f.write_str(")")
        }
        Expr::IsUnknown(inner) => {
            f.write_str("(")?;
            print(inner, false, f)?;
            f.write_str(") is unknown")
        }
        Expr::Exists(inner) => {
            f.write_str("exists (")?;
            print(inner, false, f)?;
            f.write_str(")")
        }
        Expr::LikeRegex { value, pattern, flags } => {
            f.write_str(if brackets { "(" } else { "" })?;
            print(value, priority(value) <= priority(expr), f)?;
            f.write_str(" like_regex ")?;
            escape(pattern, f)?;
            let letters = [
                (flags.insensitive, 'i'),
                (flags.dot_all, 's'),
                (flags.multi_line, 'm'),
                (flags.quote, 'q'),
            ];
            let letters: String =
                letters.into_iter().filter(|(set, _)| *set).map(|(_, letter)| letter).collect();
            if !letters.is_empty() {
                write!(f, " flag \"{letters}\"")?;
            }
            f.write_str(if brackets { ")" } else { "" })
        }
    }
}

fn print_step<W: Write>(step: &Step, f: &mut W) -> fmt::Result {
    match step {
        Step::Key(name) => {
            f.write_str(".")?;
            escape(name, f)
        }
        Step::AnyKey => f.write_str(".*"),
        Step::AnyElement => f.write_str("[*]"),
        Step::Elements(elements) => {
            for (n, (from, to)) in elements.iter().enumerate() {
                f.write_str(if n == 0 { "[" } else { "," })?;
                print(from, false, f)?;
                if let Some(to) = to {
                    f.write_str(" to ")?;
                    print(to, false, f)?;
                }
            }
            f.write_str("]")
        }
        Step::Descend { first, last } => {
            let level = |level: &Option<u32>| {
                level.map_or_else(|| "last".to_owned(), |level| level.to_string())
            };
            match (first, last) {
                (Some(0), None) => f.write_str(".**"),
                (first, last) if first == last => write!(f, ".**{{{}}}", level(first)),
                (first, last) => write!(f, ".**{{{} to {}}}", level(first), level(last)),
            }
        }
        Step::Method(method) => write!(f, ".{}()", method.name()),
        Step::Filter(condition) => {
            f.write_str("?(")?;
            print(condition, false, f)?;
            f.write_str(")")
        }
    }
}
