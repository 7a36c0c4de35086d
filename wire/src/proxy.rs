//! The PROXY protocol, versions 1 and 2: a proxy in front tells whom it serves, before anything else.
//!
//! Sections are those of "The PROXY protocol", as haproxy.org publishes it.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A header that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyHeader {
    /// Bytes of it.
    pub len: usize,
    /// The client's address. `None`: the proxy speaks for itself, a health check for example, or does not say.
    pub client: Option<SocketAddr>,
}

/// Bytes do not begin with a header that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoProxyHeader;

/// Bytes of a header of version 1 at most, its end of line included (section 2.1).
const V1_BYTES_MAX: usize = 107;
/// What version 1 begins with (section 2.1).
const V1_BEGIN: &[u8] = b"PROXY ";
/// What version 2 begins with (section 2.2).
const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes before the addresses of version 2.
const V2_FIXED_BYTES: usize = 16;
/// Addresses and what follows them in version 2 at most. The protocol knows 65,535; certificates and the like, which
/// would need that, mean nothing here.
const V2_BYTES_MAX: usize = 4096;

/// Looks at the front of `bytes` for a header. `None`: its end has not come. What cannot become one is an error at once.
pub fn read_proxy_header(bytes: &[u8]) -> Result<Option<ProxyHeader>, NoProxyHeader> {
    let begins = |with: &[u8]| {
        let len = bytes.len().min(with.len());
        bytes[..len] == with[..len]
    };
    if begins(V2_SIGNATURE) {
        version_2(bytes)
    } else if begins(V1_BEGIN) {
        version_1(bytes)
    } else {
        Err(NoProxyHeader)
    }
}

/// A line of text (section 2.1): `PROXY TCP4 192.0.2.1 198.51.100.1 40000 1883`.
fn version_1(bytes: &[u8]) -> Result<Option<ProxyHeader>, NoProxyHeader> {
    let within = &bytes[..bytes.len().min(V1_BYTES_MAX)];
    let Some(end) = within.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() < V1_BYTES_MAX { Ok(None) } else { Err(NoProxyHeader) };
    };
    let len = end + 2;
    let line = core::str::from_utf8(&bytes[V1_BEGIN.len()..end]).map_err(|_| NoProxyHeader)?;
    let mut words = line.split(' ');
    let family = words.next();
    if family == Some("UNKNOWN") {
        // Whatever follows is to be ignored.
        return Ok(Some(ProxyHeader { len, client: None }));
    }
    let mut word = || words.next().ok_or(NoProxyHeader);
    let (source, destination, port, other_port) = (word()?, word()?, word()?, word()?);
    let address = |text: &str| -> Result<IpAddr, NoProxyHeader> {
        match family {
            Some("TCP4") => text.parse::<Ipv4Addr>().map(IpAddr::V4).map_err(|_| NoProxyHeader),
            Some("TCP6") => text.parse::<Ipv6Addr>().map(IpAddr::V6).map_err(|_| NoProxyHeader),
            _ => Err(NoProxyHeader),
        }
    };
    let (source, port) = (address(source)?, port_of(port)?);
    address(destination)?;
    port_of(other_port)?;
    match words.next() {
        None => Ok(Some(ProxyHeader { len, client: Some(SocketAddr::new(source, port)) })),
        Some(_) => Err(NoProxyHeader),
    }
}

/// A port without a sign or leading zeros (section 2.1).
fn port_of(text: &str) -> Result<u16, NoProxyHeader> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain).ok_or(NoProxyHeader)
}

/// Signature, version and command, family, length, addresses, and values that nobody here asks for (section 2.2).
fn version_2(bytes: &[u8]) -> Result<Option<ProxyHeader>, NoProxyHeader> {
    let command = match bytes.get(12) {
        None => return Ok(None),
        Some(0x20) => Command::Local,
        Some(0x21) => Command::Proxy,
        Some(_) => return Err(NoProxyHeader),
    };
    let (Some(family), Some(length)) = (bytes.get(13), bytes.get(14..16)) else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
    if length > V2_BYTES_MAX {
        return Err(NoProxyHeader);
    }
    let len = V2_FIXED_BYTES + length;
    let Some(body) = bytes.get(V2_FIXED_BYTES..len) else { return Ok(None) };
    let client = match (command, family) {
        // The proxy's own connection: what is said of addresses is to be ignored.
        (Command::Local, _) => None,
        (Command::Proxy, 0x11) => {
            let raw: &[u8; 12] = body.first_chunk().ok_or(NoProxyHeader)?;
            let ip = Ipv4Addr::new(raw[0], raw[1], raw[2], raw[3]);
            Some(SocketAddr::new(ip.into(), u16::from_be_bytes([raw[8], raw[9]])))
        }
        (Command::Proxy, 0x21) => {
            let raw: &[u8; 36] = body.first_chunk().ok_or(NoProxyHeader)?;
            let ip: [u8; 16] = *raw.first_chunk().expect("36 bytes begin with 16");
            Some(SocketAddr::new(Ipv6Addr::from(ip).into(), u16::from_be_bytes([raw[32], raw[33]])))
        }
        // Unspecified, a Unix socket, or a family to come: accepted, without an address.
        (Command::Proxy, _) => None,
    };
    Ok(Some(ProxyHeader { len, client }))
}

/// What a header of version 2 is for.
#[derive(Clone, Copy)]
enum Command {
    Local,
    Proxy,
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = (body.len() as u16).to_be_bytes();
        [&V2_SIGNATURE[..], &[command, family], &length, body].concat()
    }

    /// A header behind which MQTT begins, read whole and from every prefix of it.
    fn reads(header: &[u8], client: Option<&str>) {
        let client = client.map(|text| text.parse().expect("an address"));
        let bytes = [header, b"\x10\x0c"].concat();
        assert_eq!(read_proxy_header(&bytes), Ok(Some(ProxyHeader { len: header.len(), client })), "{header:?}");
        for cut in 0..header.len() {
            assert_eq!(read_proxy_header(&bytes[..cut]), Ok(None), "{header:?} cut at {cut}");
        }
    }

    /// Both versions, both families, and connections of the proxy itself.
    #[test]
    fn headers_are_read() {
        reads(b"PROXY TCP4 192.0.2.1 198.51.100.1 40000 1883\r\n", Some("192.0.2.1:40000"));
        reads(b"PROXY TCP6 2001:db8::1 2001:db8::2 65535 0\r\n", Some("[2001:db8::1]:65535"));
        reads(b"PROXY UNKNOWN\r\n", None);
        reads(b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", None);
        let v4 = [192, 0, 2, 1, 198, 51, 100, 1, 0x9c, 0x40, 0x07, 0x5b];
        reads(&v2(0x21, 0x11, &v4), Some("192.0.2.1:40000"));
        reads(&v2(0x21, 0x11, &[&v4[..], &[3, 0, 1, 9]].concat()), Some("192.0.2.1:40000"));
        let mut v6 = [0; 36];
        (v6[0], v6[1], v6[15], v6[33]) = (0x20, 0x01, 7, 9);
        reads(&v2(0x21, 0x21, &v6), Some("[2001::7]:9"));
        reads(&v2(0x20, 0x11, &v4), None);
        reads(&v2(0x20, 0x00, &[]), None);
        reads(&v2(0x21, 0x31, &[0; 216]), None);
    }

    /// What is no header, or one that cannot be used, is told as soon as that is plain.
    #[test]
    fn what_is_no_header() {
        for bytes in [
            &b"\x10"[..],
            b"GET /",
            b"PROXX",
            b"PROXY TCP4 192.0.2.1 198.51.100.1 40000\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.1 040 1\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.1 +4 1\r\n",
            b"PROXY TCP4 2001:db8::1 198.51.100.1 1 1\r\n",
            b"PROXY TCP4  192.0.2.1 198.51.100.1 1 1\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.1 1 1 1\r\n",
            b"PROXY UDP4 192.0.2.1 198.51.100.1 1 1\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.1 65536 1\r\n",
            b"PROXY TCP4 \xff\r\n",
            &[b'P'; 108],
        ] {
            assert_eq!(read_proxy_header(bytes), Err(NoProxyHeader), "{bytes:?}");
        }
        let mut endless = b"PROXY TCP4 ".to_vec();
        endless.resize(107, b'1');
        assert_eq!(read_proxy_header(&endless[..106]), Ok(None));
        assert_eq!(read_proxy_header(&endless), Err(NoProxyHeader));
        for bytes in [v2(0x11, 0x11, &[0; 12]), v2(0x22, 0x11, &[0; 12]), v2(0x21, 0x11, &[0; 11])] {
            assert_eq!(read_proxy_header(&bytes), Err(NoProxyHeader), "{bytes:?}");
        }
        assert_eq!(read_proxy_header(&v2(0x21, 0x11, &[0; V2_BYTES_MAX + 1])), Err(NoProxyHeader));
    }
}
