//! The types of conditions, and values of them, borrowed from the event they are asked of.

use super::subject::Subject;
use crate::{container::model::Labels, interpret::identity, process::execution::Arguments};

/// The type of an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// True or false.
    Bool,
    /// A whole number, signed, of 64 bits.
    Int,
    /// A number.
    Double,
    /// Text.
    Text,
    /// A list of texts.
    Texts,
    /// A list of whole numbers.
    Ints,
    /// Names with values.
    Labels,
    /// A process.
    Process,
    /// A list of processes.
    Processes,
}

impl Type {
    /// As a sentence names it: "an int".
    #[must_use]
    pub fn with_article(self) -> &'static str {
        match self {
            Self::Bool => "a bool",
            Self::Int => "an int",
            Self::Double => "a double",
            Self::Text => "a string",
            Self::Texts => "a list of strings",
            Self::Ints => "a list of ints",
            Self::Labels => "a map of strings",
            Self::Process => "a process",
            Self::Processes => "a list of processes",
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        let name = self.with_article();
        name.split_once(' ').map_or(name, |(_, name)| name)
    }
}

/// What a field holds.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// The event has no such field: as if it had its type's default value.
    Absent,
    /// See [`Type::Bool`].
    Bool(bool),
    /// See [`Type::Int`].
    Int(i64),
    /// See [`Type::Double`].
    Double(f64),
    /// See [`Type::Text`].
    Text(&'a str),
    /// See [`Type::Texts`].
    Texts(Texts<'a>),
    /// See [`Type::Labels`].
    Labels(&'a Labels),
}

/// A list of texts, in one of the forms that events have them in.
#[derive(Clone, Copy, Debug)]
pub enum Texts<'a> {
    /// As messages hold them.
    Strings(&'a [String]),
    /// Arguments of a program.
    Arguments(&'a Arguments),
    /// A set of capabilities: their bits.
    Capabilities(u64),
    /// Bits with their names.
    Bits(u32, &'static [(u32, &'static str)]),
}

impl<'a> Texts<'a> {
    /// Whether `test` holds for one of them.
    pub fn any(self, mut test: impl FnMut(&str) -> bool) -> bool {
        match self {
            Self::Strings(all) => all.iter().any(|text| test(text)),
            Self::Arguments(arguments) => arguments.iter().any(&mut test),
            Self::Capabilities(set) => identity::capability_names(set).any(test),
            Self::Bits(bits, names) => names
                .iter()
                .any(|(bit, name)| bits & bit != 0 && test(name)),
        }
    }

    /// Whether this is one of them. A full set of capabilities, which messages write as "ALL", holds each.
    #[must_use]
    pub fn contains(self, wanted: &str) -> bool {
        match self {
            Self::Strings(_) | Self::Capabilities(_) => {
                self.any(|text| text == wanted || (text == "ALL" && wanted.starts_with("CAP_")))
            }
            Self::Arguments(arguments) => arguments.contains(wanted),
            Self::Bits(bits, _) => bits != 0 && self.any(|text| text == wanted),
        }
    }

    /// How many they are.
    #[must_use]
    pub fn count(self) -> usize {
        let mut count = 0;
        self.any(|_| {
            count += 1;
            false
        });
        count
    }

    /// The one at this place.
    #[must_use]
    pub fn get(self, index: usize) -> Option<&'a str> {
        match self {
            Self::Strings(all) => all.get(index).map(String::as_str),
            Self::Arguments(arguments) => arguments.iter().nth(index),
            Self::Capabilities(set) => identity::capability_names(set).nth(index),
            Self::Bits(bits, names) => names
                .iter()
                .filter(|(bit, _)| bits & bit != 0)
                .nth(index)
                .map(|(_, name)| *name),
        }
    }
}

/// What a variable of `exists` or `all` stands for.
#[derive(Clone, Copy, Debug)]
pub enum Local<'a> {
    /// A text.
    Text(&'a str),
    /// A process.
    Process(Subject<'a>),
}
