//! Placeholder until the first commit of this program.
fn main() {}
