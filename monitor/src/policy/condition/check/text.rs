//! What can be asked of strings and of the sizes of things.

use std::sync::Arc;

use aho_corasick::AhoCorasick;
use cel::common::ast::{CallExpr, IdedExpr};
use memchr::memmem::Finder;

use super::{Checker, Kind, Node, Scope, Test, Text, Words};
use crate::{
    container::model::Labels,
    policy::condition::{
        ends::Ends,
        fields::meant,
        functions::{Domains, Expressions, Networks, Paths},
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
                let (kind, ends) = self.text_method(expression, name, field, text, argument)?;
                Some(Node {
                    ends: self.ends(variable, ends),
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
    ) -> Option<(Kind, Option<Ends>)> {
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
                let test: Test = Box::new(move |scope| compare(text(scope), other(scope)));
                return Some((Kind::Bool(test), None));
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
        let mut ends = None;
        let prepared: Result<Test, String> = match name {
            "startsWith" => {
                ends = Ends::beginning(given.iter().map(str::as_bytes));
                Ok(Box::new(move |scope| {
                    let text = text(scope);
                    may_be(text, ends.as_ref()) && given.iter().any(|part| text.starts_with(part))
                }))
            }
            "endsWith" => {
                ends = Ends::ending(given.iter());
                Ok(Box::new(move |scope| {
                    let text = text(scope);
                    may_be(text, ends.as_ref()) && given.iter().any(|part| text.ends_with(part))
                }))
            }
            "contains" => contains(text, &given),
            "matches" => Expressions::new(given.iter()).map(|expressions| {
                ends = expressions.ends();
                Box::new(move |scope: &Scope<'_>| expressions.match_one(text(scope))) as Test
            }),
            "matchesPath" => Paths::new(given.iter())
                .map(|paths| Box::new(move |scope: &Scope<'_>| paths.matches(text(scope))) as Test),
            "withinDomain" => Domains::new(given.iter()).map(|domains| {
                Box::new(move |scope: &Scope<'_>| domains.contains(text(scope))) as Test
            }),
            // Several rules ask for this one.
            "inNetwork" if field == Some("connection.remote.address") => {
                Networks::new(given.iter()).map(|networks| {
                    Box::new(move |scope: &Scope<'_>| {
                        let address = scope.view.remote_address();
                        address.is_some_and(|address| networks.contain(address))
                    }) as Test
                })
            }
            "inNetwork" => Networks::new(given.iter()).map(|networks| {
                Box::new(move |scope: &Scope<'_>| {
                    let address = text(scope).parse();
                    address.is_ok_and(|address| networks.contain(address))
                }) as Test
            }),
            _ => {
                self.wrong(expression, format!("`{name}` takes no argument"));
                return None;
            }
        };
        match prepared {
            Ok(test) => Some((Kind::Bool(test), ends)),
            Err(message) => {
                self.wrong(argument, message);
                None
            }
        }
    }
}

/// Whether a text has to be looked at further, by how it begins and ends.
fn may_be(text: &str, wanted: Option<&Ends>) -> bool {
    wanted.is_none_or(|wanted| wanted.are_of(text))
}

/// One part is found faster by itself, and fastest if it is one byte.
fn contains(text: Text, given: &Words) -> Result<Test, String> {
    let parts: Vec<&str> = given.iter().collect();
    if let [part] = parts[..] {
        if let [byte] = *part.as_bytes() {
            return Ok(Box::new(move |scope| {
                memchr::memchr(byte, text(scope).as_bytes()).is_some()
            }));
        }
        let part = Finder::new(part).into_owned();
        return Ok(Box::new(move |scope| {
            part.find(text(scope).as_bytes()).is_some()
        }));
    }
    let parts = AhoCorasick::new(parts).map_err(|error| error.to_string())?;
    Ok(Box::new(move |scope| parts.is_match(text(scope))))
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
