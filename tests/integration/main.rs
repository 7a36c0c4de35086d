//! The real program, real sockets: a module for each feature.

mod connect;
