//! testssl.sh, a tool that others wrote: which versions and suites a listener really offers.

use std::fs;

use ringmain_tests::process::Process;
use ringmain_tests::program::scratch;
use serde_json::Value;

use super::start;

/// What the whole of it may take: it waits for the answers to some hundred handshakes.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(180);

/// Versions that must not be offered, by the tool's names.
const OLD: [&str; 4] = ["SSLv2", "SSLv3", "TLS1", "TLS1_1"];
/// Versions that must be.
const NEW: [&str; 2] = ["TLS1_2", "TLS1_3"];
/// Kinds of suites that must not be offered: without encryption or authentication, of export strength, RC4 and single DES,
/// 128 bits without authenticated encryption, triple DES and IDEA, block ciphers with CBC or without forward secrecy.
const WEAK: [&str; 6] = [
    "cipherlist_NULL",
    "cipherlist_aNULL",
    "cipherlist_EXPORT",
    "cipherlist_LOW",
    "cipherlist_3DES_IDEA",
    "cipherlist_AVERAGE",
];

/// Goal: nothing below TLS 1.2 is offered and no weak suite, with both kinds of keys that suites depend on.
#[test]
fn nothing_old_and_nothing_weak() {
    let (_broker, address) = start(1, "");
    let file = scratch("testssl").join("found.json");
    let (target, file_name) = (format!("localhost:{}", address.port()), file.display().to_string());
    let call = [
        "-p",
        "-s",
        "--quiet",
        "--warnings",
        "off",
        "--color",
        "0",
        "--nodns",
        "none",
        "--ip",
        "127.0.0.1",
        "--jsonfile",
        &file_name,
        &target,
    ];
    let (_, printed) = Process::run("testssl", &call, PATIENCE);
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{error} (make test installs it):\n{printed}"));
    let found: Vec<Value> = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let of = |id: &str| {
        let row = found.iter().find(|row| row["id"] == id).unwrap_or_else(|| panic!("no {id} in:\n{text}"));
        row["finding"].as_str().expect("a text").to_owned()
    };
    for id in OLD.iter().chain(&WEAK) {
        assert_eq!(of(id), "not offered", "{id}: {printed}");
    }
    for id in NEW {
        assert!(of(id).starts_with("offered"), "{id}: {printed}");
    }
    assert_eq!(of("cipherlist_STRONG"), "offered", "{printed}");
}
