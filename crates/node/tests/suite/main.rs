//! Clusters of real processes: a module per topic, one binary, because linking DataFusion is what takes long.

mod chaos;
mod clients;
mod explain;
mod fragments;
mod jdbc;
mod levels;
mod locks;
mod migrations;
mod online;
mod past;
mod round_trips;
mod secure;
mod sql_files;
mod support;
mod survival;
mod told;
mod tpc;
mod tpcb;
mod wrong_input;
mod xact_status;
