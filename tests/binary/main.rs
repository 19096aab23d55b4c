//! The built binary, started as a user would, with a client of the tests' own.

mod access;
mod arguments;
mod check;
mod client;
mod control;
mod faults;
mod fixtures;
mod http;
mod limits;
mod log;
mod model;
mod program;
mod recordings;
mod serving;
mod sessions;
mod viewers;
