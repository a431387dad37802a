//! What goes wrong with values: every error a client can see, as PostgreSQL words it.
//!
//! An error here is *user-visible text plus SQLSTATE*: input that is not of its type, a result out
//! of range, an operator that does not exist. Broken invariants of ours panic instead.

use std::fmt;

/// SQLSTATE codes used by this crate.
pub mod sqlstate {
    /// `division_by_zero`
    pub const DIVISION_BY_ZERO: &str = "22012";
    /// `numeric_value_out_of_range`
    pub const NUMERIC_OUT_OF_RANGE: &str = "22003";
    /// `invalid_text_representation`
    pub const INVALID_TEXT: &str = "22P02";
    /// `invalid_binary_representation`
    pub const INVALID_BINARY: &str = "22P03";
    /// `string_data_right_truncation`
    pub const STRING_TRUNCATION: &str = "22001";
    /// `invalid_datetime_format`
    pub const INVALID_DATETIME: &str = "22007";
    /// `datetime_field_overflow`
    pub const DATETIME_OVERFLOW: &str = "22008";
    /// `interval_field_overflow`
    pub const ZONE_DISPLACEMENT: &str = "22009";
    /// `interval_field_overflow`
    pub const INTERVAL_OVERFLOW: &str = "22015";
    /// `invalid_parameter_value`
    pub const INVALID_PARAMETER: &str = "22023";
    /// `substring_error`
    pub const SUBSTRING: &str = "22011";
    /// `invalid_escape_sequence`
    pub const INVALID_ESCAPE: &str = "22025";
    /// `invalid_use_of_escape_character`
    pub const INVALID_ESCAPE_USE: &str = "2200C";
    /// `invalid_regular_expression`
    pub const INVALID_REGEX: &str = "2201B";
    /// `invalid_argument_for_logarithm`
    pub const INVALID_LOGARITHM: &str = "2201E";
    /// `invalid_argument_for_power_function`
    pub const INVALID_POWER: &str = "2201F";
    /// `character_not_in_repertoire`
    pub const BAD_ENCODING: &str = "22021";
    /// `untranslatable_character`
    pub const UNTRANSLATABLE: &str = "22P05";
    /// `array_subscript_error`
    pub const ARRAY_SUBSCRIPT: &str = "2202E";
    /// `null_value_not_allowed`
    pub const NULL_NOT_ALLOWED: &str = "22004";
    /// `program_limit_exceeded`
    pub const LIMIT_EXCEEDED: &str = "54000";
    /// `feature_not_supported`
    pub const NOT_SUPPORTED: &str = "0A000";
    /// `undefined_function`
    pub const UNDEFINED_FUNCTION: &str = "42883";
    /// `ambiguous_function`
    pub const AMBIGUOUS_FUNCTION: &str = "42725";
    /// `undefined_object`
    pub const UNDEFINED_OBJECT: &str = "42704";
    /// `datatype_mismatch`
    pub const DATATYPE_MISMATCH: &str = "42804";
    /// `cannot_coerce`
    pub const CANNOT_COERCE: &str = "42846";
    /// `syntax_error`
    pub const SYNTAX: &str = "42601";
    /// `indeterminate_datatype`
    pub const INDETERMINATE_TYPE: &str = "42P18";
    /// `protocol_violation`
    pub const PROTOCOL_VIOLATION: &str = "08P01";
    /// `cardinality_violation`
    pub const CARDINALITY_VIOLATION: &str = "21000";
    /// `internal_error`
    pub const INTERNAL: &str = "XX000";

    /// Those that rows are to blame for: what computes them may do so later, or never.
    pub const OF_ROWS: [&str; 17] = [
        CARDINALITY_VIOLATION,
        DIVISION_BY_ZERO,
        NUMERIC_OUT_OF_RANGE,
        INVALID_TEXT,
        STRING_TRUNCATION,
        INVALID_DATETIME,
        DATETIME_OVERFLOW,
        INTERVAL_OVERFLOW,
        INVALID_PARAMETER,
        SUBSTRING,
        INVALID_ESCAPE,
        INVALID_ESCAPE_USE,
        INVALID_REGEX,
        INVALID_LOGARITHM,
        INVALID_POWER,
        ARRAY_SUBSCRIPT,
        NULL_NOT_ALLOWED,
    ];
}

/// A refused value or operation: SQLSTATE, message, and detail and hint where PostgreSQL has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeError {
    /// Five characters of SQLSTATE.
    pub sqlstate: &'static str,
    /// The primary message, as PostgreSQL words it.
    pub message: String,
    /// Second line: what exactly was wrong.
    pub detail: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
}

impl TypeError {
    /// An error of this code and message.
    pub fn new(sqlstate: &'static str, message: impl Into<String>) -> Self {
        Self { sqlstate, message: message.into(), detail: None, hint: None }
    }

    /// The same with a detail line.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// The same with a hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// 22P02 `invalid input syntax for type T: "x"`.
    pub fn invalid_input(type_name: &str, input: &str) -> Self {
        Self::new(
            sqlstate::INVALID_TEXT,
            format!("invalid input syntax for type {type_name}: \"{input}\""),
        )
    }

    /// 22003 `T out of range`.
    pub fn out_of_range(type_name: &str) -> Self {
        Self::new(sqlstate::NUMERIC_OUT_OF_RANGE, format!("{type_name} out of range"))
    }

    /// 22012 `division by zero`.
    pub fn division_by_zero() -> Self {
        Self::new(sqlstate::DIVISION_BY_ZERO, "division by zero")
    }

    /// 0A000: understood, but not carried out here.
    pub fn not_supported(what: impl Into<String>) -> Self {
        Self::new(sqlstate::NOT_SUPPORTED, what)
    }

    /// Wraps into DataFusion's error so that the SQLSTATE survives a trip through a plan.
    pub fn into_datafusion(self) -> datafusion_common::DataFusionError {
        datafusion_common::DataFusionError::External(Box::new(self))
    }

    /// Finds the error that [`Self::into_datafusion`] wrapped, however deeply DataFusion or Arrow
    /// wrapped it again.
    pub fn from_datafusion(error: &datafusion_common::DataFusionError) -> Option<&Self> {
        let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
        while let Some(error) = next {
            if let Some(found) = error.downcast_ref::<Self>() {
                return Some(found);
            }
            next = error.source();
        }
        None
    }
}

impl fmt::Display for TypeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for TypeError {}

impl From<TypeError> for datafusion_common::DataFusionError {
    fn from(error: TypeError) -> Self {
        error.into_datafusion()
    }
}

/// The result of everything here that can refuse.
pub type Result<T, E = TypeError> = std::result::Result<T, E>;
