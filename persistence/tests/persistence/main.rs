//! The crate from outside: random crashes, and files that older versions wrote.

mod golden;
mod node;
mod planned;
mod world;
