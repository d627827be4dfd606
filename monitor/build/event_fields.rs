//! The table of what conditions can ask of an event's detail, made from the protobuf definitions: each field is known by
//! the name that it has in the API, with the comment that stands there, and a function that reads it.

use std::{collections::HashMap, fmt::Write as _};

use anyhow::{Context as _, bail};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
    FileDescriptorSet,
    field_descriptor_proto::{Label, Type},
};

const PACKAGE: &str = "watchkeeper.v1";

/// Messages that an event holds by reference elsewhere: their fields are not in the detail.
const ELSEWHERE: [&str; 2] = ["ProcessReference", "Timestamp"];

/// Details that the agent keeps in another form: they have fields of their own.
const OF_THE_AGENT: [&str; 5] = ["fork", "exit", "cgroup", "cgroup_attach", "loss"];

/// The table as Rust: an array of `DetailField`.
pub fn table(descriptors: &FileDescriptorSet) -> anyhow::Result<String> {
    let definitions = Definitions::new(descriptors);
    let event = definitions.message("Event")?;
    let mut out = String::from("&[\n");
    for field in event
        .field
        .iter()
        .filter(|field| field.oneof_index == Some(0))
    {
        let name = field.name();
        if OF_THE_AGENT.contains(&name) {
            continue;
        }
        let message = definitions.message(base_name(field.type_name()))?;
        let scope = Scope {
            variant: camel_case(name),
            path: name.to_owned(),
            read: "Some(found)".to_owned(),
        };
        definitions.fields(message, &scope, &mut out)?;
    }
    out.push(']');
    Ok(out)
}

/// Where in a detail a message lies.
struct Scope {
    /// The variant of the detail.
    variant: String,
    /// As conditions name it.
    path: String,
    /// Rust expression for the message, an `Option` of a reference.
    read: String,
}

struct Definitions<'a> {
    messages: HashMap<&'a str, (&'a DescriptorProto, HashMap<i32, String>)>,
    enums: HashMap<&'a str, &'a EnumDescriptorProto>,
}

impl<'a> Definitions<'a> {
    fn new(descriptors: &'a FileDescriptorSet) -> Self {
        let mut messages = HashMap::new();
        let mut enums = HashMap::new();
        for file in &descriptors.file {
            if file.package() != PACKAGE {
                continue;
            }
            for (index, message) in file.message_type.iter().enumerate() {
                messages.insert(message.name(), (message, comments(file, index)));
            }
            enums.extend(file.enum_type.iter().map(|found| (found.name(), found)));
        }
        Self { messages, enums }
    }

    fn message(&self, name: &str) -> anyhow::Result<&'a DescriptorProto> {
        let (message, _) = self
            .messages
            .get(name)
            .with_context(|| format!("there is no message {name}"))?;
        Ok(message)
    }

    fn fields(
        &self,
        message: &DescriptorProto,
        scope: &Scope,
        out: &mut String,
    ) -> anyhow::Result<()> {
        let comments = &self.messages[message.name()].1;
        for field in &message.field {
            self.field(field, comments, scope, out)
                .with_context(|| format!("field {} of {}", field.name(), message.name()))?;
        }
        Ok(())
    }

    fn field(
        &self,
        field: &FieldDescriptorProto,
        comments: &HashMap<i32, String>,
        scope: &Scope,
        out: &mut String,
    ) -> anyhow::Result<()> {
        let path = format!("{}.{}", scope.path, field.name());
        // `type` is a word of Rust.
        let own = match field.name() {
            "type" => "r#type",
            name => name,
        };
        let repeated = field.label() == Label::Repeated;
        let optional = field.proto3_optional();
        let mut values = String::new();
        let (kind, value) = match (field.r#type(), repeated) {
            (Type::String, false) => ("Text", format!("Value::Text(&found.{own})")),
            (Type::String, true) => (
                "Texts",
                format!("Value::Texts(Texts::Strings(&found.{own}))"),
            ),
            (Type::Bool, false) => ("Bool", format!("Value::Bool(found.{own})")),
            (Type::Double, false) => ("Double", format!("Value::Double(found.{own})")),
            (Type::Uint32, false) if optional => (
                "Int",
                format!("Value::Int(found.{own}.map_or(-1, i64::from))"),
            ),
            (Type::Uint32, false) => ("Int", format!("Value::Int(i64::from(found.{own}))")),
            (Type::Uint64, false) => (
                "Int",
                format!("Value::Int(i64::try_from(found.{own}).unwrap_or(i64::MAX))"),
            ),
            (Type::Int64, false) => ("Int", format!("Value::Int(found.{own})")),
            (Type::Enum, false) => {
                let (names, all) = self.names(base_name(field.type_name()))?;
                values = all;
                (
                    "Text",
                    format!(
                        "Value::Text({names}.get(usize::try_from(found.{own}).unwrap_or_default()).copied().unwrap_or_default())"
                    ),
                )
            }
            (Type::Message, false) => {
                let name = base_name(field.type_name());
                if ELSEWHERE.contains(&name) {
                    return Ok(());
                }
                let inner = Scope {
                    variant: scope.variant.clone(),
                    path,
                    read: format!("{}.and_then(|found| found.{own}.as_ref())", scope.read),
                };
                return self.fields(self.message(name)?, &inner, out);
            }
            // Arguments of calls as numbers: their meaning is in other fields.
            (Type::Uint64, true) => return Ok(()),
            (kind, _) => bail!("{kind:?} is not foreseen"),
        };
        let mut comment = comments.get(&field.number()).cloned().unwrap_or_default();
        if optional {
            comment = format!("{comment} -1 when there is none.")
                .trim()
                .to_owned();
        }
        writeln!(
            out,
            "DetailField {{ path: {path:?}, kind: Type::{kind}, values: &[{values}], comment: {comment:?}, \
             read: |detail| match detail {{ Detail::{} (found) => {}.map_or(Value::Absent, |found| {value}), \
             _ => Value::Absent }} }},",
            scope.variant, scope.read
        )?;
        Ok(())
    }

    /// The names of an enumeration's values: as a Rust array by number, and for comparison.
    fn names(&self, name: &str) -> anyhow::Result<(String, String)> {
        let found = self
            .enums
            .get(name)
            .with_context(|| format!("there is no enumeration {name}"))?;
        let prefix = format!("{}_", screaming_case(name));
        let mut names = Vec::new();
        for (number, value) in found.value.iter().enumerate() {
            if usize::try_from(value.number()).ok() != Some(number) {
                bail!("the values of {name} are not counted up from 0");
            }
            let short = value.name().strip_prefix(&prefix).unwrap_or(value.name());
            names.push(match short {
                "UNSPECIFIED" => String::new(),
                short => short.to_ascii_lowercase().replace('_', "-"),
            });
        }
        let quoted: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
        Ok((format!("[{}]", quoted.join(", ")), quoted.join(", ")))
    }
}

/// The comments of a message's fields, by field number.
fn comments(file: &FileDescriptorProto, message: usize) -> HashMap<i32, String> {
    // Paths in descriptors: 4 is FileDescriptorProto.message_type, 2 DescriptorProto.field.
    let locations = file.source_code_info.iter().flat_map(|info| &info.location);
    locations
        .filter_map(|location| match location.path.as_slice() {
            &[4, found, 2, field] if usize::try_from(found).ok() == Some(message) => {
                let number = file.message_type[message]
                    .field
                    .get(usize::try_from(field).ok()?)?
                    .number();
                let comment = location.leading_comments();
                let words: Vec<&str> = comment.split_whitespace().collect();
                Some((number, words.join(" ")))
            }
            _ => None,
        })
        .collect()
}

fn base_name(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

fn camel_case(name: &str) -> String {
    name.split('_')
        .map(|word| {
            let (first, rest) = word.split_at(1);
            first.to_ascii_uppercase() + rest
        })
        .collect()
}

fn screaming_case(name: &str) -> String {
    let mut out = String::new();
    for (index, letter) in name.chars().enumerate() {
        if letter.is_ascii_uppercase() && index > 0 {
            out.push('_');
        }
        out.push(letter.to_ascii_uppercase());
    }
    out
}
