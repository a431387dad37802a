//! PostgreSQL's template patterns: `to_char`, `to_date`, `to_timestamp`, `to_number`.

mod date_in;
mod date_out;
mod number;
mod number_in;
mod number_shape;
mod picture;
mod reader;

pub(crate) use date_in::parse;
pub(crate) use date_out::{Moment, print as print_date};
pub(crate) use number::{print_float, print_integer, print_numeric};
pub(crate) use number_in::parse_number;
