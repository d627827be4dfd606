//! Calls: operators of what is true or false here, those that compare and functions elsewhere.

use std::collections::BTreeSet;

use cel::common::ast::{CallExpr, IdedExpr, operators};

use super::{Checker, Kind, Node, text::function_like};
use crate::policy::condition::fields::meant;

impl Checker<'_> {
    pub(super) fn call(&mut self, expression: &IdedExpr, call: &CallExpr) -> Option<Node> {
        if let Some(target) = &call.target {
            return self.method(expression, target, call);
        }
        match (call.func_name.as_str(), call.args.as_slice()) {
            (operators::LOGICAL_AND, [left, right]) => self.and(left, right),
            (operators::LOGICAL_OR, [left, right]) => self.or(left, right),
            (operators::LOGICAL_NOT, [operand]) => {
                let node = match self.truth(operand)? {
                    Kind::ConstBool(value) => Kind::ConstBool(!value),
                    Kind::Bool(test) => Kind::Bool(!test),
                    other => other,
                };
                Some(node.into())
            }
            (operators::CONDITIONAL, [test, yes, no]) => {
                self.conditional(expression, test, yes, no)
            }
            (operators::EQUALS, [left, right]) => self.equal(expression, left, right, true),
            (operators::NOT_EQUALS, [left, right]) => self.equal(expression, left, right, false),
            (
                operator @ (operators::LESS
                | operators::LESS_EQUALS
                | operators::GREATER
                | operators::GREATER_EQUALS),
                [left, right],
            ) => self.compare(expression, operator, left, right),
            (operators::IN, [element, list]) => self.is_in(expression, element, list),
            (operators::INDEX, [list, index]) => self.index(expression, list, index),
            (
                operator @ (operators::ADD | operators::SUBSTRACT | operators::MULTIPLY),
                [left, right],
            ) => self.arithmetic(expression, operator, left, right),
            (operators::NEGATE, [operand]) => match self.check(operand)?.kind {
                Kind::ConstInt(value) => Some(Kind::ConstInt(value.saturating_neg()).into()),
                Kind::ConstDouble(value) => Some(Kind::ConstDouble(-value).into()),
                Kind::Int(number) => {
                    Some(Kind::Int(Box::new(move |scope| number(scope).saturating_neg())).into())
                }
                other => self.wrong(operand, format!("{} has no sign", other.name())),
            },
            ("size", [operand]) => self.size(operand),
            (name, _) => self.wrong(
                expression,
                format!(
                    "there is no function `{}`{}",
                    shown_operator(name),
                    meant(function_like(name))
                ),
            ),
        }
    }

    /// Something that is true or false.
    pub(super) fn truth(&mut self, expression: &IdedExpr) -> Option<Kind> {
        self.truth_node(expression).map(|node| node.kind)
    }

    pub(super) fn truth_node(&mut self, expression: &IdedExpr) -> Option<Node> {
        let node = self.check(expression)?;
        match node.kind {
            Kind::ConstBool(_) | Kind::Bool(_) => Some(node),
            other => self.wrong(
                expression,
                format!(
                    "this is {}, and something true or false is wanted",
                    other.name()
                ),
            ),
        }
    }

    fn and(&mut self, left: &IdedExpr, right: &IdedExpr) -> Option<Node> {
        let (first, second) = (self.truth_node(left), self.truth_node(right));
        let (first, second) = (first?, second?);
        let mut demands = first.demands;
        for (name, wanted) in second.demands {
            let before = demands.get(&name).cloned();
            let both: BTreeSet<String> = match &before {
                Some(before) => before.intersection(&wanted).cloned().collect(),
                None => wanted.clone(),
            };
            if both.is_empty() {
                let all = |texts: &BTreeSet<String>| {
                    texts
                        .iter()
                        .map(|text| format!("{text:?}"))
                        .collect::<Vec<_>>()
                        .join(" or ")
                };
                let message = format!(
                    "it can never hold: `{name}` would have to be {} and {} at once",
                    before.as_ref().map(all).unwrap_or_default(),
                    all(&wanted)
                );
                return self.wrong(right, message);
            }
            demands.insert(name, both);
        }
        // A file can be watched for several reasons: what both take need not be the same one.
        let reasons = match (first.reasons, second.reasons) {
            (Some(one), Some(other)) if other.len() < one.len() => Some(other),
            (one, other) => one.or(other),
        };
        let kind = match (first.kind, second.kind) {
            (Kind::ConstBool(false), _) | (_, Kind::ConstBool(false)) => Kind::ConstBool(false),
            (Kind::ConstBool(true), other) | (other, Kind::ConstBool(true)) => other,
            (Kind::Bool(first), Kind::Bool(second)) => Kind::Bool(first.and(second)),
            (other, _) => other,
        };
        Some(Node {
            demands,
            reasons,
            literals: first.literals.or(second.literals),
            ..kind.into()
        })
    }

    fn or(&mut self, left: &IdedExpr, right: &IdedExpr) -> Option<Node> {
        let (first, second) = (self.truth_node(left), self.truth_node(right));
        let (first, second) = (first?, second?);
        match (&first.kind, &second.kind) {
            (Kind::ConstBool(false), _) => return Some(second),
            (_, Kind::ConstBool(false)) => return Some(first),
            _ => {}
        }
        // What both demand of the same field, either of them may have.
        let demands = first
            .demands
            .iter()
            .filter_map(|(name, wanted)| {
                let other = second.demands.get(name)?;
                Some((name.clone(), wanted.union(other).cloned().collect()))
            })
            .collect();
        let reasons = match (first.reasons, second.reasons) {
            (Some(one), Some(other)) => Some(&one | &other),
            _ => None,
        };
        let literals = match (first.literals, second.literals) {
            (Some((variable, one)), Some((other_variable, other)))
                if variable == other_variable =>
            {
                one.or(other).map(|either| (variable, either))
            }
            _ => None,
        };
        let kind = match (first.kind, second.kind) {
            (Kind::ConstBool(true), _) | (_, Kind::ConstBool(true)) => Kind::ConstBool(true),
            (Kind::Bool(first), Kind::Bool(second)) => Kind::Bool(first.or(second)),
            (other, _) => other,
        };
        Some(Node {
            demands,
            reasons,
            literals,
            ..kind.into()
        })
    }

    fn conditional(
        &mut self,
        expression: &IdedExpr,
        test: &IdedExpr,
        yes: &IdedExpr,
        no: &IdedExpr,
    ) -> Option<Node> {
        let (test, yes, no) = (self.truth(test), self.check(yes), self.check(no));
        let (test, yes, no) = (test?, yes?.kind, no?.kind);
        let test = match test {
            Kind::ConstBool(true) => return Some(yes.into()),
            Kind::ConstBool(false) => return Some(no.into()),
            Kind::Bool(test) => test,
            _ => return None,
        };
        let names = (yes.name(), no.name());
        if let (Some(yes), Some(no)) = (yes.into_test(), no.into_test()) {
            return Some(Kind::Bool(test.choose(yes, no)).into());
        }
        self.wrong(
            expression,
            format!(
                "both sides of `? :` have to be true or false here, and these are {} and {}",
                names.0, names.1
            ),
        )
    }
}

/// Operators have names of the form `_+_` in the parsed form.
fn shown_operator(name: &str) -> String {
    name.trim_matches('_').to_owned()
}
