//! The address of a client, in as few bytes as it takes.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};

/// An IP address and a port, in 24 bytes where [`SocketAddr`] takes 32. A flow label is not kept: nobody asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// Big endian. An address of version 4 is mapped into version 6 (RFC 4291, section 2.5.5.2).
    ip: [u8; 16],
    /// The interface of a link-local address.
    scope: u32,
    port: u16,
}

impl Address {
    /// Before a socket is accepted.
    pub const UNKNOWN: Address = Address { ip: Ipv4Addr::UNSPECIFIED.to_ipv6_mapped().octets(), scope: 0, port: 0 };

    /// The words in which an address travels to another shard. In the last one bits 16 to 31 are free.
    pub fn to_words(self) -> [u64; 3] {
        let bits = u128::from_be_bytes(self.ip);
        [(bits >> 64) as u64, bits as u64, u64::from(self.scope) << 32 | u64::from(self.port)]
    }

    /// The inverse of [`Address::to_words`].
    pub fn from_words([high, low, rest]: [u64; 3]) -> Address {
        let ip = (u128::from(high) << 64 | u128::from(low)).to_be_bytes();
        Address { ip, scope: (rest >> 32) as u32, port: rest as u16 }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Address {
        let (ip, scope) = match address {
            SocketAddr::V4(v4) => (v4.ip().to_ipv6_mapped(), 0),
            SocketAddr::V6(v6) => (*v6.ip(), v6.scope_id()),
        };
        Address { ip: ip.octets(), scope, port: address.port() }
    }
}

/// A client of version 4 is shown as one, on a socket that takes both versions too.
impl From<Address> for SocketAddr {
    fn from(address: Address) -> SocketAddr {
        match IpAddr::from(address.ip).to_canonical() {
            IpAddr::V4(ip) => SocketAddr::from((ip, address.port)),
            IpAddr::V6(ip) => SocketAddrV6::new(ip, address.port, 0, address.scope).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An address stays what it was, also on the way to another shard.
    #[test]
    fn addresses_stay_what_they_were() {
        for text in ["127.0.0.1:1883", "[2001:db8::7]:65535", "[fe80::1%3]:1"] {
            let given: SocketAddr = text.parse().expect("an address");
            let address = Address::from(given);
            assert_eq!(SocketAddr::from(address), given);
            assert_eq!(Address::from_words(address.to_words()), address);
        }
    }
}
