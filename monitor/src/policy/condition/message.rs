//! What an alert says: a sentence with the names of fields in braces, which stand for their values in the event.

use std::fmt::Write as _;

use super::{
    Mistake, fields,
    schema::{self, Named},
    value::Value,
    view::View,
};

/// Most bytes of one value in a sentence.
const MAX_VALUE: usize = 512;

/// See the module.
#[derive(Debug)]
pub struct Message {
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
    /// When a brace is not closed, or a name is no field of these events that can be shown.
    pub fn parse(text: &str, events: &[String]) -> Result<Self, Mistake> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find('{') {
            let at = text.len() - rest.len() + start;
            if start > 0 {
                parts.push(Part::Text(rest[..start].to_owned()));
            }
            let Some(end) = rest[start..].find('}') else {
                return Err(Mistake::new(at, "a `{` without its `}`".to_owned()));
            };
            let name = rest[start + 1..start + end].trim();
            match fields::field(name, events).map_err(|message| Mistake::new(at + 1, message))? {
                Named::Process(_) | Named::Ancestors => {
                    return Err(Mistake::new(
                        at + 1,
                        format!(
                            "`{name}` can't be shown; name one of its fields, such as `{name}.exe`"
                        ),
                    ));
                }
                Named::Event(_) | Named::Detail(_) | Named::OfProcess(..) => {
                    parts.push(Part::Field(name.to_owned()));
                }
            }
            rest = &rest[start + end + 1..];
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self { parts })
    }

    /// The sentence for an event, and the values in it by the names of their fields.
    #[must_use]
    pub fn say(&self, view: &View<'_>) -> (String, Vec<(String, String)>) {
        let mut sentence = String::new();
        let mut facts = Vec::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => sentence.push_str(text),
                Part::Field(name) => {
                    let value = shown(name, view);
                    sentence.push_str(if value.is_empty() { "-" } else { &value });
                    facts.push((name.clone(), value));
                }
            }
        }
        (sentence, facts)
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
        Value::Texts(values) => {
            let separator = if name.ends_with("argv") { " " } else { ", " };
            values.any(|value| {
                let before = if out.is_empty() { "" } else { separator };
                // Writing to a string can't fail.
                let _ = write!(out, "{before}{value}");
                out.len() > MAX_VALUE
            });
        }
    }
    if out.len() > MAX_VALUE {
        out.truncate(out.floor_char_boundary(MAX_VALUE));
        out.push('…');
    }
    out
}
