//! Clients that others wrote, against the broker: of Debian, PyPI, npm and crates.io.
//!
//! The scripts are in `tests/clients`; `make test` installs what they need.

mod mosquitto;
mod rumqttc;

use std::net::SocketAddr;
use std::time::Duration;

use ringmain_tests::authority;
use ringmain_tests::process::Process;
use ringmain_tests::program::root;
use ringmain_tests::{Case, Transport, broker_tests};

broker_tests!(both: paho, aiomqtt, mqttjs);
broker_tests!(both ours: paho_over_websocket, aiomqtt_over_websocket, mqttjs_over_websocket);
broker_tests!(both ours: paho_over_tls, aiomqtt_over_tls, mqttjs_over_tls);
broker_tests!(both ours: paho_over_wss, aiomqtt_over_wss, mqttjs_over_wss);

/// What a whole script may take.
const SCRIPT: Duration = Duration::from_secs(90);

const PAHO: [&str; 2] = ["target/venv/bin/python", "tests/clients/python/paho_client.py"];
const AIOMQTT: [&str; 2] = ["target/venv/bin/python", "tests/clients/python/aiomqtt_client.py"];
const MQTTJS: [&str; 2] = ["node", "tests/clients/node/mqttjs_client.js"];

/// Goal: paho-mqtt (Python): everything that its users do.
fn paho(case: &Case) {
    script(case, PAHO, Transport::tested());
}

/// Goal: aiomqtt (Python, asyncio): everything that its users do.
fn aiomqtt(case: &Case) {
    script(case, AIOMQTT, Transport::tested());
}

/// Goal: MQTT.js (Node): everything that its users do.
fn mqttjs(case: &Case) {
    script(case, MQTTJS, Transport::tested());
}

/// Goal: the same over WebSocket.
fn paho_over_websocket(case: &Case) {
    script(case, PAHO, Transport::Ws);
}

/// Goal: the same over WebSocket.
fn aiomqtt_over_websocket(case: &Case) {
    script(case, AIOMQTT, Transport::Ws);
}

/// Goal: the same over WebSocket, which is what it speaks in browsers.
fn mqttjs_over_websocket(case: &Case) {
    script(case, MQTTJS, Transport::Ws);
}

/// Goal: the same over TLS.
fn paho_over_tls(case: &Case) {
    script(case, PAHO, Transport::Tls);
}

/// Goal: the same over TLS.
fn aiomqtt_over_tls(case: &Case) {
    script(case, AIOMQTT, Transport::Tls);
}

/// Goal: the same over TLS.
fn mqttjs_over_tls(case: &Case) {
    script(case, MQTTJS, Transport::Tls);
}

/// Goal: the same over WebSocket over TLS.
fn paho_over_wss(case: &Case) {
    script(case, PAHO, Transport::Wss);
}

/// Goal: the same over WebSocket over TLS.
fn aiomqtt_over_wss(case: &Case) {
    script(case, AIOMQTT, Transport::Wss);
}

/// Goal: the same over WebSocket over TLS, as pages of https do.
fn mqttjs_over_wss(case: &Case) {
    script(case, MQTTJS, Transport::Wss);
}

fn script(case: &Case, [interpreter, script]: [&str; 2], transport: Transport) {
    let modules = root().join("tests/clients/node_modules/mqtt");
    assert!(modules.exists(), "{} is not there; make test installs it", modules.display());
    let interpreter =
        if interpreter.contains('/') { root().join(interpreter).display().to_string() } else { interpreter.to_owned() };
    let script = root().join(script).display().to_string();
    let address = Via { case, transport }.address();
    let authority = authority::of_this_run().0.file.display().to_string();
    let level = if case.v5() { "5" } else { "3" };
    let arguments = [&script, &address.port().to_string(), level, &case.id("script"), transport.word(), &authority];
    let (status, printed) = Process::run(&interpreter, &arguments, SCRIPT);
    assert!(status.success() && printed.ends_with("ok\n"), "{status} (make test installs the clients):\n{printed}");
}

/// How a client reaches the broker of a case.
#[derive(Clone, Copy)]
struct Via<'a> {
    case: &'a Case,
    transport: Transport,
}

impl Via<'_> {
    /// Where the broker listens for it.
    fn address(self) -> SocketAddr {
        let broker = self.case.broker();
        match self.transport {
            same if same == Transport::tested() => broker.address(),
            Transport::Tcp => broker.tcp(),
            Transport::Tls => broker.listening("tls, of the case"),
            Transport::Wss => broker.listening("wss, web of the case"),
            Transport::Ws => broker.listening("ws"),
        }
    }
}
