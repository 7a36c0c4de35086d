//! CONNECT and CONNACK.

use ringmain_tests::{Case, broker_tests};

broker_tests!(both: is_accepted);

/// Goal: a plain client is accepted and keeps its connection.
fn is_accepted(case: &Case) {
    let mut client = case.connect("a");
    client.ping();
}
