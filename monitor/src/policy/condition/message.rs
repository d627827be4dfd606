//! What an alert says: a sentence with the names of fields in braces, which stand for their values in the event.
//!
//! What is in square brackets is left out when one of the fields in it is empty: an event has only some of the fields that its
//! rule speaks of. A doubled bracket is a bracket.

use std::fmt::Write as _;

use super::{
    Mistake, fields,
    schema::{self, Named},
    value::{Texts, Value},
    view::View,
};
use crate::interpret::identity;

/// Most bytes of one value in a sentence.
const MAX_VALUE: usize = 512;

/// What stands for an empty field outside of brackets.
const EMPTY: &str = "-";

/// See the module.
#[derive(Debug)]
pub struct Message {
    stretches: Vec<Stretch>,
}

/// What is between brackets, or outside of them.
#[derive(Debug)]
struct Stretch {
    optional: bool,
    parts: Vec<Part>,
}

#[derive(Debug)]
enum Part {
    Text(String),
    Field(ShownField),
}

/// A field whose value can be written as text.
#[derive(Clone)]
pub struct ShownField {
    name: String,
    named: Named,
}

impl std::fmt::Debug for ShownField {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.name)
    }
}

impl ShownField {
    /// Looks a name up.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        Some(Self {
            name: name.to_owned(),
            named: schema::find(name)?,
        })
    }

    /// Writes the value that it has in an event, after what is in `out`.
    pub fn write(&self, view: &View<'_>, out: &mut String) {
        let start = out.len();
        // Writing to a string does not fail.
        let _ = match fields::read(self.named, view) {
            Value::Absent | Value::Labels(_) => Ok(()),
            Value::Bool(value) => write!(out, "{value}"),
            Value::Int(value) => write!(out, "{value}"),
            Value::Double(value) => write!(out, "{value}"),
            Value::Text(value) => out.write_str(value),
            Value::Texts(Texts::Capabilities(set)) => {
                out.write_str(&identity::capabilities_in_words(set))
            }
            Value::Texts(values) => {
                let is_argv = self.name.ends_with("argv");
                write_list(values, if is_argv { " " } else { ", " }, out);
                Ok(())
            }
        };
        if out.len() - start > MAX_VALUE {
            out.truncate(out.floor_char_boundary(start + MAX_VALUE));
            out.push('…');
        }
    }
}

impl Message {
    /// Takes a sentence apart; `events` are the kinds of events that it is said of.
    ///
    /// # Errors
    /// When a brace or bracket is not closed, there is no field in brackets, or a name is no field of these events that can be
    /// shown.
    pub fn parse(text: &str, events: &[String]) -> Result<Self, Mistake> {
        let mistake = |at, message: &str| Err(Mistake::new(at, message.to_owned()));
        let mut stretches = Vec::new();
        let mut parts = Vec::new();
        // Where the bracket that is open is.
        let mut open = None;
        let mut at = 0;
        while let Some(next) = text[at..].find(['{', '[', ']']) {
            let found = at + next;
            push_text(&mut parts, &text[at..found]);
            let rest = &text[found..];
            at = found + 1;
            if rest.starts_with("[[") || rest.starts_with("]]") {
                push_text(&mut parts, &rest[..1]);
                at += 1;
            } else if rest.starts_with('{') {
                let Some(end) = rest.find('}') else {
                    return mistake(found, "a `{` without its `}`");
                };
                parts.push(Part::Field(field(&rest[1..end], found + 1, events)?));
                at = found + end + 1;
            } else if rest.starts_with('[') {
                if open.replace(found).is_some() {
                    return mistake(found, "a `[` within brackets; for a bracket write `[[`");
                }
                stretches.push(Stretch::new(false, &mut parts));
            } else {
                let Some(start) = open.take() else {
                    return mistake(found, "a `]` without its `[`; for a bracket write `]]`");
                };
                if !parts.iter().any(|part| matches!(part, Part::Field(_))) {
                    return mistake(
                        start,
                        "there is no field in these brackets; for a bracket write `[[`",
                    );
                }
                stretches.push(Stretch::new(true, &mut parts));
            }
        }
        if let Some(start) = open {
            return mistake(start, "a `[` without its `]`; for a bracket write `[[`");
        }
        push_text(&mut parts, &text[at..]);
        stretches.push(Stretch::new(false, &mut parts));
        Ok(Self { stretches })
    }

    /// The sentence for an event, and those values in it that are not empty, by the names of their fields.
    #[must_use]
    pub fn say(&self, view: &View<'_>) -> (String, Vec<(String, String)>) {
        let mut sentence = String::new();
        let mut facts = Vec::new();
        for stretch in &self.stretches {
            let before = sentence.len();
            let mut complete = true;
            for part in &stretch.parts {
                match part {
                    Part::Text(text) => sentence.push_str(text),
                    Part::Field(field) => {
                        let mut value = String::new();
                        field.write(view, &mut value);
                        if value.is_empty() {
                            sentence.push_str(EMPTY);
                            complete = false;
                        } else {
                            sentence.push_str(&value);
                            facts.push((field.name.clone(), value));
                        }
                    }
                }
            }
            if stretch.optional && !complete {
                sentence.truncate(before);
            }
        }
        (sentence, facts)
    }
}

impl Stretch {
    /// Takes what has been read.
    fn new(optional: bool, parts: &mut Vec<Part>) -> Self {
        let parts = std::mem::take(parts);
        Self { optional, parts }
    }
}

fn push_text(parts: &mut Vec<Part>, text: &str) {
    if !text.is_empty() {
        parts.push(Part::Text(text.to_owned()));
    }
}

/// A field that can be shown.
fn field(name: &str, at: usize, events: &[String]) -> Result<ShownField, Mistake> {
    let name = name.trim();
    match fields::field(name, events).map_err(|message| Mistake::new(at, message))? {
        Named::Process(_) | Named::Ancestors => Err(Mistake::new(
            at,
            format!("`{name}` can't be shown; name one of its fields, such as `{name}.exe`"),
        )),
        named @ (Named::Event(_) | Named::Detail(_) | Named::OfProcess(..)) => Ok(ShownField {
            name: name.to_owned(),
            named,
        }),
    }
}

/// The first texts of a list, until they are too long for a sentence.
fn write_list(values: Texts<'_>, separator: &str, out: &mut String) {
    let start = out.len();
    values.any(|value| {
        if out.len() > start {
            out.push_str(separator);
        }
        out.push_str(value);
        out.len() - start > MAX_VALUE
    });
}
