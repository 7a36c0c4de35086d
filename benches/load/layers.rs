//! What lies between a socket and MQTT, where that is not nothing: TLS, WebSocket, or one in the other.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

use clap::ValueEnum;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::packet::Malformed;

/// How MQTT travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Transport {
    Tcp,
    Ws,
    Tls,
    Wss,
}

/// How the layers of each connection begin.
pub struct Carriage {
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    web: bool,
    host: String,
}

impl Carriage {
    /// For a transport; `authority` is the file with who issued the broker's certificate, which names `host`.
    ///
    /// # Errors
    /// The file is missing where it is needed, or cannot be used.
    pub fn new(transport: Transport, authority: Option<&Path>, host: &str) -> Result<Carriage, String> {
        let web = matches!(transport, Transport::Ws | Transport::Wss);
        let tls = match transport {
            Transport::Tcp | Transport::Ws => None,
            Transport::Tls | Transport::Wss => {
                let file = authority.ok_or("--transport tls and wss need --cafile")?;
                let refuse = |error: &dyn std::fmt::Display| format!("--cafile {}: {error}", file.display());
                let mut roots = RootCertStore::empty();
                for certificate in CertificateDer::pem_file_iter(file).map_err(|error| refuse(&error))? {
                    let certificate = certificate.map_err(|error| refuse(&error))?;
                    roots.add(certificate).map_err(|error| refuse(&error))?;
                }
                let name = ServerName::try_from(host.to_owned()).map_err(|error| format!("-h {host}: {error}"))?;
                let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
                Some((Arc::new(config), name))
            }
        };
        Ok(Carriage { tls, web, host: host.to_owned() })
    }

    /// Nothing: MQTT over TCP.
    pub fn plain() -> Carriage {
        Carriage { tls: None, web: false, host: String::new() }
    }

    /// The layers of one connection, and the bytes that it begins with; none for plain TCP.
    pub fn begin(&self, wire: &mut Vec<u8>) -> Option<Box<Layers>> {
        if self.tls.is_none() && !self.web {
            return None;
        }
        let tls = self.tls.as_ref().map(|(config, name)| {
            let tls = ClientConnection::new(Arc::clone(config), name.clone());
            let mut tls = tls.expect("nothing in the configuration is refused");
            tls.set_buffer_limit(None);
            tls
        });
        let mut layers = Layers { tls, web: None, scratch: Vec::new() };
        if self.web {
            let request = format!(
                "GET /mqtt HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Protocol: mqtt\r\n\r\n",
                self.host
            );
            layers.seal(request.as_bytes(), wire);
            layers.web = Some(Web { upgraded: false, head: Vec::new(), left: 0 });
        }
        Some(Box::new(layers))
    }
}

/// The layers of one connection.
pub struct Layers {
    tls: Option<ClientConnection>,
    web: Option<Web>,
    scratch: Vec<u8>,
}

/// What has come of frames.
struct Web {
    upgraded: bool,
    /// The front of an answer or of a frame's header.
    head: Vec<u8>,
    /// Bytes of the present frame's payload that are to come.
    left: u64,
}

impl Layers {
    /// Appends what `plain` is on the wire.
    pub fn seal(&mut self, plain: &[u8], wire: &mut Vec<u8>) {
        let mut header = Vec::new();
        if self.web.is_some() && !plain.is_empty() {
            header.push(0x82);
            match plain.len() {
                short @ 0..126 => header.push(0x80 | short as u8),
                medium @ 126..=0xffff => {
                    header.push(0x80 | 126);
                    header.extend((medium as u16).to_be_bytes());
                }
                long => {
                    header.push(0x80 | 127);
                    header.extend((long as u64).to_be_bytes());
                }
            }
            // The key that leaves the payload as it is.
            header.extend([0; 4]);
        }
        let Some(tls) = &mut self.tls else {
            wire.extend_from_slice(&header);
            return wire.extend_from_slice(plain);
        };
        let mut writer = tls.writer();
        let written = writer.write_all(&header).and_then(|()| writer.write_all(plain));
        written.expect("without a limit the buffer takes all");
        while tls.wants_write() {
            tls.write_tls(wire).expect("memory takes bytes");
        }
    }

    /// Appends to `plain` what was in bytes of the wire, and to `wire` what is to be answered.
    ///
    /// # Errors
    /// What the broker sent, in words.
    pub fn open(&mut self, mut bytes: &[u8], plain: &mut Vec<u8>, wire: &mut Vec<u8>) -> Result<(), String> {
        let malformed = |Malformed(what)| what.to_owned();
        let Some(tls) = &mut self.tls else {
            return self.web.as_mut().map_or(Ok(()), |web| web.open(bytes, plain)).map_err(malformed);
        };
        while !bytes.is_empty() {
            tls.read_tls(&mut bytes).map_err(|error| format!("records that nobody can keep: {error}"))?;
            let state = tls.process_new_packets().map_err(|error| format!("what TLS refuses: {error}"))?;
            let len = state.plaintext_bytes_to_read();
            if len > 0 {
                self.scratch.resize(len, 0);
                tls.reader().read_exact(&mut self.scratch).expect("it was counted");
                match &mut self.web {
                    Some(web) => web.open(&self.scratch, plain).map_err(malformed)?,
                    None => plain.extend_from_slice(&self.scratch),
                }
            }
        }
        while tls.wants_write() {
            tls.write_tls(wire).expect("memory takes bytes");
        }
        Ok(())
    }
}

impl Web {
    fn open(&mut self, mut bytes: &[u8], plain: &mut Vec<u8>) -> Result<(), Malformed> {
        while let Some(first) = bytes.first() {
            if self.left > 0 {
                let len = bytes.len().min(self.left as usize);
                plain.extend_from_slice(&bytes[..len]);
                (self.left, bytes) = (self.left - len as u64, &bytes[len..]);
                continue;
            }
            self.head.push(*first);
            bytes = &bytes[1..];
            if !self.upgraded {
                if self.head.ends_with(b"\r\n\r\n") {
                    if !self.head.starts_with(b"HTTP/1.1 101 ") {
                        return Err(Malformed("an answer that grants no WebSocket"));
                    }
                    (self.upgraded, _) = (true, self.head.clear());
                }
                continue;
            }
            self.left = match *self.head {
                [_, len @ 0..126] => u64::from(len),
                [_, 126, high, low] => u64::from(u16::from_be_bytes([high, low])),
                [_, 127, a, b, c, d, e, f, g, h] => u64::from_be_bytes([a, b, c, d, e, f, g, h]),
                _ => continue,
            };
            if self.head[0] == 0x88 {
                // What it says comes as DISCONNECT too, or the connection ends.
                self.left = 0;
                return Ok(());
            }
            self.head.clear();
        }
        Ok(())
    }
}
