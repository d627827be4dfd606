//! Whether what an event tells in particular is what a client asked for: addresses, ports, names and paths.

use std::net::IpAddr;

use crate::{
    event::{Detail, Event},
    proto::v1::{self, event::Detail as Message},
};

/// Addresses: one, or all with the same beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    /// Bits of the beginning.
    length: u32,
}

impl Network {
    fn parse(text: &str) -> Result<Self, String> {
        let invalid = || format!("`{text}` is no address and no network such as 10.0.0.0/8");
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length.parse().map_err(|_| invalid())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| invalid())?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let length = length.unwrap_or(bits);
        if length > bits {
            return Err(invalid());
        }
        Ok(Self { address, length })
    }

    fn has(&self, text: &str) -> bool {
        let Ok(address) = text.parse::<IpAddr>() else {
            return false;
        };
        let differing = match (self.address, address) {
            (IpAddr::V4(one), IpAddr::V4(other)) => {
                (one.to_bits() ^ other.to_bits()).leading_zeros()
            }
            (IpAddr::V6(one), IpAddr::V6(other)) => {
                (one.to_bits() ^ other.to_bits()).leading_zeros()
            }
            _ => return false,
        };
        differing >= self.length
    }
}

/// What a client asks for of the particulars of events.
#[derive(Clone, Debug, Default)]
pub struct Particulars {
    networks: Vec<Network>,
    ports: Vec<u32>,
    domains: Vec<String>,
    paths: Vec<String>,
}

impl Particulars {
    /// From a request.
    ///
    /// # Errors
    /// What is wrong with the request.
    pub fn new(request: &v1::EventsWatchRequest) -> Result<Self, String> {
        Ok(Self {
            networks: request
                .addresses
                .iter()
                .map(|text| Network::parse(text))
                .collect::<Result<_, _>>()?,
            ports: request.ports.clone(),
            domains: request
                .domains
                .iter()
                .map(|domain| domain.trim_matches('.').to_ascii_lowercase())
                .collect(),
            paths: request.paths.clone(),
        })
    }

    /// Whether an event has them.
    #[must_use]
    pub fn match_event(&self, event: &Event) -> bool {
        (self.networks.is_empty() && self.ports.is_empty() || self.endpoints(&event.detail))
            && (self.domains.is_empty() || self.domain(&event.detail))
            && (self.paths.is_empty() || self.path(event))
    }

    fn endpoints(&self, detail: &Detail) -> bool {
        let Detail::Message(_, message) = detail else {
            return false;
        };
        let (ends, answers): ([Option<&v1::Endpoint>; 2], &[String]) = match &**message {
            Message::Connection(it) => ([it.local.as_ref(), it.remote.as_ref()], &[]),
            Message::Socket(it) => ([it.local.as_ref(), None], &[]),
            Message::Payload(it) => ([it.local.as_ref(), it.remote.as_ref()], &[]),
            Message::Dns(it) => ([it.server.as_ref(), None], &it.answers),
            _ => return false,
        };
        let port = |wanted: &[u32], port: u32| wanted.is_empty() || wanted.contains(&port);
        let address = |address: &str| {
            self.networks.is_empty() || self.networks.iter().any(|network| network.has(address))
        };
        // One end must have both.
        ends.into_iter()
            .flatten()
            .any(|end| address(&end.address) && port(&self.ports, end.port))
            || self.ports.is_empty() && answers.iter().any(|answer| address(answer))
    }

    fn domain(&self, detail: &Detail) -> bool {
        let Detail::Message(_, message) = detail else {
            return false;
        };
        let name = match &**message {
            Message::Connection(it) => &it.remote_name,
            Message::Payload(it) => &it.remote_name,
            Message::Dns(it) => &it.name,
            _ => return false,
        };
        let name = name.trim_matches('.').to_ascii_lowercase();
        self.domains.iter().any(|wanted| {
            name == *wanted
                || name
                    .strip_suffix(wanted.as_str())
                    .is_some_and(|before| before.ends_with('.'))
        })
    }

    fn path(&self, event: &Event) -> bool {
        let found = |path: &str| self.paths.iter().any(|wanted| is_at_or_below(path, wanted));
        match &event.detail {
            Detail::Exec => event
                .process
                .as_ref()
                .is_some_and(|process| found(&process.program.exe)),
            Detail::Message(_, message) => match &**message {
                Message::FileOpen(it) => {
                    found(&it.path) || found(&it.path_in_filesystem) || found(&it.linked_path)
                }
                Message::FileChange(it) => found(&it.path) || found(&it.new_path),
                Message::Mount(it) => found(&it.source) || found(&it.target),
                Message::Connection(it) => found(&it.path),
                Message::KernelModule(it) => found(&it.path),
                _ => false,
            },
            _ => false,
        }
    }
}

/// Whether a path is the wanted one, or one in that directory.
fn is_at_or_below(path: &str, wanted: &str) -> bool {
    match path.strip_prefix(wanted) {
        Some(rest) => {
            !wanted.is_empty()
                && (rest.is_empty() || wanted.ends_with('/') || rest.starts_with('/'))
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn list(values: &[&str]) -> Vec<String> {
        values.iter().map(|&value| value.to_owned()).collect()
    }

    fn event(message: Message) -> Event {
        Event {
            time: SystemTime::now(),
            process: None,
            origin: None,
            injected_by: None,
            ancestors: Vec::new(),
            place: crate::container::registry::Place::Unknown,
            target: None,
            detail: Detail::Message(v1::EventKind::Connect, Box::new(message)),
        }
    }

    fn wants(request: &v1::EventsWatchRequest, event: &Event) -> bool {
        Particulars::new(request).expect("valid").match_event(event)
    }

    #[test]
    fn networks_hold_their_addresses() {
        for (network, address, expected) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("0.0.0.0/0", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.0/31", "192.0.2.1", true),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::/0", "192.0.2.1", false),
            ("10.0.0.0/8", "", false),
        ] {
            let parsed = Network::parse(network).expect(network);
            assert_eq!(parsed.has(address), expected, "{network} {address}");
        }
        for text in [
            "",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/",
            "example.com",
            "10.0.0.0/8/8",
        ] {
            assert!(Network::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn one_end_has_both_address_and_port() {
        let end = |address: &str, port| {
            Some(v1::Endpoint {
                address: address.to_owned(),
                port,
            })
        };
        let event = event(Message::Connection(v1::Connection {
            local: end("10.0.0.5", 40_000),
            remote: end("192.0.2.7", 3_333),
            remote_name: "Pool.Example.com".to_owned(),
            ..v1::Connection::default()
        }));
        let request =
            |addresses: &[&str], ports: &[u32], domains: &[&str]| v1::EventsWatchRequest {
                addresses: list(addresses),
                ports: ports.to_vec(),
                domains: list(domains),
                ..v1::EventsWatchRequest::default()
            };
        for (addresses, ports, domains, expected) in [
            (&["192.0.2.0/24"][..], &[][..], &[][..], true),
            (&["192.0.2.0/24"], &[3_333], &[], true),
            (&["192.0.2.0/24"], &[40_000], &[], false),
            (&[], &[40_000, 1], &[], true),
            (&[], &[80], &[], false),
            (&[], &[], &["example.com"], true),
            (&[], &[], &["pool.example.com."], true),
            (&[], &[], &["ample.com"], false),
            (&[], &[3_333], &["example.org"], false),
        ] {
            let asked = request(addresses, ports, domains);
            assert_eq!(wants(&asked, &event), expected, "{asked:?}");
        }
    }

    #[test]
    fn a_directory_stands_for_what_is_in_it() {
        for (path, wanted, expected) in [
            ("/etc/shadow", "/etc/shadow", true),
            ("/etc/shadow", "/etc", true),
            ("/etc/shadow", "/etc/", true),
            ("/etc/shadow-", "/etc/shadow", false),
            ("/etc", "/etc/shadow", false),
            ("/etc/shadow", "/", true),
            ("/etc/shadow", "", false),
        ] {
            assert_eq!(is_at_or_below(path, wanted), expected, "{path} {wanted}");
        }
    }
}
