//! Sessions over a cluster in memory, or a simulated one: a module per topic, one binary, because linking
//! DataFusion is what takes long.

mod compat;
mod constraints;
mod explain;
mod fuzzed;
mod indexes;
mod isolation;
mod levels;
mod limits;
mod locks;
mod lookup;
mod params;
mod past;
mod privileges;
mod queries;
mod row_execution;
mod schema_change;
mod session;
mod simulation;
mod statistics;
mod support;
mod xact;
