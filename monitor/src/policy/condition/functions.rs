//! Functions of conditions that CEL has not: about paths, names of hosts, and addresses. What they compare with is prepared
//! when the condition is loaded.

use std::net::IpAddr;

use memchr::memmem::Finder;

use super::environment::Words;
use crate::watch::pattern::{Pattern, with_components};

/// Patterns of paths, one of which is to match.
pub(super) struct Paths {
    /// Those that begin with a name, with that name.
    beginning: Vec<(String, Pattern)>,
    /// The others, with a name that is somewhere in a path that fits.
    anywhere: Vec<(Finder<'static>, Pattern)>,
}

impl Paths {
    pub(super) fn new<'a>(patterns: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        let (mut beginning, mut anywhere) = (Vec::new(), Vec::new());
        for text in patterns {
            let pattern = Pattern::parse(text)?;
            match pattern.first() {
                Some(first) => beginning.push((first.to_owned(), pattern)),
                None => anywhere.push((Finder::new(pattern.name()).into_owned(), pattern)),
            }
        }
        Ok(Self {
            beginning,
            anywhere,
        })
    }

    /// Few paths have what one of the patterns begins with; the others need not be taken apart.
    pub(super) fn matches(&self, path: &str) -> bool {
        let first = first_component(path);
        self.beginning
            .iter()
            .any(|(name, pattern)| name == first && fits(pattern, path))
            || self
                .anywhere
                .iter()
                .any(|(name, pattern)| name.find(path.as_bytes()).is_some() && fits(pattern, path))
    }
}

fn fits(pattern: &Pattern, path: &str) -> bool {
    pattern
        .matches_in_one_pass(path)
        .unwrap_or_else(|| with_components(path, |components| pattern.matches(components)))
}

fn first_component(path: &str) -> &str {
    let start = path.bytes().take_while(|byte| *byte == b'/').count();
    let rest = &path[start..];
    &rest[..memchr::memchr(b'/', rest.as_bytes()).unwrap_or(rest.len())]
}

/// Domains: a name is within one when it is the domain or below it.
pub(super) struct Domains(Words);

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
        let domains = domains.map(normal).collect::<Result<_, _>>()?;
        Ok(Self(Words::new(domains)))
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

/// Networks of IPv4 and IPv6: their first address and how many bits of it are theirs.
pub(super) struct Networks {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u32)>,
}

impl Networks {
    pub(super) fn new<'a>(networks: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for text in networks {
            match network(text)? {
                (IpAddr::V4(address), bits) => v4.push((address.to_bits(), bits)),
                (IpAddr::V6(address), bits) => v6.push((address.to_bits(), bits)),
            }
        }
        Ok(Self { v4, v6 })
    }

    pub(super) fn contain(&self, address: &str) -> bool {
        match address.parse() {
            Ok(IpAddr::V4(address)) => self
                .v4
                .iter()
                .any(|(network, bits)| (network ^ address.to_bits()).leading_zeros() >= *bits),
            Ok(IpAddr::V6(address)) => self
                .v6
                .iter()
                .any(|(network, bits)| (network ^ address.to_bits()).leading_zeros() >= *bits),
            Err(_) => false,
        }
    }
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
