//! What is in every text of which something holds. Where it is in none of a process's arguments, which is told by going once
//! through all of them together, they need not be looked at one by one.

use aho_corasick::packed::Searcher;
use memchr::memmem;

/// Most of them that are looked for.
const MAX: usize = 64;
/// Most that they are made from.
const MAX_GIVEN: usize = 512;
/// Bytes of one that tell enough.
const ENOUGH: usize = 8;

/// One of these is in each such text. None of them is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Literals(Vec<Vec<u8>>);

impl Literals {
    /// `None` where nothing is told by them.
    pub(super) fn new<Text: Into<Vec<u8>>>(texts: impl IntoIterator<Item = Text>) -> Option<Self> {
        let mut texts: Vec<Vec<u8>> = texts.into_iter().map(Into::into).collect();
        if texts.len() > MAX_GIVEN || texts.iter().any(Vec::is_empty) {
            return None;
        }
        without_longer(&mut texts);
        texts.iter_mut().for_each(|text| text.truncate(ENOUGH));
        without_longer(&mut texts);
        (texts.len() <= MAX).then_some(Self(texts))
    }

    /// What is in a text that has one of these or one of those.
    pub(super) fn or(self, other: Self) -> Option<Self> {
        Self::new(self.0.into_iter().chain(other.0))
    }

    /// Looks for them; `None` where there is none, or the processor has no instructions to do that for all of them at once.
    pub(super) fn searcher(&self) -> Option<Searcher> {
        Searcher::new(&self.0)
    }
}

/// Leaves those out that another one is in.
fn without_longer(texts: &mut Vec<Vec<u8>>) {
    texts.sort_by(|one, other| (one.len(), one).cmp(&(other.len(), other)));
    let mut kept: Vec<Vec<u8>> = Vec::new();
    for text in texts.drain(..) {
        let is_told = kept
            .iter()
            .any(|known| memmem::find(&text, known).is_some());
        if !is_told {
            kept.push(text);
        }
    }
    *texts = kept;
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;

    fn literals(texts: &[&str]) -> Option<Vec<String>> {
        let known = Literals::new(texts.iter().copied())?;
        let text = |bytes| String::from_utf8(bytes).expect("of these tests");
        Some(known.0.into_iter().map(text).collect())
    }

    #[test]
    fn what_another_one_is_in_is_left_out() {
        for (given, expected) in [
            (&["=rx/", "rx/", "-arx/0"][..], &["rx/"][..]),
            (&["b", "a", "b"], &["a", "b"]),
            (
                &[
                    "--donate-level",
                    "--donate-over",
                    "--nice",
                    " --donate-level",
                ],
                &["--nice", "--donate"],
            ),
            (&[], &[]),
        ] {
            let expected = expected.iter().map(|&text| text.to_owned()).collect();
            assert_eq!(literals(given), Some(expected), "{given:?}");
        }
        assert_eq!(literals(&["a", ""]), None, "it is everywhere");
    }

    #[test]
    fn one_of_them_is_enough() {
        let either = Literals::new(["-o"]).and_then(|one| one.or(Literals::new(["x"])?));
        let searcher = either.and_then(|either| either.searcher());
        let searcher = searcher.expect("this processor can");
        for (text, expected) in [
            ("ld\0-o\0a", true),
            ("ld\0--output\0-oa\0and some more", true),
            (
                "ld\0a b c d e f g h i j k l m n\0-o\0a b c d e f g h i j k l m",
                true,
            ),
            ("x", true),
            ("ld\0-O\0a b c d e f g h i j k l m n", false),
            ("", false),
        ] {
            assert_eq!(searcher.find(text).is_some(), expected, "{text:?}");
        }
    }

    #[test]
    fn too_many_tell_nothing() {
        let numbers =
            |range: Range<usize>| Literals::new(range.map(|number| format!("{number:04}")));
        assert!(numbers(0..40).is_some() && numbers(40..80).is_some());
        assert_eq!(
            numbers(0..40).and_then(|one| one.or(numbers(40..80)?)),
            None
        );
        assert_eq!(numbers(0..1000), None);
    }
}
