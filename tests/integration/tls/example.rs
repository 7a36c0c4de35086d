//! The configuration that is offered for the open internet.

use std::fs;

use ringmain_tests::authority::of_this_run;
use ringmain_tests::program::{root, run, scratch};

/// Goal: what lies in `packaging/` is taken as it is, where its files are; one that is missing is named.
#[test]
fn the_offered_configuration_is_taken() {
    let (directory, packaging) = (scratch("internet"), root().join("packaging"));
    let text = fs::read_to_string(packaging.join("internet.toml")).expect("it is there");
    let here = text.replace("/etc/ringmain", directory.to_str().expect("a path in UTF-8"));
    let configuration = directory.join("ringmain.toml");
    fs::write(&configuration, here).expect("the directory can be written");
    let checked = || run(&[], &["-t", "--no-persistence", "-c", configuration.to_str().expect("UTF-8")]);

    let (_, server) = of_this_run();
    fs::copy(&server.certificate, directory.join("server.crt")).expect("it was issued");
    fs::copy(packaging.join("acl"), directory.join("acl")).expect("it is there");
    fs::write(directory.join("passwords"), "").expect("the directory can be written");
    let (code, said) = checked();
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("server.key"), "{said}");

    fs::copy(&server.key, directory.join("server.key")).expect("it was issued");
    let (code, said) = checked();
    assert_eq!(code, Some(0), "{said}");
}
