//! A wall clock that jumps. Timers use the monotonic clock, which no one sets; what must outlive the process is kept by
//! the wall clock.

use std::fs;
use std::path::PathBuf;

use ringmain_tests::{DataDirectory, Property, Publish, Setup, Version};

use crate::clients::{Live, Offline};
use crate::load::Load;

/// A setup whose wall clock is as far ahead or behind as the file at `offset` says.
fn under(setup: Setup, offset: &std::path::Path) -> Setup {
    let preload = libraries().expect("libfaketime of Debian is missing: run .ci/tools");
    setup
        .env("LD_PRELOAD", preload.to_str().expect("text"))
        .env("FAKETIME_TIMESTAMP_FILE", offset.to_str().expect("text"))
        .env("FAKETIME_NO_CACHE", "1")
        .env("DONT_FAKE_MONOTONIC", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
}

/// Where Debian keeps the library, by architecture.
fn libraries() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?.flatten();
    folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1")).find(|library| library.exists())
}

/// Goal: a clock set back, while the program runs and between two starts: nothing is lost, nothing ends early, and a
/// session lives as much longer at most.
#[test]
fn a_clock_set_back_loses_nothing() {
    let (data, offset) = (DataDirectory::new(), DataDirectory::place());
    fs::write(&offset, "+0").expect("our own file");
    let mut broker = under(Load::setup(2, &data), &offset).start();
    let mut live = Live::new(&broker);
    let mut away = Offline::new(&broker, "away");
    let mut publisher = broker.client(Version::V5, "publisher").connect();
    away.publish_all(&mut publisher, 10);
    fs::write(&offset, "-2d").expect("our own file");
    away.publish_all(&mut publisher, 10);
    live.goes_on(&broker);
    broker.process().kill();
    fs::write(&offset, "-4d").expect("our own file");
    let mut broker = under(Load::setup(2, &data), &offset).start();
    let mut publisher = broker.client(Version::V5, "publisher").connect();
    away.publish_all(&mut publisher, 10);
    broker.process().kill();
    fs::write(&offset, "+0").expect("our own file");
    let broker = under(Load::setup(2, &data), &offset).start();
    away.collect(&broker);
}

/// Goal: time that passes while the program is down counts: sessions and messages whose time is over are gone, others
/// are there.
#[test]
fn time_passes_while_it_is_down() {
    let (data, offset) = (DataDirectory::new(), DataDirectory::place());
    fs::write(&offset, "+0").expect("our own file");
    let mut broker = under(Load::setup(2, &data), &offset).start();
    let durable = |id: &str, seconds| broker.client(Version::V5, id).resume().expiry(seconds);
    for (id, seconds) in [("short", 60), ("long", 7200)] {
        let mut client = durable(id, seconds).connect();
        assert_eq!(client.subscribe("t", 1), 1);
        client.disconnect();
    }
    let mut publisher = broker.client(Version::V5, "publisher").connect();
    for (text, seconds) in [("over", 60), ("not over", 7200)] {
        let message = Publish::new("t", 1, text).with(&[Property::MessageExpiry(seconds)]);
        assert!(publisher.publish_packet(&message) < 0x80);
    }
    broker.process().kill();
    fs::write(&offset, "+1h").expect("our own file");
    let broker = under(Load::setup(2, &data), &offset).start();
    let durable = |id: &str| broker.client(Version::V5, id).resume().expiry(7200).connect();
    assert!(!durable("short").session_present, "its time is over");
    let mut long = durable("long");
    assert!(long.session_present, "its time is not over");
    assert_eq!(long.message().text(), "not over");
    long.silent();
}
