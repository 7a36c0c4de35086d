//! The real program, real sockets: a module for each feature.

mod alias;
mod connect;
mod keepalive;
mod properties;
mod publish;
mod retained;
mod session;
mod shared;
mod subscribe;
mod will;
