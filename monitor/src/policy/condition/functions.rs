//! Functions of conditions that CEL has not: about paths, names of hosts, and addresses. What they compare with is prepared
//! when the condition is loaded.

use std::net::IpAddr;

use hashbrown::HashSet;
use memchr::memmem::Finder;

use crate::watch::pattern::{Pattern, with_components};

/// Patterns of paths, one of which is to match.
pub(super) struct Paths(Vec<(Beginning, Pattern)>);

/// What a path has to have that fits a pattern, as far as that is quickly seen.
enum Beginning {
    /// Its first component.
    First(String),
    /// A name somewhere in it.
    Name(Box<Finder<'static>>),
}

impl Beginning {
    fn of(pattern: &Pattern) -> Self {
        match pattern.first() {
            Some(first) => Self::First(first.to_owned()),
            None => Self::Name(Box::new(Finder::new(pattern.name()).into_owned())),
        }
    }

    fn is_in(&self, path: &str) -> bool {
        match self {
            Self::First(first) => path
                .trim_start_matches('/')
                .strip_prefix(first.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
            Self::Name(name) => name.find(path.as_bytes()).is_some(),
        }
    }
}

impl Paths {
    pub(super) fn new<'a>(patterns: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        patterns
            .map(|text| {
                let pattern = Pattern::parse(text)?;
                Ok((Beginning::of(&pattern), pattern))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    pub(super) fn matches(&self, path: &str) -> bool {
        // Few paths begin like a pattern; the others need not be taken apart.
        let mut fitting = self
            .0
            .iter()
            .filter(|(beginning, _)| beginning.is_in(path))
            .peekable();
        fitting.peek().is_some()
            && with_components(path, |components| {
                fitting.any(|(_, pattern)| pattern.matches(components))
            })
    }
}

/// Domains: a name is within one when it is the domain or below it.
pub(super) struct Domains(HashSet<String>);

impl Domains {
    pub(super) fn new<'a>(domains: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        let normal = |domain: &'a str| {
            let name = domain
                .trim_start_matches("*.")
                .trim_matches('.')
                .to_ascii_lowercase();
            if name.is_empty() || name.contains(['/', ' ', '*']) {
                return Err(format!("`{domain}` is no name of a domain"));
            }
            Ok(name)
        };
        domains.map(normal).collect::<Result<_, _>>().map(Self)
    }

    /// Names of hosts come in lower case, as the agent writes them.
    pub(super) fn contains(&self, name: &str) -> bool {
        let mut rest = name.trim_end_matches('.');
        loop {
            if self.0.contains(rest) {
                return true;
            }
            match rest.split_once('.') {
                Some((_, parent)) => rest = parent,
                None => return false,
            }
        }
    }
}

/// Networks of IPv4 and IPv6.
pub(super) struct Networks(Vec<(IpAddr, u32)>);

impl Networks {
    pub(super) fn new<'a>(networks: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        networks.map(network).collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn contain(&self, address: &str) -> bool {
        let Ok(address) = address.parse::<IpAddr>() else {
            return false;
        };
        self.0
            .iter()
            .any(|(network, bits)| match (network, address) {
                (IpAddr::V4(network), IpAddr::V4(address)) => same_beginning(
                    u128::from(network.to_bits()) << 96,
                    u128::from(address.to_bits()) << 96,
                    *bits,
                ),
                (IpAddr::V6(network), IpAddr::V6(address)) => {
                    same_beginning(network.to_bits(), address.to_bits(), *bits)
                }
                _ => false,
            })
    }
}

fn same_beginning(one: u128, other: u128, bits: u32) -> bool {
    (one ^ other).leading_zeros() >= bits
}

/// `192.0.2.0/24`, or an address alone.
fn network(text: &str) -> Result<(IpAddr, u32), String> {
    let wrong = || format!("`{text}` is neither an address nor a network such as 10.0.0.0/8");
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits.parse::<u32>().map_err(|_| wrong())?)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    match bits.unwrap_or(most) {
        bits if bits <= most => Ok((address, bits)),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_within_its_domains() {
        let domains = Domains::new(["Pool.example", "*.other.test"].into_iter()).expect("valid");
        for (name, expected) in [
            ("pool.example", true),
            ("eu.pool.example", true),
            ("eu.pool.example.", true),
            ("notpool.example", false),
            ("example", false),
            ("a.other.test", true),
            ("", false),
        ] {
            assert_eq!(domains.contains(name), expected, "{name}");
        }
        assert!(Domains::new(["a b"].into_iter()).is_err());
    }

    #[test]
    fn an_address_is_in_its_networks() {
        let networks = ["10.0.0.0/8", "2001:db8::/32", "192.0.2.1", "0.0.0.0/0"];
        let contains = |network: &str, address| {
            Networks::new([network].into_iter())
                .expect("valid")
                .contain(address)
        };
        assert!(contains(networks[0], "10.255.0.1") && !contains(networks[0], "11.0.0.1"));
        assert!(contains(networks[1], "2001:db8:1::1") && !contains(networks[1], "2001:db9::1"));
        assert!(contains(networks[2], "192.0.2.1") && !contains(networks[2], "192.0.2.2"));
        assert!(contains(networks[3], "203.0.113.9") && !contains(networks[3], "::1"));
        assert!(!contains(networks[0], "") && !contains(networks[0], "10.0.0.0/8"));
        for wrong in ["10.0.0.0/33", "ten", "10.0.0.0/x"] {
            assert!(Networks::new([wrong].into_iter()).is_err(), "{wrong}");
        }
    }
}
