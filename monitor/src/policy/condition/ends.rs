//! What texts begin and end with: most texts are told by that from what is looked for in them, without being looked at further.

/// A set of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Bytes([u64; 4]);

impl Bytes {
    /// These; `None` where one of them is `None`, which is any.
    fn of(bytes: impl Iterator<Item = Option<u8>>) -> Option<Self> {
        let mut all = Self::default();
        for byte in bytes {
            all.insert(byte?);
        }
        Some(all)
    }

    fn insert(&mut self, byte: u8) {
        self.0[usize::from(byte >> 6)] |= 1 << (byte & 63);
    }

    fn has(&self, byte: u8) -> bool {
        self.0[usize::from(byte >> 6)] & 1 << (byte & 63) != 0
    }

    fn meets(&self, other: &Self) -> bool {
        let mut pairs = self.0.iter().zip(&other.0);
        pairs.any(|(one, other)| one & other != 0)
    }

    fn or(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|index| self.0[index] | other.0[index]))
    }
}

/// What texts begin with that begin with one of some.
#[derive(Debug)]
pub(super) struct Beginnings {
    /// The bytes that are at the first place, the second, and so on: as far as all have one, and no further than tells most apart.
    places: Vec<Bytes>,
    pub(super) ends: Option<Ends>,
}

impl Beginnings {
    /// Of these texts.
    pub(super) fn of(texts: &[Vec<u8>]) -> Self {
        let at = |place: usize| Bytes::of(texts.iter().map(|text| text.get(place).copied()));
        Self {
            places: (0..4).map_while(at).collect(),
            ends: Ends::beginning(texts.iter().map(Vec::as_slice)),
        }
    }

    /// Whether a text may begin with one of them. Few that do not are taken for such.
    pub(super) fn may_begin(&self, text: &str) -> bool {
        let text = text.as_bytes();
        let mut places = self.places.iter().enumerate();
        places.all(|(place, bytes)| text.get(place).is_some_and(|byte| bytes.has(*byte)))
    }
}

/// The initials of texts, which are their first bytes but for the dashes of options, and their last bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ends {
    initial: Bytes,
    last: Bytes,
}

impl Ends {
    /// Those that these texts have.
    pub(super) fn of<'a>(texts: impl Iterator<Item = &'a str>) -> Self {
        let mut all = Self::default();
        for text in texts {
            if let Some(initial) = initial(text.as_bytes()) {
                all.initial.insert(initial);
            }
            if let Some(last) = text.bytes().next_back() {
                all.last.insert(last);
            }
        }
        all
    }

    /// Initials of texts that begin with one of these; `None` where those can be any.
    pub(super) fn beginning<'a>(texts: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        Some(Self {
            initial: Bytes::of(texts.map(initial))?,
            ..Self::default()
        })
    }

    /// Last bytes of texts that end with one of these; `None` where those can be any.
    pub(super) fn ending<'a>(texts: impl Iterator<Item = &'a str>) -> Option<Self> {
        Some(Self {
            last: Bytes::of(texts.map(|text| text.bytes().next_back()))?,
            ..Self::default()
        })
    }

    /// These and those.
    pub(super) fn or(&self, other: &Self) -> Self {
        Self {
            initial: self.initial.or(&other.initial),
            last: self.last.or(&other.last),
        }
    }

    /// Whether one of the texts that have these may begin or end as one of those others.
    pub(super) fn meet(&self, others: &Self) -> bool {
        self.initial.meets(&others.initial) || self.last.meets(&others.last)
    }

    /// Whether this text may.
    pub(super) fn are_of(&self, text: &str) -> bool {
        let has = |bytes: &Bytes, byte: Option<u8>| byte.is_some_and(|byte| bytes.has(byte));
        has(&self.initial, initial(text.as_bytes())) || has(&self.last, text.bytes().next_back())
    }
}

fn initial(text: &[u8]) -> Option<u8> {
    text.iter().copied().find(|byte| *byte != b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_is_missed_that_begins_like_another() {
        let of = |texts: &[&str]| {
            let texts: Vec<_> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
            Beginnings::of(&texts)
        };
        let names = of(&["npm", "node", "nerdctl"]);
        for (text, expected) in [
            ("npm", true),
            ("nodejs", true),
            ("nginx", false),
            ("np", false),
            ("", false),
        ] {
            assert_eq!(names.may_begin(text), expected, "{text}");
        }
        assert!(of(&["npm", ""]).may_begin("x") && of(&["a", "bc"]).may_begin("ax"));
        assert!(!of(&[]).may_begin("x"), "there is none");
    }

    #[test]
    fn texts_meet_where_one_begins_or_ends_like_another() {
        let of = |texts: &[&'static str]| Ends::of(texts.iter().copied());
        let beginning = |text: &str| Ends::beginning([text.as_bytes()].into_iter());
        let ending = |text: &str| Ends::ending([text].into_iter());
        let arguments = ["nginx", "-g", "", "\u{e9}"];
        for (wanted, expected) in [
            (beginning("nginx"), true),
            (beginning("--g"), true),
            (beginning("--kubeconfig="), false),
            (ending("x"), true),
            (ending("-"), false),
            (beginning("\u{e9}"), true),
            (ending("\u{e8}"), false),
        ] {
            let wanted = wanted.expect("it is not any");
            assert_eq!(of(&arguments).meet(&wanted), expected, "{wanted:?}");
            let mut each = arguments.iter();
            assert_eq!(each.any(|text| wanted.are_of(text)), expected, "{wanted:?}");
        }
        let either = beginning("x").zip(ending("g"));
        let either = either.map(|(one, other)| one.or(&other));
        assert!(either.is_some_and(|wanted| of(&arguments).meet(&wanted)));
        for any in [beginning(""), beginning("--"), ending("")] {
            assert_eq!(any, None);
        }
        let a = beginning("a").expect("it is not any");
        assert!(!of(&["", "--"]).meet(&a) && !a.are_of("--"));
    }
}
