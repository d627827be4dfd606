//! What an alert says: a sentence with the names of fields in braces, which stand for their values in the event.
//!
//! What is in square brackets is left out when one of the fields in it is empty: an event has only some of the fields that its
//! rule speaks of. A doubled bracket is a bracket.

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
    Field(String),
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
                parts.push(Part::Field(field_name(&rest[1..end], found + 1, events)?));
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
                    Part::Field(name) => {
                        let value = shown(name, view);
                        if value.is_empty() {
                            sentence.push_str(EMPTY);
                            complete = false;
                        } else {
                            sentence.push_str(&value);
                            facts.push((name.clone(), value));
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

/// The name of a field that can be shown.
fn field_name(name: &str, at: usize, events: &[String]) -> Result<String, Mistake> {
    let name = name.trim();
    match fields::field(name, events).map_err(|message| Mistake::new(at, message))? {
        Named::Process(_) | Named::Ancestors => Err(Mistake::new(
            at,
            format!("`{name}` can't be shown; name one of its fields, such as `{name}.exe`"),
        )),
        Named::Event(_) | Named::Detail(_) | Named::OfProcess(..) => Ok(name.to_owned()),
    }
}

/// The value of a field as text.
#[must_use]
pub fn shown(name: &str, view: &View<'_>) -> String {
    let mut out = String::new();
    let Some(named) = schema::find(name) else {
        return out;
    };
    match fields::read(named, view) {
        Value::Absent | Value::Labels(_) => {}
        Value::Bool(value) => out = value.to_string(),
        Value::Int(value) => out = value.to_string(),
        Value::Double(value) => out = value.to_string(),
        Value::Text(value) => out.push_str(value),
        Value::Texts(Texts::Capabilities(set)) => out = identity::capabilities_in_words(set),
        Value::Texts(values) => out = list(values, if name.ends_with("argv") { " " } else { ", " }),
    }
    if out.len() > MAX_VALUE {
        out.truncate(out.floor_char_boundary(MAX_VALUE));
        out.push('…');
    }
    out
}

/// The first texts of a list, until they are too long for a sentence.
fn list(values: Texts<'_>, separator: &str) -> String {
    let mut out = String::new();
    values.any(|value| {
        if !out.is_empty() {
            out.push_str(separator);
        }
        out.push_str(value);
        out.len() > MAX_VALUE
    });
    out
}
