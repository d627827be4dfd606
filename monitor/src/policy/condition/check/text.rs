//! What can be asked of strings and of the sizes of things.

use std::sync::Arc;

use aho_corasick::AhoCorasick;
use cel::common::ast::{CallExpr, IdedExpr};
use memchr::memmem::Finder;

use super::{Checker, Kind, Node, Text, Words};
use crate::{
    container::model::Labels,
    policy::condition::{
        fields::meant,
        functions::{Domains, Expressions, Networks, Paths},
        literals::Literals,
        node::Number,
        schema,
    },
    process::execution::base_name,
};

/// What can be asked of a string.
const METHODS: [&str; 9] = [
    "startsWith",
    "endsWith",
    "contains",
    "matches",
    "matchesPath",
    "withinDomain",
    "inNetwork",
    "baseName",
    "size",
];

impl Checker<'_> {
    pub(super) fn size(&mut self, operand: &IdedExpr) -> Option<Node> {
        let number: Number = match self.check(operand)?.kind {
            Kind::Text(text) => Box::new(move |scope| length(text(scope).chars().count())),
            Kind::Texts(list) => Box::new(move |scope| length(list(scope).count())),
            Kind::Labels(map) => Box::new(move |scope| length(map(scope).map_or(0, Labels::len))),
            Kind::Ancestors => Box::new(|scope| length(scope.view.event.ancestors.len())),
            Kind::ConstText(text) => {
                return Some(Kind::ConstInt(length(text.chars().count())).into());
            }
            other => return self.wrong(operand, format!("{} has no size", other.name())),
        };
        Some(Kind::Int(number).into())
    }

    pub(super) fn method(
        &mut self,
        expression: &IdedExpr,
        target: &IdedExpr,
        call: &CallExpr,
    ) -> Option<Node> {
        let name = call.func_name.as_str();
        if !METHODS.contains(&name) {
            return self.wrong(
                expression,
                format!(
                    "there is no function `{name}`{}",
                    meant(function_like(name))
                ),
            );
        }
        if name == "size" {
            return self.size(target);
        }
        let receiver = self.check(target)?;
        let variable = receiver.field.map(|field| field.name);
        let text = match receiver.kind {
            Kind::Text(text) => text,
            other => {
                let message = format!(
                    "`{name}` is asked of a field that is a string, and this is {}",
                    other.name()
                );
                return self.wrong(target, message);
            }
        };
        match (name, call.args.as_slice()) {
            ("baseName", []) => {
                let base: Text = Box::new(move |scope| base_name(text(scope)));
                Some(Kind::Text(base).into())
            }
            ("baseName", _) => self.wrong(expression, "`baseName` takes nothing"),
            (_, [argument]) => {
                let field = variable.as_deref();
                let (kind, literals) = self.text_method(expression, name, field, text, argument)?;
                Some(Node {
                    literals: self.literals(field, literals),
                    ..kind.into()
                })
            }
            _ => self.wrong(expression, format!("`{name}` takes one argument")),
        }
    }

    fn text_method(
        &mut self,
        expression: &IdedExpr,
        name: &str,
        field: Option<&str>,
        text: Text,
        argument: &IdedExpr,
    ) -> Option<(Kind, Option<Literals>)> {
        let given = match self.check(argument)?.kind {
            Kind::ConstText(text) => Arc::new(Words::new(vec![text])),
            Kind::ConstTexts(words) => words,
            // One field in another.
            Kind::Text(other) if matches!(name, "startsWith" | "endsWith" | "contains") => {
                let compare: fn(&str, &str) -> bool = match name {
                    "startsWith" => |text, part| text.starts_with(part),
                    "endsWith" => |text, part| text.ends_with(part),
                    _ => |text, part| text.contains(part),
                };
                let asked = Kind::asked(move |scope| compare(text(scope), other(scope)));
                return Some((asked, None));
            }
            other => {
                let message = format!(
                    "`{name}` takes a string, or a list of them, that is written out; this is {}",
                    other.name()
                );
                self.wrong(argument, message);
                return None;
            }
        };
        let mut literals = None;
        let prepared: Result<Kind, String> = match name {
            "startsWith" => {
                literals = Literals::new(given.iter());
                Ok(Kind::asked(move |scope| {
                    let text = text(scope);
                    given.iter().any(|part| text.starts_with(part))
                }))
            }
            "endsWith" => {
                literals = Literals::new(given.iter());
                Ok(Kind::asked(move |scope| {
                    let text = text(scope);
                    given.iter().any(|part| text.ends_with(part))
                }))
            }
            "contains" => {
                literals = Literals::new(given.iter());
                contains(text, &given)
            }
            "matches" => Expressions::new(given.iter()).map(|expressions| {
                literals = expressions.literals();
                Kind::asked(move |scope| expressions.match_one(text(scope)))
            }),
            "matchesPath" => Paths::new(given.iter())
                .map(|paths| Kind::asked(move |scope| paths.matches(text(scope)))),
            "withinDomain" => Domains::new(given.iter())
                .map(|domains| Kind::asked(move |scope| domains.contains(text(scope)))),
            // Several rules ask for this one.
            "inNetwork" if field == Some("connection.remote.address") => {
                Networks::new(given.iter()).map(|networks| {
                    Kind::asked(move |scope| {
                        let address = scope.view.remote_address();
                        address.is_some_and(|address| networks.contain(address))
                    })
                })
            }
            "inNetwork" => Networks::new(given.iter()).map(|networks| {
                Kind::asked(move |scope| {
                    let address = text(scope).parse();
                    address.is_ok_and(|address| networks.contain(address))
                })
            }),
            _ => {
                self.wrong(expression, format!("`{name}` takes no argument"));
                return None;
            }
        };
        match prepared {
            Ok(kind) => Some((kind, literals)),
            Err(message) => {
                self.wrong(argument, message);
                None
            }
        }
    }
}

/// One part is found faster by itself, and fastest if it is one byte.
fn contains(text: Text, given: &Words) -> Result<Kind, String> {
    let parts: Vec<&str> = given.iter().collect();
    if let [part] = parts[..] {
        if let [byte] = *part.as_bytes() {
            return Ok(Kind::asked(move |scope| {
                memchr::memchr(byte, text(scope).as_bytes()).is_some()
            }));
        }
        let part = Finder::new(part).into_owned();
        return Ok(Kind::asked(move |scope| {
            part.find(text(scope).as_bytes()).is_some()
        }));
    }
    let parts = AhoCorasick::new(parts).map_err(|error| error.to_string())?;
    Ok(Kind::asked(move |scope| parts.is_match(text(scope))))
}

fn length(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A function that is like a wrong one.
pub(super) fn function_like(name: &str) -> Option<String> {
    schema::nearest(
        name,
        METHODS
            .iter()
            .map(|&name| name.to_owned())
            .chain(["has", "exists", "all"].map(str::to_owned)),
    )
}
