//! Which proxies are trusted to name the client of a request (`TRUSTED_PROXIES`), and whom they name in
//! `X-Forwarded-For`.

use crate::numbers::digits;
use std::net::{IpAddr, SocketAddr};

/// The addresses that may name somebody else as the client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    networks: Vec<Network>,
    /// Whoever connects to the Unix socket is trusted.
    unix: bool,
}

/// An address with its first `prefix` bits; the others are zero. Never an IPv4-mapped IPv6 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    first: IpAddr,
    prefix: u32,
}

impl TrustedProxies {
    /// Parses addresses, networks (`10.0.0.0/8`) and `unix`, separated by commas.
    ///
    /// # Errors
    /// What is wrong and what would be right.
    pub fn parse(text: &str) -> Result<TrustedProxies, String> {
        let mut proxies = TrustedProxies::default();
        for part in text.split(',').map(str::trim) {
            match part {
                "unix" => proxies.unix = true,
                part => proxies.networks.push(Network::parse(part)?),
            }
        }
        Ok(proxies)
    }

    /// The client of a request from `peer` (`None`: a Unix socket) whose `X-Forwarded-For` fields have these values, in
    /// this order. Each proxy appends the address that it saw, and only what a trusted one appended is believed. So
    /// this goes from the peer leftwards, past trusted addresses, to the first that is not trusted. Something that is
    /// no address ends the search: the client is the last address that was reached. `None` if that is a Unix socket.
    /// IPv4-mapped IPv6 addresses are treated and returned as IPv4.
    pub fn client<'a>(
        &self,
        peer: Option<IpAddr>,
        forwarded_for: impl Iterator<Item = &'a str>,
    ) -> Option<IpAddr> {
        let mut client = peer.map(|address| address.to_canonical());
        if !self.trusts(client) {
            return client;
        }
        let fields: Vec<&str> = forwarded_for.collect();
        let entries = fields.iter().rev().flat_map(|list| list.rsplit(','));
        // A list may have empty elements (RFC 9110, section 5.6.1).
        for entry in entries.map(str::trim).filter(|entry| !entry.is_empty()) {
            let Some(address) = forwarded_address(entry) else {
                break;
            };
            client = Some(address);
            if !self.trusts(client) {
                break;
            }
        }
        client
    }

    /// `None` is the peer of a Unix socket.
    fn trusts(&self, address: Option<IpAddr>) -> bool {
        match address {
            None => self.unix,
            Some(address) => self.networks.iter().any(|network| network.has(address)),
        }
    }
}

impl Network {
    fn parse(text: &str) -> Result<Network, String> {
        let wrong = || {
            format!("contains {text:?}; give addresses or networks, as in 127.0.0.1,10.0.0.0/8,fd00::/8, or unix")
        };
        let (address, prefix) = match text.split_once('/') {
            None => (text, None),
            Some((address, prefix)) => (address, Some(prefix)),
        };
        let written: IpAddr = address.parse().map_err(|_| wrong())?;
        let first = written.to_canonical();
        let prefix = match prefix {
            None => bits(first),
            // Bits before an IPv4 address that was written as IPv6 no longer count.
            Some(prefix) => digits::<u32>(prefix)
                .and_then(|prefix| prefix.checked_sub(bits(written) - bits(first)))
                .filter(|prefix| *prefix <= bits(first))
                .ok_or_else(wrong)?,
        };
        let network = Network {
            first: leading_bits(first, prefix),
            prefix,
        };
        if network.first == first {
            Ok(network)
        } else {
            Err(format!(
                "contains {text:?}, which has bits set after the first {prefix}; give {}/{prefix}, or the address alone",
                network.first
            ))
        }
    }

    fn has(self, address: IpAddr) -> bool {
        self.first.is_ipv4() == address.is_ipv4()
            && leading_bits(address, self.prefix) == self.first
    }
}

/// The length of an address, in bits.
fn bits(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(_) => u32::BITS,
        IpAddr::V6(_) => u128::BITS,
    }
}

/// The address with zeros after its first `prefix` bits.
fn leading_bits(address: IpAddr, prefix: u32) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(u32::BITS - prefix).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(u128::BITS - prefix).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    }
}

/// An element of `X-Forwarded-For`: an address, from some proxies with a port; IPv6 with or without brackets.
fn forwarded_address(entry: &str) -> Option<IpAddr> {
    let bare = entry
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .filter(|bare| bare.contains(':'));
    let address = bare.unwrap_or(entry).parse::<IpAddr>();
    let address = address.or_else(|_| entry.parse::<SocketAddr>().map(|socket| socket.ip()));
    address.ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    /// The client. `unix` stands for a Unix socket, as the peer and as the result.
    fn client(trusted: &str, peer: &str, fields: &[&str]) -> String {
        let proxies = match trusted {
            "" => TrustedProxies::default(),
            text => TrustedProxies::parse(text).expect("a good list"),
        };
        let peer = (peer != "unix").then(|| ip(peer));
        proxies
            .client(peer, fields.iter().copied())
            .map_or("unix".into(), |address| address.to_string())
    }

    #[test]
    fn only_what_a_trusted_proxy_says_is_believed() {
        const NETWORK: &str = "10.0.0.0/8";
        const PEER: &str = "10.1.1.1";
        const BOTH: &str = "unix,10.0.0.0/8";
        for (trusted, peer, fields, expected) in [
            ("", "127.0.0.1", vec!["1.1.1.1"], "127.0.0.1"),
            ("", "unix", vec!["1.1.1.1"], "unix"),
            ("10.0.0.1", "10.0.0.2", vec!["1.1.1.1"], "10.0.0.2"),
            ("unix", "127.0.0.1", vec!["1.1.1.1"], "127.0.0.1"),
            ("127.0.0.1", "unix", vec!["1.1.1.1"], "unix"),
            ("10.0.0.1", "10.0.0.1", vec!["1.1.1.1"], "1.1.1.1"),
            ("unix", "unix", vec!["1.1.1.1"], "1.1.1.1"),
            // No field, or an empty one.
            ("10.0.0.1", "10.0.0.1", vec![], "10.0.0.1"),
            ("10.0.0.1", "10.0.0.1", vec!["", " , "], "10.0.0.1"),
            ("unix", "unix", vec![], "unix"),
            // The first from the right that is not trusted, over all fields. What it claims is ignored.
            (NETWORK, PEER, vec!["6.6.6.6, 1.1.1.1"], "1.1.1.1"),
            (NETWORK, PEER, vec!["6.6.6.6, 1.1.1.1, 10.2.2.2"], "1.1.1.1"),
            (
                NETWORK,
                PEER,
                vec!["6.6.6.6", "1.1.1.1,10.2.2.2", "10.3.3.3"],
                "1.1.1.1",
            ),
            (
                BOTH,
                "unix",
                vec!["6.6.6.6,1.1.1.1 ,, 10.2.2.2,"],
                "1.1.1.1",
            ),
            // All are trusted: the first one.
            (NETWORK, PEER, vec!["10.3.3.3, 10.2.2.2"], "10.3.3.3"),
            // Something that is no address ends the search.
            (NETWORK, PEER, vec!["1.1.1.1, unknown"], "10.1.1.1"),
            (NETWORK, PEER, vec!["1.1.1.1, unix, 10.2.2.2"], "10.2.2.2"),
            (NETWORK, PEER, vec!["1.1.1.1, 10.0.0.256"], "10.1.1.1"),
            (NETWORK, PEER, vec!["1.1.1.1, [10.0.0.2]"], "10.1.1.1"),
            (NETWORK, PEER, vec!["1.1.1.1, 10.0.0.2:99999"], "10.1.1.1"),
            ("unix", "unix", vec!["1.1.1.1, _hidden"], "unix"),
            // Ports, brackets, and IPv4 in IPv6.
            (NETWORK, PEER, vec!["1.1.1.1:567, 10.2.2.2:8"], "1.1.1.1"),
            ("::1", "::1", vec!["[2001:db8::1]:80, [::1]"], "2001:db8::1"),
            ("::1", "::1", vec!["2001:DB8::1"], "2001:db8::1"),
            (
                "10.0.0.0/8",
                "::ffff:10.1.1.1",
                vec!["::ffff:1.1.1.1"],
                "1.1.1.1",
            ),
            (
                "::ffff:10.0.0.0/104",
                "10.1.1.1",
                vec!["[::ffff:1.1.1.1]:5"],
                "1.1.1.1",
            ),
            ("::/0", "10.1.1.1", vec!["1.1.1.1"], "10.1.1.1"),
            ("", "::ffff:10.1.1.1", vec![], "10.1.1.1"),
        ] {
            let found = client(trusted, peer, &fields);
            assert_eq!(
                found, expected,
                "{peer} with {fields:?}, {trusted:?} being trusted"
            );
        }
    }

    #[test]
    fn a_network_has_the_addresses_that_begin_like_it() {
        for (network, address, is_in) in [
            ("0.0.0.0/0", "255.1.2.3", true),
            ("::/0", "ffff::1", true),
            ("10.0.0.0/8", "10.255.255.255", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.0.0.4/30", "10.0.0.7", true),
            ("10.0.0.4/30", "10.0.0.8", false),
            ("10.0.0.4/32", "10.0.0.5", false),
            ("fd00::/8", "fdff::1", true),
            ("fd00::/8", "fe00::", false),
            ("2001:db8::/127", "2001:db8::1", true),
            ("2001:db8::/127", "2001:db8::2", false),
            ("::/0", "10.0.0.1", false),
            ("0.0.0.0/0", "::1", false),
        ] {
            let network = Network::parse(network).expect("a good network");
            assert_eq!(network.has(ip(address)), is_in, "{address} in {network:?}");
        }
    }
}
