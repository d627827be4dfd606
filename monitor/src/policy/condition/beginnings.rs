//! What texts begin with: most texts are told by that from what is looked for in them, without being looked at further.

/// A set of bytes.
#[derive(Clone, Copy, Debug, Default)]
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
}

/// What texts begin with that begin with one of some.
#[derive(Debug)]
pub(super) struct Beginnings {
    /// The bytes that are at the first place, the second, and so on: as far as all have one, and no further than tells most apart.
    places: Vec<Bytes>,
}

impl Beginnings {
    /// Of these texts.
    pub(super) fn of(texts: &[Vec<u8>]) -> Self {
        let at = |place: usize| Bytes::of(texts.iter().map(|text| text.get(place).copied()));
        Self {
            places: (0..4).map_while(at).collect(),
        }
    }

    /// Whether a text may begin with one of them. Few that do not are taken for such.
    pub(super) fn may_begin(&self, text: &str) -> bool {
        let text = text.as_bytes();
        let mut places = self.places.iter().enumerate();
        places.all(|(place, bytes)| text.get(place).is_some_and(|byte| bytes.has(*byte)))
    }
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
}
