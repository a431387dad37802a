//! Operations on a range, one file each: *propose*, *apply*, *after*.

mod closed;
mod membership;
mod publish;
mod remove;
mod split;
mod system;
mod truncate;

pub(crate) use membership::is_behind;
pub(crate) use split::SplitUnderWay;
