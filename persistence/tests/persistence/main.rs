//! The crate from outside: random crashes, and files that older versions wrote.

mod crash;
mod golden;
mod keeper;
mod planned;
