//! The real program, real sockets: a module for each feature.

mod access;
mod alias;
mod browser;
mod cli;
mod clients;
mod connect;
#[path = "../fuzz/grammar.rs"]
mod grammar;
mod hazards;
mod hostile;
mod keepalive;
mod limits;
mod packaging;
mod profile;
mod properties;
mod publish;
mod regression;
mod reload;
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
