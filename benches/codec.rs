//! The codec on the path of a live message: 100 B of payload, a topic of three levels.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use wire::frame::{Frame, FrameHeader as ParcelHeader};
use wire::mqtt::{self, Deframed, ProtocolVersion, PublishImage, QoS};
use wire::websocket::{Decoder, FrameHeader, Opcode};

const TOPIC: &str = "room/4711/comments";
const PAYLOAD: [u8; 100] = [b'x'; 100];
const PACKET_BYTES_MAX: u32 = 1 << 20;

fn image(version: ProtocolVersion, qos: QoS) -> PublishImage<'static> {
    PublishImage {
        version,
        dup: false,
        qos,
        retain: false,
        topic: TOPIC,
        packet_id: 1,
        topic_alias: None,
        message_expiry: None,
        properties: &[],
        subscription_identifiers: &[],
        payload: &PAYLOAD,
    }
}

fn encoded(image: &PublishImage<'_>) -> Vec<u8> {
    let mut bytes = vec![0; image.encoded_len()];
    image.encode(&mut bytes);
    bytes
}

/// Bytes of a socket to a checked PUBLISH, and back.
fn publish(c: &mut Criterion) {
    for (name, version) in [("v311", ProtocolVersion::V311), ("v5", ProtocolVersion::V5)] {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
            let image = image(version, qos);
            let bytes = encoded(&image);
            c.bench_function(&format!("publish/decode/{name}/qos{}", qos as u8), |b| {
                b.iter(|| {
                    let Ok(Deframed::Packet(raw)) = mqtt::deframe(black_box(&bytes), PACKET_BYTES_MAX) else {
                        panic!("a whole packet")
                    };
                    mqtt::decode_publish(&raw, version).expect("a valid packet").payload.len()
                });
            });
            let mut out = vec![0; image.encoded_len()];
            c.bench_function(&format!("publish/encode/{name}/qos{}", qos as u8), |b| {
                b.iter(|| {
                    let len = black_box(&image).encoded_len();
                    image.encode(black_box(&mut out[..len]))
                });
            });
        }
    }
}

/// What one core writes into a ring, and another reads.
fn frame(c: &mut Criterion) {
    let header = ParcelHeader { payload_len: PAYLOAD.len() as u32, ..ParcelHeader::default() };
    let mut bytes = vec![0; Frame::bytes_len(TOPIC.len(), 0, PAYLOAD.len())];
    c.bench_function("frame/write", |b| {
        b.iter(|| Frame::write(black_box(&header), TOPIC, std::iter::empty(), &PAYLOAD, black_box(&mut bytes)));
    });
    c.bench_function("frame/read", |b| {
        b.iter(|| Frame::read(black_box(&bytes)).expect("a valid frame").payload.len());
    });
}

/// A client's frame, unmasked on its way to the MQTT stream: one message, and as much as a receive brings.
fn websocket(c: &mut Criterion) {
    for payload in [120, 4096] {
        let mut bytes = FrameHeader::new(Opcode::Binary, payload).bytes().to_vec();
        bytes[1] |= 0x80;
        bytes.extend_from_slice(&[1, 2, 3, 4]);
        bytes.resize(bytes.len() + payload, 7);
        let mut out = vec![0; bytes.len()];
        let mut decoder = Decoder::default();
        c.bench_function(&format!("websocket/decode/{payload}"), |b| {
            b.iter(|| decoder.decode(black_box(&bytes), &mut out).written);
        });
    }
}

criterion_group!(benches, publish, frame, websocket);
criterion_main!(benches);
