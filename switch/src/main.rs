//! ringmain
fn main() {}
