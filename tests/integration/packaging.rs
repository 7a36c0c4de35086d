//! What lies in `packaging/`: files that a package brings fit the program and each other.

use std::fs;

use ringmain_tests::process::Process;
use ringmain_tests::program::{Program, ringmain, root, run};
use ringmain_tests::{DEADLINE, DataDirectory};

fn packaged(file: &str) -> String {
    let file = root().join("packaging").join(file);
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Goal: the configurations of the package and of the image are taken, and serve this machine alone.
#[test]
fn configurations_are_taken() {
    if Program::tested() != Program::Ringmain {
        return;
    }
    for name in ["deb/ringmain.toml", "docker/ringmain.toml"] {
        let file = root().join("packaging").join(name).display().to_string();
        let (code, said) = run(&DataDirectory::new().environment(), &["check", "-c", &file]);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("bind = \"127.0.0.1:1883\"") && said.matches("[[listener]]").count() == 2, "{said}");
    }
}

/// Goal: what the unit calls is what the program has: its commands are carried out with the paths of a test, up to the
/// first answer of the system.
#[test]
fn the_unit_calls_what_there_is() {
    if Program::tested() != Program::Ringmain {
        return;
    }
    let unit = packaged("systemd/ringmain.service");
    let command = |key: &str| {
        let line = unit.lines().find_map(|line| line.strip_prefix(&format!("{key}="))).expect("a line of the unit");
        line.to_owned()
    };
    let data = DataDirectory::new();
    let configuration = root().join("packaging/deb/ringmain.toml").display().to_string();
    let called = |key: &str| {
        let line = command(key).replace("/etc/ringmain/ringmain.toml", &configuration);
        let line = line.replace("${STATE_DIRECTORY}", data.path().to_str().expect("a path of text"));
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        assert_eq!(words[0], "/usr/bin/ringmain");
        words[1..].to_vec()
    };
    let tried = |key: &str| {
        let words = called(key);
        run(&data.environment(), &words.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let (code, said) = tried("ExecStartPre");
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = tried("ExecReload");
    assert!(code == Some(1) && said.contains("no node answers at "), "{said}");
    // Another port, as the real one may be taken.
    let words = [called("ExecStart"), vec!["--port".to_owned(), "0".to_owned()]].concat();
    let served = Process::start(&ringmain().display().to_string(), &words, &data.environment());
    served.wait_for("listening on", DEADLINE).unwrap_or_else(|printed| panic!("{printed}"));
    let (code, said) = tried("ExecReload");
    assert_eq!(code, Some(0), "{said}");
}

/// Goal: the manual page knows every command of the program.
#[test]
fn the_manual_page_names_the_commands() {
    if Program::tested() != Program::Ringmain {
        return;
    }
    let (_, help) = run(&[], &["--help"]);
    let (_, commands) = help.split_once("Commands:\n").expect("help lists commands");
    let commands = commands.lines().take_while(|line| !line.is_empty()).filter_map(|line| line.strip_prefix("  "));
    let page = packaged("man/ringmain.8");
    for command in commands.filter(|line| !line.starts_with(' ')).filter_map(|line| line.split(' ').next()) {
        assert!(command == "help" || page.contains(&format!(".TP\n.B {command}\n")), "{command}");
    }
}

/// Goal: the files that the package is made of are there, and its scripts are scripts.
#[test]
fn the_package_has_its_files() {
    let manifest = fs::read_to_string(root().join("switch/Cargo.toml")).expect("it is there");
    let (_, assets) = manifest.split_once("\nassets = [\n").expect("a list");
    let assets: Vec<&str> = assets.lines().map_while(|line| line.strip_prefix("    [\"")).collect();
    assert!(assets.len() > 5);
    for asset in assets {
        let (source, _) = asset.split_once('"').expect("a path");
        let there = source.starts_with("target/") || root().join("switch").join(source.replace("*.md", "")).exists();
        assert!(there, "{source}");
    }
    for script in ["postinst", "postrm"] {
        let file = root().join("packaging/deb").join(script).display().to_string();
        let (status, said) = Process::run("sh", &["-n", &file], DEADLINE);
        assert!(status.success(), "{said}");
    }
}
