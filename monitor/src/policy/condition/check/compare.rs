//! Comparisons, sums, and what is in a list or a map.

use std::{cmp::Ordering, collections::BTreeSet};

use cel::common::ast::{IdedExpr, operators};

use super::{Checker, Demands, Field, Kind, Node, Text};
use crate::policy::condition::{fields::meant, literals::Literals, schema, truth::Questions};

impl Checker<'_> {
    pub(super) fn equal(
        &mut self,
        expression: &IdedExpr,
        left: &IdedExpr,
        right: &IdedExpr,
        wanted: bool,
    ) -> Option<Node> {
        let (first, second) = (self.check(left), self.check(right));
        let (first, second) = (first?, second?);
        let mut demands = Demands::new();
        let mut literals = None;
        for (one, other, place) in [(&first, &second, right), (&second, &first, left)] {
            if let (Some(field), Kind::ConstText(text)) = (&one.field, &other.kind) {
                self.possible(place, field, text)?;
                if wanted {
                    demands.insert(field.name.clone(), BTreeSet::from([text.clone()]));
                    literals = self.literals(Some(&field.name), Literals::new([text.as_str()]));
                }
            }
        }
        let names = (first.kind.name(), second.kind.name());
        let kind = match (first.kind, second.kind) {
            (Kind::ConstBool(one), Kind::ConstBool(other)) => {
                Kind::ConstBool((one == other) == wanted)
            }
            (Kind::ConstInt(one), Kind::ConstInt(other)) => {
                Kind::ConstBool((one == other) == wanted)
            }
            (Kind::ConstText(one), Kind::ConstText(other)) => {
                Kind::ConstBool((one == other) == wanted)
            }
            (Kind::Bool(test), Kind::ConstBool(value))
            | (Kind::ConstBool(value), Kind::Bool(test)) => {
                Kind::Bool(if value == wanted { test } else { !test })
            }
            (Kind::Bool(one), Kind::Bool(other)) => {
                let (one, other) = (Questions::from(one), Questions::from(other));
                Kind::asked(move |scope| (one.hold(scope) == other.hold(scope)) == wanted)
            }
            (Kind::Int(number), Kind::ConstInt(value))
            | (Kind::ConstInt(value), Kind::Int(number)) => {
                Kind::asked(move |scope| (number(scope) == value) == wanted)
            }
            (Kind::Int(one), Kind::Int(other)) => {
                Kind::asked(move |scope| (one(scope) == other(scope)) == wanted)
            }
            // Comparing memory that is empty costs much where the processor has to look at an address that is none.
            (Kind::Text(text), Kind::ConstText(value))
            | (Kind::ConstText(value), Kind::Text(text))
                if value.is_empty() =>
            {
                Kind::asked(move |scope| text(scope).is_empty() == wanted)
            }
            (Kind::Text(text), Kind::ConstText(value))
            | (Kind::ConstText(value), Kind::Text(text)) => {
                Kind::asked(move |scope| (text(scope) == value) == wanted)
            }
            (Kind::Text(one), Kind::Text(other)) => {
                Kind::asked(move |scope| (one(scope) == other(scope)) == wanted)
            }
            (one, other) => {
                if let (Some(one), Some(other)) = (one.into_real(), other.into_real()) {
                    Kind::asked(move |scope| (one(scope) == other(scope)) == wanted)
                } else {
                    return self.wrong(
                        expression,
                        format!(
                            "{} can't be compared with {}{}",
                            names.0,
                            names.1,
                            advice(names)
                        ),
                    );
                }
            }
        };
        Some(Node {
            demands,
            literals,
            ..kind.into()
        })
    }

    /// Whether a field can be this text at all.
    fn possible(&mut self, place: &IdedExpr, field: &Field, text: &str) -> Option<()> {
        if field.values.is_empty() || field.values.contains(&text) {
            return Some(());
        }
        let known = field.values.iter().map(|&value| value.to_owned());
        let all: Vec<String> = field
            .values
            .iter()
            .map(|value| format!("{value:?}"))
            .collect();
        self.wrong(
            place,
            format!(
                "`{}` can never be {text:?}{}; it is one of {}",
                field.name,
                meant(schema::nearest(text, known)),
                all.join(", ")
            ),
        );
        None
    }

    /// Two parts; what is wrong with the second is named even where the first is wrong.
    fn both(&mut self, left: &IdedExpr, right: &IdedExpr) -> Option<(Kind, Kind)> {
        let (first, second) = (self.check(left), self.check(right));
        Some((first?.kind, second?.kind))
    }

    pub(super) fn compare(
        &mut self,
        expression: &IdedExpr,
        operator: &str,
        left: &IdedExpr,
        right: &IdedExpr,
    ) -> Option<Node> {
        let (first, second) = self.both(left, right)?;
        let names = (first.name(), second.name());
        if let (Kind::ConstInt(one), Kind::ConstInt(other)) = (&first, &second) {
            return Some(Kind::ConstBool(ordered(operator, one.cmp(other))).into());
        }
        let accepted = accepted(operator);
        let kind = match (first, second) {
            (Kind::Int(number), Kind::ConstInt(value)) => {
                Kind::asked(move |scope| accepted(number(scope).cmp(&value)))
            }
            (Kind::ConstInt(value), Kind::Int(number)) => {
                Kind::asked(move |scope| accepted(value.cmp(&number(scope))))
            }
            (Kind::Int(one), Kind::Int(other)) => {
                Kind::asked(move |scope| accepted(one(scope).cmp(&other(scope))))
            }
            (one, other) => match (one.into_real(), other.into_real()) {
                (Some(one), Some(other)) => Kind::asked(move |scope| {
                    one(scope).partial_cmp(&other(scope)).is_some_and(accepted)
                }),
                _ => {
                    return self.wrong(
                        expression,
                        format!("{} and {} have no order", names.0, names.1),
                    );
                }
            },
        };
        Some(kind.into())
    }

    pub(super) fn arithmetic(
        &mut self,
        expression: &IdedExpr,
        operator: &str,
        left: &IdedExpr,
        right: &IdedExpr,
    ) -> Option<Node> {
        let (first, second) = self.both(left, right)?;
        let names = (first.name(), second.name());
        let apply: fn(i64, i64) -> i64 = match operator {
            operators::ADD => i64::saturating_add,
            operators::SUBSTRACT => i64::saturating_sub,
            _ => i64::saturating_mul,
        };
        let constant = match (&first, &second) {
            (Kind::ConstInt(one), Kind::ConstInt(other)) => Some(apply(*one, *other)),
            _ => None,
        };
        if let Some(value) = constant {
            return Some(Kind::ConstInt(value).into());
        }
        match (first.into_number(), second.into_number()) {
            (Some(one), Some(other)) => {
                Some(Kind::Int(Box::new(move |scope| apply(one(scope), other(scope)))).into())
            }
            _ => self.wrong(
                expression,
                format!(
                    "only ints can be reckoned with, not {} and {}",
                    names.0, names.1
                ),
            ),
        }
    }

    pub(super) fn is_in(
        &mut self,
        expression: &IdedExpr,
        element: &IdedExpr,
        list: &IdedExpr,
    ) -> Option<Node> {
        let (first, second) = (self.check(element), self.check(list));
        let (first, second) = (first?, second?);
        let mut demands = Demands::new();
        let mut literals = None;
        if let (Some(field), Kind::ConstTexts(words)) = (&first.field, &second.kind) {
            literals = self.literals(Some(&field.name), Literals::new(words.iter()));
            for word in words.iter() {
                self.possible(list, field, word)?;
            }
            demands.insert(
                field.name.clone(),
                words.iter().map(str::to_owned).collect(),
            );
        }
        let reasons = match (&first.kind, &second.field) {
            (Kind::ConstText(text), Some(field)) if field.is_reasons() => {
                Some(BTreeSet::from([text.clone()]))
            }
            _ => None,
        };
        let names = (first.kind.name(), second.kind.name());
        let kind = match (first.kind, second.kind) {
            (Kind::ConstText(text), Kind::ConstTexts(words)) => {
                Kind::ConstBool(words.contains(&text))
            }
            (Kind::Text(text), Kind::ConstTexts(words)) => {
                Kind::asked(move |scope| words.contains(text(scope)))
            }
            (Kind::ConstText(text), Kind::Texts(list)) => {
                Kind::asked(move |scope| list(scope).contains(&text))
            }
            (Kind::Text(text), Kind::Texts(list)) => {
                Kind::asked(move |scope| list(scope).contains(text(scope)))
            }
            (Kind::ConstText(text), Kind::Labels(map)) => Kind::asked(move |scope| {
                map(scope).is_some_and(|labels| labels.contains_key(text.as_str()))
            }),
            (Kind::Int(number), Kind::ConstInts(numbers)) => {
                Kind::asked(move |scope| numbers.contains(&number(scope)))
            }
            (Kind::ConstInt(number), Kind::ConstInts(numbers)) => {
                Kind::ConstBool(numbers.contains(&number))
            }
            _ => {
                return self.wrong(expression, format!("{} can't be in {}", names.0, names.1));
            }
        };
        Some(Node {
            demands,
            reasons,
            literals,
            ..kind.into()
        })
    }

    pub(super) fn index(
        &mut self,
        expression: &IdedExpr,
        list: &IdedExpr,
        index: &IdedExpr,
    ) -> Option<Node> {
        let (list, index) = self.both(list, index)?;
        let names = (list.name(), index.name());
        let text: Text = match (list, index) {
            (Kind::Labels(map), Kind::ConstText(key)) => Box::new(move |scope| {
                map(scope)
                    .and_then(|labels| labels.get(key.as_str()))
                    .map_or("", String::as_str)
            }),
            (Kind::Texts(list), Kind::ConstInt(index)) => {
                let index = usize::try_from(index).unwrap_or(usize::MAX);
                Box::new(move |scope| list(scope).get(index).unwrap_or_default())
            }
            _ => {
                return self.wrong(
                    expression,
                    format!("{} can't be looked up in {}", names.1, names.0),
                );
            }
        };
        Some(Kind::Text(text).into())
    }
}

fn advice(names: (&str, &str)) -> &'static str {
    if names.0.starts_with("a list") || names.1.starts_with("a list") {
        "; ask with `in` or `exists`"
    } else {
        ""
    }
}

fn ordered(operator: &str, ordering: Ordering) -> bool {
    accepted(operator)(ordering)
}

fn accepted(operator: &str) -> fn(Ordering) -> bool {
    match operator {
        operators::LESS => Ordering::is_lt,
        operators::LESS_EQUALS => Ordering::is_le,
        operators::GREATER => Ordering::is_gt,
        _ => Ordering::is_ge,
    }
}
