//! Dates and times: the calendar, time zones, reading and printing.

pub mod civil;
pub mod zone;
