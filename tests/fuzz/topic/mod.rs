//! The filter tree alone, without the broker around it: instrumenting all of that would take minutes.

#[path = "../../../switch/src/topic/id_table.rs"]
mod id_table;
#[path = "../../../switch/src/topic/paged.rs"]
mod paged;
#[path = "../../../switch/src/topic/tree.rs"]
pub mod tree;
