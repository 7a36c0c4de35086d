//! A WebSocket client that can do wrong: frames as they are, and a stream of bytes above them.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::DEADLINE;
use crate::stream::Carrier;

/// A connection that speaks WebSocket, or is about to.
#[derive(Debug)]
pub struct WebSocket {
    carrier: Carrier,
    /// Bytes that are no whole frame yet.
    raw: Vec<u8>,
    /// Payload that was not read yet.
    plain: Vec<u8>,
    /// Frames that were sent, for keys that differ.
    sent: u32,
    closed: bool,
}

/// The request of a good handshake; the key is the example of RFC 6455, and `more` is further headers, a line each.
pub fn request(path: &str, protocols: &str, more: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Protocol: {protocols}\r\n{more}\r\n"
    )
}

/// What the example's key is answered with.
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The bytes of a client's frame: its first byte, and its payload under this key.
pub fn frame(first: u8, payload: &[u8], key: [u8; 4]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        short @ 0..126 => bytes.push(0x80 | short as u8),
        medium @ 126..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend((medium as u16).to_be_bytes());
        }
        long => {
            bytes.push(0x80 | 127);
            bytes.extend((long as u64).to_be_bytes());
        }
    }
    bytes.extend(key);
    bytes.extend(payload.iter().enumerate().map(|(index, byte)| byte ^ key[index % 4]));
    bytes
}

impl WebSocket {
    /// A TCP connection on which nothing has been said.
    pub fn open(address: SocketAddr) -> Self {
        let socket = TcpStream::connect_timeout(&address, DEADLINE).expect("the broker accepts");
        socket.set_nodelay(true).expect("a TCP socket");
        socket.set_write_timeout(Some(DEADLINE)).expect("a TCP socket");
        socket.set_read_timeout(Some(DEADLINE)).expect("a TCP socket");
        Self::over(Carrier::Tcp(socket))
    }

    /// The same over what is connected.
    pub fn over(carrier: Carrier) -> Self {
        Self { carrier, raw: Vec::new(), plain: Vec::new(), sent: 0, closed: false }
    }

    /// A connection that has shaken hands, at `/mqtt`.
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        Self::open(address).upgraded()
    }

    /// The same over what is connected.
    #[track_caller]
    pub fn connect_over(carrier: Carrier) -> Self {
        Self::over(carrier).upgraded()
    }

    #[track_caller]
    fn upgraded(self) -> Self {
        let mut web = self;
        web.send_raw(request("/mqtt", "mqtt", "").as_bytes());
        let answer = web.answer();
        assert!(answer.starts_with("HTTP/1.1 101 ") && answer.contains(ACCEPT), "{answer}");
        assert!(answer.contains("\r\nSec-WebSocket-Protocol: mqtt\r\n"), "{answer}");
        web
    }

    /// The socket, for what only sockets can do.
    pub fn socket(&self) -> &TcpStream {
        self.carrier.socket()
    }

    /// Sends bytes as they are; an error only shows that the broker closed, which the reading side will see.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        let _ = self.carrier.write_all(bytes).and_then(|()| self.carrier.flush());
    }

    /// Sends a frame with this first byte, masked.
    pub fn send_frame(&mut self, first: u8, payload: &[u8]) {
        self.sent += 1;
        let key = self.sent.wrapping_mul(0x9e37_79b9).to_be_bytes();
        self.send_raw(&frame(first, payload, key));
    }

    /// The answer to a handshake: its head, and where it is not granted all that follows.
    #[track_caller]
    pub fn answer(&mut self) -> String {
        loop {
            if let Some(end) = self.raw.windows(4).position(|window| window == b"\r\n\r\n") {
                if self.raw.starts_with(b"HTTP/1.1 101 ") {
                    let head: Vec<u8> = self.raw.drain(..end + 4).collect();
                    return String::from_utf8(head).expect("HTTP is ASCII");
                }
                while self.fill().expect("an answer comes to its end") {}
                return String::from_utf8(std::mem::take(&mut self.raw)).expect("HTTP is ASCII");
            }
            assert!(self.fill().expect("an answer comes"), "the connection ended: {:?}", self.raw);
        }
    }

    /// The next frame: its first byte and its payload; `None` at the end of the connection.
    #[track_caller]
    pub fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        self.try_frame().expect("a frame, or the end")
    }

    /// Sees a close frame with this code and then the end of the connection.
    #[track_caller]
    pub fn closed(&mut self, code: u16) {
        match self.frame() {
            Some((0x88, payload)) => assert_eq!(payload, code.to_be_bytes(), "a close frame with {code}"),
            other => panic!("a close frame with {code} was expected, {other:02x?} came"),
        }
        assert_eq!(self.frame(), None, "nothing follows a close frame");
    }

    fn try_frame(&mut self) -> io::Result<Option<(u8, Vec<u8>)>> {
        loop {
            if let Some((len, start)) = whole_frame(&self.raw) {
                let frame: Vec<u8> = self.raw.drain(..len).collect();
                return Ok(Some((frame[0], frame[start..].to_vec())));
            }
            if !self.fill()? {
                assert!(self.raw.is_empty(), "the connection ended inside a frame: {:02x?}", self.raw);
                return Ok(None);
            }
        }
    }

    /// More bytes; false at the end of the connection.
    fn fill(&mut self) -> io::Result<bool> {
        let mut chunk = [0; 16 * 1024];
        match self.carrier.read(&mut chunk) {
            Ok(len) => {
                self.raw.extend_from_slice(&chunk[..len]);
                Ok(len > 0)
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// The length of the frame at the front, and where its payload begins. A server's frames have no mask (RFC 6455, section
/// 5.1), no reserved bits, and are whole messages here.
fn whole_frame(bytes: &[u8]) -> Option<(usize, usize)> {
    let second = *bytes.get(1)?;
    assert!(second & 0x80 == 0 && bytes[0] & 0xf0 == 0x80, "no frame of a server: {:02x?}", &bytes[..2]);
    let (start, len) = match second {
        126 => (4, u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().expect("two bytes")))),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().expect("eight bytes"))),
        short => (2, u64::from(short)),
    };
    let len = start + len as usize;
    (bytes.len() >= len).then_some((len, start))
}

/// The stream of bytes in binary frames. Each write is one frame; a close frame is the end.
impl Read for WebSocket {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.plain.is_empty() && !self.closed {
            match self.try_frame()? {
                Some((0x82, payload)) => self.plain = payload,
                Some((0x88, payload)) => {
                    self.closed = true;
                    self.send_frame(0x88, &payload);
                }
                Some((first, _)) => panic!("a frame that begins with {first:#04x} was not asked for"),
                None => self.closed = true,
            }
        }
        let len = self.plain.len().min(out.len());
        out[..len].copy_from_slice(&self.plain[..len]);
        self.plain.drain(..len);
        Ok(len)
    }
}

impl Write for WebSocket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.sent += 1;
        let key = self.sent.wrapping_mul(0x9e37_79b9).to_be_bytes();
        self.carrier.write_all(&frame(0x82, bytes, key))?;
        self.carrier.flush()?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
