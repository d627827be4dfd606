//! Functions of conditions about regular expressions, paths, names of hosts, and addresses. What they compare with is prepared when
//! the condition is loaded.

use std::net::IpAddr;

use memchr::memmem::Finder;
use regex::bytes::{RegexSet, RegexSetBuilder};
use regex_syntax::{
    ParserBuilder,
    hir::{Look, literal::Extractor},
};

use super::{beginnings::Beginnings, environment::Words, literals::Literals};
use crate::watch::pattern::{Pattern, with_components};

/// Most bytes that a regular expression may take.
const MAX_REGEX: usize = 1 << 20;

/// Regular expressions, one of which is to match.
pub(super) struct Expressions {
    all: RegexSet,
    /// What texts begin with that one of them matches, where that is known.
    beginnings: Option<Beginnings>,
    literals: Option<Literals>,
}

impl Expressions {
    pub(super) fn new<'a>(
        expressions: impl Iterator<Item = &'a str> + Clone,
    ) -> Result<Self, String> {
        let all = RegexSetBuilder::new(expressions.clone())
            .unicode(false)
            .size_limit(MAX_REGEX)
            .build()
            .map_err(|error| {
                let message = error.to_string();
                let last = message.lines().last().unwrap_or_default();
                format!("not a regular expression: {}", last.trim())
            })?;
        let prefixes: Option<Vec<Prefixes>> = expressions.map(Prefixes::of).collect();
        let texts = prefixes.iter().flatten().flat_map(|each| &each.texts);
        let texts: Vec<Vec<u8>> = texts.cloned().collect();
        let are_beginnings = |all: &Vec<Prefixes>| all.iter().all(|each| each.at_start);
        Ok(Self {
            all,
            beginnings: prefixes
                .as_ref()
                .is_some_and(are_beginnings)
                .then(|| Beginnings::of(&texts)),
            literals: prefixes.and_then(|_| Literals::new(texts)),
        })
    }

    pub(super) fn match_one(&self, text: &str) -> bool {
        // Most texts begin otherwise, and the expressions need not be asked.
        let may_match = |known: &Beginnings| known.may_begin(text);
        self.beginnings.as_ref().is_none_or(may_match) && self.all.is_match(text.as_bytes())
    }

    /// What is in a text that one of them matches.
    pub(super) fn literals(&self) -> Option<Literals> {
        self.literals.clone()
    }
}

/// What everything begins with that a regular expression matches.
struct Prefixes {
    texts: Vec<Vec<u8>>,
    /// It only matches from the beginning of a text.
    at_start: bool,
}

impl Prefixes {
    /// `None` where they are too many.
    fn of(expression: &str) -> Option<Self> {
        let parsed = ParserBuilder::new()
            .unicode(false)
            .utf8(false)
            .build()
            .parse(expression)
            .ok()?;
        let prefixes = Extractor::new().extract(&parsed);
        let texts = prefixes.literals()?.iter();
        Some(Self {
            texts: texts.map(|text| text.as_bytes().to_vec()).collect(),
            at_start: parsed.properties().look_set_prefix().contains(Look::Start),
        })
    }
}

/// Patterns of paths, one of which is to match.
pub(super) struct Paths {
    /// Those that begin with a name, with that name.
    beginning: Vec<(String, Pattern)>,
    /// How these names begin.
    names: Beginnings,
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
        let names: Vec<_> = beginning
            .iter()
            .map(|(name, _)| name.clone().into_bytes())
            .collect();
        Ok(Self {
            names: Beginnings::of(&names),
            beginning,
            anywhere,
        })
    }

    /// Few paths have what one of the patterns begins with; the others need not be taken apart.
    pub(super) fn matches(&self, path: &str) -> bool {
        let first = first_component(path);
        let mut beginning = self.beginning.iter();
        let mut anywhere = self.anywhere.iter();
        (self.names.may_begin(first)
            && beginning.any(|(name, pattern)| name == first && fits(pattern, path)))
            || anywhere
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
pub(super) struct Domains {
    all: Words,
    /// Their last labels: what is within none of them is mostly told by that.
    top: Words,
}

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
        let all = domains.map(normal).collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            top: Words::new(all.iter().map(|name| top(name).to_owned()).collect()),
            all: Words::new(all),
        })
    }

    /// Names of hosts come in lower case, as the agent writes them.
    pub(super) fn contains(&self, name: &str) -> bool {
        let mut rest = name.trim_end_matches('.');
        if !self.top.contains(top(rest)) {
            return false;
        }
        loop {
            if self.all.contains(rest) {
                return true;
            }
            match rest.split_once('.') {
                Some((_, parent)) => rest = parent,
                None => return false,
            }
        }
    }
}

/// The last label of a name.
fn top(name: &str) -> &str {
    memchr::memrchr(b'.', name.as_bytes()).map_or(name, |dot| &name[dot + 1..])
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

    pub(super) fn contain(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self
                .v4
                .iter()
                .any(|(network, bits)| (network ^ address.to_bits()).leading_zeros() >= *bits),
            IpAddr::V6(address) => self
                .v6
                .iter()
                .any(|(network, bits)| (network ^ address.to_bits()).leading_zeros() >= *bits),
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
    fn an_expression_is_only_asked_of_texts_that_begin_as_it_does() {
        let known = |expression| {
            let prefixes = Prefixes::of(expression).filter(|prefixes| prefixes.at_start);
            let mut texts = prefixes?.texts;
            texts.sort();
            Some(String::from_utf8(texts.join(&b' ')).expect("of these tests"))
        };
        for (expression, expected) in [
            ("^(kubectl|helm[0-9.]*|k9s)$", Some("helm k9s kubectl")),
            ("^\\[?(kworker|irq)", Some("[irq [kworker irq kworker")),
            ("^-?-?x", Some("--x -x x")),
            ("^(?i)ab", Some("AB Ab aB ab")),
            ("^[4-7]0", Some("40 50 60 70")),
            ("^\\[.*\\]$", Some("[")),
            ("kubectl", None),
            ("^a|b", None),
            ("(?m)^a", None),
            ("^.b", None),
        ] {
            assert_eq!(known(expression).as_deref(), expected, "{expression}");
        }
        let both = Expressions::new(["^ab", "^[cd]"].into_iter()).expect("valid");
        for (text, expected) in [
            ("ab", true),
            ("dx", true),
            ("ac", false),
            ("a", false),
            ("cx", true),
            ("cb", true),
            ("xab", false),
            ("", false),
        ] {
            assert_eq!(both.match_one(text), expected, "{text}");
        }
        let empty = Expressions::new(["^ab", "^$"].into_iter()).expect("valid");
        assert!(empty.match_one("") && empty.match_one("abc") && !empty.match_one("a"));
        let anywhere = Expressions::new(["^ab", "c"].into_iter()).expect("valid");
        assert!(anywhere.match_one("xc") && !anywhere.match_one("xab"));
    }

    #[test]
    fn a_name_is_within_its_domains() {
        let domains = Domains::new(["Pool.example", "*.other.test"].into_iter()).expect("valid");
        for (name, expected) in [
            ("pool.example", true),
            ("eu.pool.example", true),
            ("eu.pool.example.", true),
            ("notpool.example", false),
            ("pool.test", false),
            ("pool.example.local", false),
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
        let contains = |network: &str, address: &str| {
            let networks = Networks::new([network].into_iter()).expect("valid");
            networks.contain(address.parse().expect("valid"))
        };
        assert!(contains(networks[0], "10.255.0.1") && !contains(networks[0], "11.0.0.1"));
        assert!(contains(networks[1], "2001:db8:1::1") && !contains(networks[1], "2001:db9::1"));
        assert!(contains(networks[2], "192.0.2.1") && !contains(networks[2], "192.0.2.2"));
        assert!(contains(networks[3], "203.0.113.9") && !contains(networks[3], "::1"));
        for wrong in ["10.0.0.0/33", "ten", "10.0.0.0/x"] {
            assert!(Networks::new([wrong].into_iter()).is_err(), "{wrong}");
        }
    }
}
