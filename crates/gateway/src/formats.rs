//! Which columns or parameters travel as text and which in binary?

use sql::SqlError;

use crate::sqlstate;

/// The format of each column, or of each parameter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Formats {
    /// All as text.
    #[default]
    Text,
    /// All in binary.
    Binary,
    /// Each as told: true is binary.
    Each(Box<[bool]>),
}

impl Formats {
    /// Reads the codes of a Bind: none means text, one is for all, else one for each of `count`.
    pub(crate) fn parse(what: &str, codes: &[i16], count: usize) -> Result<Self, SqlError> {
        let binary = |&code: &i16| match code {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(sqlstate::unknown_format(other)),
        };
        match codes {
            [] => Ok(Self::Text),
            [code] => Ok(if binary(code)? { Self::Binary } else { Self::Text }),
            codes if codes.len() == count => {
                Ok(Self::Each(codes.iter().map(binary).collect::<Result<_, _>>()?))
            }
            codes => Err(sqlstate::wrong_format_count(what, codes.len(), count)),
        }
    }

    pub(crate) fn is_binary(&self, column: usize) -> bool {
        match self {
            Self::Text => false,
            Self::Binary => true,
            Self::Each(each) => each.get(column).copied().unwrap_or(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Formats;

    #[test]
    fn one_code_is_for_all() {
        let parse = |codes: &[i16], count| Formats::parse("parameter", codes, count);
        assert_eq!(parse(&[], 3), Ok(Formats::Text));
        assert_eq!(parse(&[1], 3), Ok(Formats::Binary));
        let mixed = parse(&[0, 1], 2).expect("two codes for two columns");
        assert!(!mixed.is_binary(0) && mixed.is_binary(1));
        let error = parse(&[0, 1], 3).expect_err("two codes for three columns");
        assert_eq!(error.message(), "bind message has 2 parameter formats but 3 parameters");
        assert_eq!(parse(&[2], 1).expect_err("no such format").code().as_str(), "22023");
    }
}
