//! The real program, real sockets: a module for each feature.

mod access;
mod alias;
mod cli;
mod clients;
mod connect;
#[path = "../fuzz/grammar.rs"]
mod grammar;
mod hazards;
mod hostile;
mod keepalive;
mod limits;
mod profile;
mod properties;
mod publish;
mod regression;
mod retained;
mod session;
mod shared;
mod slow;
mod stop;
mod subscribe;
mod sys;
mod tls;
mod tune;
mod websocket;
mod will;

// What the grammar is written in.
use ringmain_tests::{packet, property};
