//! The switch on a simulated kernel.

pub mod driver;
pub mod kernel;
pub mod machine;
pub mod socket;
