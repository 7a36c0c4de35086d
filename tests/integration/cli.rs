//! The program as its operator sees it: usage, configuration errors, exit codes.

use std::fs;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Duration;

use ringmain_tests::process::Process;
use ringmain_tests::program::{self, Program, ringmain, scratch};
use ringmain_tests::{DEADLINE, DataDirectory, Setup, Transport, Version};

/// Runs the program with arguments to its end, with a data directory of its own: exit code and all that it printed.
fn run_alone(args: &[&str]) -> (Option<i32>, String) {
    let data = DataDirectory::new();
    program::run(&data.environment(), args)
}

/// Runs it with a configuration file.
fn run_with(name: &str, toml: &str, args: &[&str]) -> (Option<i32>, String) {
    let file = scratch(name).join("ringmain.toml");
    fs::write(&file, toml).expect("the scratch directory can be written");
    let answer = run_alone(&[&["--config", file.to_str().expect("a path of text")], args].concat());
    fs::remove_dir_all(file.parent().expect("a directory")).expect("our own directory");
    answer
}

/// Whether the program under test is another one.
fn foreign() -> bool {
    Program::tested() != Program::Ringmain
}

/// Goal: help and version are no errors, and help names the flags.
#[test]
fn help_and_version() {
    if foreign() {
        return;
    }
    let (code, help) = run_alone(&["--help"]);
    assert_eq!(code, Some(0));
    for flag in [
        "--config",
        "--bind",
        "--port",
        "--shards",
        "--cores",
        "--service-cores",
        "--profile",
        "--data-dir",
        "--no-persistence",
        "--log",
        "--version",
        "check",
    ] {
        assert!(help.contains(flag), "{flag} in {help}");
    }
    let (code, version) = run_alone(&["--version"]);
    assert_eq!((code, version.trim_end()), (Some(0), concat!("ringmain ", env!("CARGO_PKG_VERSION"))));
}

/// Goal: wrong usage exits with 2 and says what is wrong.
#[test]
fn wrong_usage() {
    if foreign() {
        return;
    }
    let bad = [
        (&["--shard", "2"][..], "--shards"),
        (&["--bind", "nonsense"], "nonsense"),
        (&["--bind", "127.0.0.1:70000"], "70000"),
        (&["--shards", "many", "--bind", "127.0.0.1:0"], "many"),
        (&["--shards", "0", "--bind", "127.0.0.1:0"], "shards"),
        (&["--port", "x"], "x"),
        (&["--log", "loud", "--bind", "127.0.0.1:0"], "loud"),
        (&["--cores", "100000", "--bind", "127.0.0.1:0"], "100000"),
        (&["nonsense"], "nonsense"),
    ];
    for (args, named) in bad {
        let (code, printed) = run_alone(args);
        assert_eq!(code, Some(2), "{args:?}: {printed}");
        assert!(printed.contains(named), "{named} in {printed}");
    }
}

/// Goal: errors of the file name file, line, key or value, and the nearest key that exists; the exit code is 2.
#[test]
fn wrong_configuration() {
    if foreign() {
        return;
    }
    let bad = [
        ("[limits]\nmax_inflght = 5\n", &["ringmain.toml:2", "max_inflght", "max_inflight"][..]),
        ("[limit]\nmax_inflight = 5\n", &["ringmain.toml:1", "limits"]),
        ("\n\n[limits]\nmax_packet_size = \"1 parsec\"\n", &["ringmain.toml:4", "max_packet_size", "parsec"]),
        ("[limits]\nmax_inflight = \"five\"\n", &["ringmain.toml:2", "max_inflight", "five"]),
        ("[limits]\nmax_qos_allowed = 3\n", &["ringmain.toml:2", "max_qos_allowed"]),
        ("[limits\n", &["ringmain.toml:1"]),
        ("[node]\ndurability = \"fsync\"\n", &["durability", "belongs in [journal]"]),
        ("[journal]\ndurability = \"perhaps\"\n", &["ringmain.toml:2", "durability", "perhaps", "fsync"]),
        ("[limits]\nmax_packet_size = \"64MiB\"\n", &["max_packet_size", "staging_size", "segment_size", "64MiB"]),
        ("[journal]\nmax_size = \"1KiB\"\n", &["ringmain.toml:2", "max_size", "1KiB", "segment_size"]),
        ("[[listener]]\nbind = \"127.0.0.1:0\"\ntransport = \"wss\"\n", &["certificate", "missing", "docs/tls.md"]),
        ("[[listener]]\nbind = \"0.0.0.0:0\"\n", &["0.0.0.0", "allow_anonymous"]),
        ("[[listener]]\n", &["bind"]),
        ("[placement]\nrules = [\"a/#/b\"]\n", &["rules", "a/#/b"]),
    ];
    for (number, (toml, named)) in bad.into_iter().enumerate() {
        for args in [&["--test-config"][..], &[]] {
            let (code, printed) = run_with(&format!("cli-{number}"), toml, args);
            assert_eq!(code, Some(2), "{toml:?}: {printed}");
            assert!(named.iter().all(|named| printed.contains(named)), "{named:?} in {printed}");
        }
    }
    let (code, printed) = run_alone(&["--config", "no/such/file.toml"]);
    assert_eq!(code, Some(2), "{printed}");
    assert!(printed.contains("no/such/file.toml"), "{printed}");
}

/// Goal: an address that other machines reach is refused unless that is written out.
#[test]
fn open_addresses_are_refused() {
    if foreign() {
        return;
    }
    for bind in ["0.0.0.0:0", "[::]:0"] {
        let (code, printed) = run_alone(&["--bind", bind]);
        assert_eq!(code, Some(2), "{printed}");
        assert!(printed.contains("allow_anonymous"), "{printed}");
    }
}

/// Goal: a port in use is named, with exit code 1.
#[test]
fn port_in_use() {
    if foreign() {
        return;
    }
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address").to_string();
    for shards in ["1", "2"] {
        let (code, printed) = run_alone(&["--bind", &address, "--shards", shards]);
        assert_eq!(code, Some(1), "{printed}");
        assert!(printed.contains(&address) && printed.contains("in use"), "{printed}");
    }
    // Nor do two of our own share one, which the kernel would allow.
    let broker = Setup::shards(1).start();
    let (code, printed) = run_alone(&["--bind", &broker.address().to_string(), "--shards", "1"]);
    assert_eq!(code, Some(1), "{printed}");
}

/// Goal: `check` prints the configuration in effect, file below environment below flag, and the memory that it bounds.
#[test]
fn check_prints_what_is_in_effect() {
    if foreign() {
        return;
    }
    let (code, printed) = run_alone(&["check"]);
    assert_eq!(code, Some(0), "{printed}");
    for named in ["durability", "memory", "max_packet_size", "127.0.0.1:1883", "[::1]:1883"] {
        assert!(printed.contains(named), "{named} in {printed}");
    }
    let file = scratch("cli-check").join("ringmain.toml");
    fs::write(&file, "[limits]\nmax_inflight = 11\nreceive_maximum = 22\n[node]\nshards = 3\n")
        .expect("our own directory");
    let args = ["check", "--config", file.to_str().expect("a path of text"), "--shards", "1"];
    let environment = [("RINGMAIN__LIMITS__MAX_INFLIGHT", "13"), ("RINGMAIN__NODE__SHARDS", "2")]
        .map(|(k, v)| (k.to_owned(), v.to_owned()));
    let (code, printed) = program::run(&environment, &args);
    assert_eq!(code, Some(0), "{printed}");
    for (key, value) in [("max_inflight", "13"), ("receive_maximum", "22"), ("shards", "1")] {
        let line = printed
            .lines()
            .find(|line| line.trim_start().starts_with(key))
            .unwrap_or_else(|| panic!("no {key} in {printed}"));
        assert!(line.contains(value), "{line}");
    }
    fs::remove_dir_all(file.parent().expect("a directory")).expect("our own directory");
}

/// Goal: a reader that has seen enough (`| head`) is no failure, and nothing is said of it; a disk that is full is one, by
/// its name. `tune` and `journal` once ended well when the last of what they told could not be written.
#[test]
fn output_that_cannot_be_written() {
    if foreign() {
        return;
    }
    let commands: [&[&str]; 5] = [
        &["check", "--no-persistence"],
        &["-t", "--no-persistence"],
        &["reference", "markdown"],
        &["tune", "inspect"],
        &["tune", "plan", "--profile", "shared-host"],
    ];
    for args in commands {
        let run = |out: Stdio| {
            let output = Command::new(ringmain()).args(args).stdout(out).stderr(Stdio::piped()).output();
            let output = output.expect("the program starts");
            (output.status.code(), String::from_utf8(output.stderr).expect("text"))
        };
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        assert_eq!(run(writer.into()), (Some(0), String::new()), "{args:?}");
        let full = fs::File::options().write(true).open("/dev/full").expect("Linux has it");
        let (code, said) = run(full.into());
        assert_eq!(code, Some(1), "{args:?}: {said}");
        assert!(said.starts_with("ringmain: cannot write to standard output: No space left"), "{args:?}: {said}");
    }
}

/// Goal: environment variables that no key has are refused as keys of the file are.
#[test]
fn unknown_environment() {
    if foreign() {
        return;
    }
    let environment = [("RINGMAIN__LIMITS__MAX_INFLGHT".to_owned(), "5".to_owned())];
    let (code, printed) = program::run(&environment, &["--bind", "127.0.0.1:0"]);
    assert_eq!(code, Some(2), "{printed}");
    assert!(printed.to_lowercase().contains("max_inflight"), "{printed}");
}

/// Goal: the data directory is the one of the flag, else of the environment or file, else the user's; without any there
/// is an error, unless nothing is to be kept.
#[test]
fn where_the_journal_lies() {
    if foreign() {
        return;
    }
    let variables = |list: &[(&str, &str)]| -> Vec<(String, String)> {
        // An empty value is as good as none.
        let user = ["HOME", "XDG_STATE_HOME"].map(|name| (name.to_owned(), String::new()));
        user.into_iter().chain(list.iter().map(|(name, value)| (name.to_string(), value.to_string()))).collect()
    };
    let key = ("RINGMAIN__JOURNAL__DATA_DIR", "/key");
    for (environment, args, shown) in [
        (variables(&[("HOME", "/h")]), &["check"][..], "durability: fsync in /h/.local/state/ringmain\n"),
        (variables(&[("HOME", "/h"), ("XDG_STATE_HOME", "/s")]), &["check"], "durability: fsync in /s/ringmain\n"),
        (variables(&[("HOME", "/h"), key]), &["check"], "durability: fsync in /key\n"),
        (variables(&[key]), &["check", "--data-dir", "/flag"], "durability: fsync in /flag\n"),
        (variables(&[]), &["check", "--no-persistence"], "durability: memory, without a journal"),
        (
            variables(&[key, ("RINGMAIN__JOURNAL__DURABILITY", "written")]),
            &["check"],
            "durability: written in /dev/shm",
        ),
    ] {
        let (code, printed) = program::run(&environment, args);
        assert_eq!(code, Some(0), "{printed}");
        assert!(printed.contains(shown), "{shown} in {printed}");
        assert!(printed.contains("journal, not yet on disk"), "{printed}");
    }
    let (code, printed) = program::run(&variables(&[]), &["--bind", "127.0.0.1:0"]);
    assert_eq!(code, Some(2), "{printed}");
    for named in ["journal.data_dir", "XDG_STATE_HOME", "HOME", "--data-dir DIR", "--no-persistence"] {
        assert!(printed.contains(named), "{named} in {printed}");
    }
}

/// Goal: the banner says what there is: version, shards, durability, listeners; connects and disconnects are logged
/// with their client.
#[test]
fn banner_and_log() {
    if foreign() {
        return;
    }
    let mut broker = Setup::shards(2).start();
    broker.client(Version::V5, "a client for the log").connect().disconnect();
    let log = |broker: &mut ringmain_tests::Broker, needle: &str| {
        broker.process().wait_for(needle, DEADLINE).unwrap_or_else(|log| panic!("no {needle} in {log}"))
    };
    log(&mut broker, "a client for the log");
    assert!(broker.terminate(Duration::from_secs(5)).success());
    let printed = broker.log();
    for named in [env!("CARGO_PKG_VERSION"), "durability: fsync in ", "shards: 2", "listening on 127.0.0.1:"] {
        assert!(printed.contains(named), "{named} in {printed}");
    }
    assert!(printed.matches("a client for the log").count() >= 2, "connect and disconnect in {printed}");
}

/// Goal: a start says first what it reads, and last that it is ready: then clients are served.
#[test]
fn a_start_says_what_it_does() {
    if foreign() {
        return;
    }
    let data = DataDirectory::new();
    for (shards, reads) in [(2, None), (2, Some("journals of 2 shards")), (1, Some("journals of 2 shards"))] {
        let mut broker = Setup::shards(shards).on(&data).start();
        broker.process_log("\nready");
        broker.client(Version::V5, "a").durable().connect().retain("t", 1, "x");
        assert!(broker.terminate(Duration::from_secs(5)).success());
        let printed = broker.log();
        let place = |text: &str| printed.find(text).unwrap_or_else(|| panic!("no {text:?} in {printed}"));
        assert_eq!(printed.contains("reading the "), reads.is_some(), "{printed}");
        assert!(reads.is_none_or(|reads| place(&format!("reading the {reads} in /")) < place("listening on ")));
        assert!(place("listening on ") < place("\nready\n"), "{printed}");
    }
}

/// Goal: IPv6 is served as IPv4 is.
#[test]
fn listens_on_ipv6() {
    if foreign() {
        return;
    }
    let args = ["--bind", "[::1]:0", "--bind", "127.0.0.1:0", "--shards", "2"].map(str::to_owned);
    let data = DataDirectory::new();
    let process = Process::start(&ringmain().display().to_string(), &args, &data.environment());
    for family in ["[::1]", "127.0.0.1"] {
        let line = process.wait_for(&format!("listening on {family}:"), DEADLINE).unwrap_or_else(|log| panic!("{log}"));
        let port: String = line.chars().take_while(char::is_ascii_digit).collect();
        let address = format!("{family}:{port}").parse().expect("an address");
        // Listeners of the command line speak plain MQTT, whatever this run does.
        ringmain_tests::Options::new(address, Version::V5, "six").connect_by(Transport::Tcp).ping();
    }
}
