//! Who is not let in, whatever it proves: a file with a line for each.
//!
//! ```text
//!   user NAME
//!   client IDENTIFIER
//!   address 192.0.2.7
//!   address 2001:db8::/32
//! ```

use std::collections::HashSet;
use std::net::IpAddr;

/// Lines of one file at most.
const LINES_MAX: usize = 1_000_000;

/// Those that are not let in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bans {
    users: HashSet<Box<str>>,
    clients: HashSet<Box<str>>,
    addresses: HashSet<IpAddr>,
    /// Networks: the address as bits, and how many of them count.
    networks: Vec<(u128, u32)>,
}

impl Bans {
    /// Reads a file. The line and what is wrong with it otherwise.
    pub fn parse(text: &str) -> Result<Bans, (usize, &'static str)> {
        let mut bans = Bans::default();
        for (index, line) in text.lines().enumerate() {
            let wrong = |what| (index + 1, what);
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if index > LINES_MAX {
                return Err(wrong("there are too many lines"));
            }
            let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            match (word, rest.trim()) {
                ("user", name) if !name.is_empty() => drop(bans.users.insert(name.into())),
                ("client", id) if !id.is_empty() => drop(bans.clients.insert(id.into())),
                ("address", text) => bans.address(text).ok_or(wrong("no address, and no network"))?,
                _ => return Err(wrong("write `user`, `client` or `address`, and which")),
            }
        }
        Ok(bans)
    }

    fn address(&mut self, text: &str) -> Option<()> {
        let Some((address, length)) = text.split_once('/') else {
            self.addresses.insert(text.parse::<IpAddr>().ok()?.to_canonical());
            return Some(());
        };
        let (address, length): (IpAddr, u32) = (address.parse().ok()?, length.parse().ok()?);
        let (most, before) = if address.is_ipv4() { (32, 96) } else { (128, 0) };
        if length > most {
            return None;
        }
        self.networks.push((bits(address), before + length));
        Some(())
    }

    /// Whether nobody is banned.
    pub fn is_empty(&self) -> bool {
        *self == Bans::default()
    }

    /// Whether a user is.
    pub fn has_user(&self, user: Option<&str>) -> bool {
        user.is_some_and(|user| self.users.contains(user))
    }

    /// Whether a client identifier is.
    pub fn has_client(&self, client_id: &str) -> bool {
        self.clients.contains(client_id)
    }

    /// Whether an address is.
    pub fn has_address(&self, address: IpAddr) -> bool {
        let bits = bits(address);
        let within = |(network, length): &(u128, u32)| (bits ^ network).leading_zeros() >= *length;
        self.addresses.contains(&address.to_canonical()) || self.networks.iter().any(within)
    }
}

/// An address of version 4 as one of version 6.
fn bits(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_ipv6_mapped().into(),
        IpAddr::V6(address) => address.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names, addresses and networks of both versions, and what is none of them.
    #[test]
    fn lines_are_read() {
        let text = "# bans\nuser eve\nclient c 1\naddress 192.0.2.7\naddress 10.0.0.0/8\naddress 2001:db8::/32\n";
        let bans = Bans::parse(text).expect("a good file");
        let address = |text: &str| bans.has_address(text.parse().expect("an address"));
        for (text, banned) in [
            ("192.0.2.7", true),
            ("::ffff:192.0.2.7", true),
            ("192.0.2.8", false),
            ("10.255.0.1", true),
            ("11.0.0.1", false),
            ("2001:db8:1::1", true),
            ("2001:db9::1", false),
        ] {
            assert_eq!(address(text), banned, "{text}");
        }
        assert!(bans.has_user(Some("eve")) && !bans.has_user(Some("Eve")) && !bans.has_user(None));
        assert!(bans.has_client("c 1") && !bans.has_client("c"));
        assert!(Bans::parse("").expect("an empty file").is_empty());
        for (text, line) in [("\nuser\n", 2), ("addres ::1", 1), ("address x", 1), ("address 10.0.0.0/33", 1)] {
            assert_eq!(Bans::parse(text).expect_err(text).0, line);
        }
    }
}
