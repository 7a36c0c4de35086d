//! Tells the program what it was built by and for: counts of another compiler are no regression.

use std::env;
use std::process::Command;

fn main() {
    let rustc = env::var_os("RUSTC").expect("cargo names the compiler");
    let version = Command::new(rustc).arg("--version").output().expect("the compiler runs");
    println!("cargo::rustc-env=RINGCOST_RUSTC={}", String::from_utf8_lossy(&version.stdout).trim());
    println!("cargo::rustc-env=RINGCOST_TARGET={}", env::var("TARGET").expect("cargo names the target"));
    println!("cargo::rerun-if-changed=build.rs");
}
