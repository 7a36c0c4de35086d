//! Clients that others wrote, against the broker: of Debian, PyPI, npm and crates.io.
//!
//! The scripts are in `tests/clients`; `make test` installs what they need.

mod mosquitto;
mod rumqttc;

use std::time::Duration;

use ringmain_tests::process::Process;
use ringmain_tests::program::root;
use ringmain_tests::{Case, broker_tests};

broker_tests!(both: paho, aiomqtt, mqttjs);

/// What a whole script may take.
const SCRIPT: Duration = Duration::from_secs(90);

/// Goal: paho-mqtt (Python): everything that its users do.
fn paho(case: &Case) {
    script(case, "target/venv/bin/python", "tests/clients/python/paho_client.py");
}

/// Goal: aiomqtt (Python, asyncio): everything that its users do.
fn aiomqtt(case: &Case) {
    script(case, "target/venv/bin/python", "tests/clients/python/aiomqtt_client.py");
}

/// Goal: MQTT.js (Node): everything that its users do.
fn mqttjs(case: &Case) {
    let modules = root().join("tests/clients/node_modules/mqtt");
    assert!(modules.exists(), "{} is not there; make test installs it", modules.display());
    script(case, "node", "tests/clients/node/mqttjs_client.js");
}

fn script(case: &Case, interpreter: &str, script: &str) {
    let interpreter =
        if interpreter.contains('/') { root().join(interpreter).display().to_string() } else { interpreter.to_owned() };
    let script = root().join(script).display().to_string();
    let port = case.broker().address().port().to_string();
    let level = if case.v5() { "5" } else { "3" };
    let (status, printed) = Process::run(&interpreter, &[&script, &port, level, &case.id("script")], SCRIPT);
    assert!(status.success() && printed.ends_with("ok\n"), "{status} (make test installs the clients):\n{printed}");
}
