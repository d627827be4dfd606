//! From the text of a condition to a function: names and types are checked, constants are worked out, and what can never hold is
//! a mistake.

mod absent;
mod compare;
mod logic;
mod text;

use std::{sync::Arc, thread};

use cel::common::ast::{
    ComprehensionExpr, Expr, IdedExpr, ListExpr, LiteralValue, SelectExpr, operators,
};

use super::{
    Form, Mistake,
    environment::{Definition, Environment, Words},
    fields::{field, meant, unknown},
    literals::Literals,
    node::{Demands, Field, Kind, Node, ProcessPath, Scope, Text, of_field, of_process, values},
    parse::{Positions, parse},
    schema,
    subject::{PROCESS_FIELDS, Subject},
    truth::{Questions, Test},
    value::{Local, Texts, Type},
};
use crate::proto::v1::EventKind;

/// How deep definitions may use others, and macros may lie within each other.
const MAX_DEPTH: usize = 16;
/// Bytes of stack for checking one; they are only taken as far as they are used.
const STACK: usize = 256 << 20;

/// Checks a condition, on a thread with room for what nested parts take. Where it is only asked of events of a `kind`, parts that
/// read nothing such an event can have are worked out now.
pub(super) fn compile(
    source: &str,
    environment: &Environment,
    kind: Option<EventKind>,
) -> Result<Form, Vec<Mistake>> {
    let failed = |why: &str| vec![Mistake::new(0, format!("it can't be checked: {why}"))];
    thread::scope(|scope| {
        thread::Builder::new()
            .name("policy".to_owned())
            .stack_size(STACK)
            .spawn_scoped(scope, || {
                Form::of(compile_here(source, environment, kind)?, kind)
            })
            .map_err(|error| failed(&error.to_string()))?
            .join()
            .unwrap_or_else(|_| Err(failed("the parser failed on it")))
    })
}

fn compile_here(
    source: &str,
    environment: &Environment,
    kind: Option<EventKind>,
) -> Result<Node, Vec<Mistake>> {
    let mut checker = Checker {
        environment,
        kind,
        reads: 0,
        positions: Positions::new(),
        mistakes: Vec::new(),
        variables: Vec::new(),
        depth: 0,
    };
    let (expression, positions) = parse(source)?;
    checker.positions = positions;
    match checker.check(&expression) {
        Some(node) if checker.mistakes.is_empty() => Ok(node),
        _ => Err(checker.mistakes),
    }
}

pub(super) struct Checker<'a> {
    environment: &'a Environment,
    /// The kind of the events that it is asked of, where that is one.
    kind: Option<EventKind>,
    /// How many fields and variables were met that are not known before an event is.
    reads: usize,
    /// Where parts begin, by their ids.
    positions: Positions,
    mistakes: Vec<Mistake>,
    /// Variables of the macros around, the outermost first.
    variables: Vec<(String, Type)>,
    depth: usize,
}

impl Checker<'_> {
    /// Notes a mistake.
    fn wrong(&mut self, expression: &IdedExpr, message: impl Into<String>) -> Option<Node> {
        // A selection begins where what it selects from does.
        let mut first = expression;
        while let Expr::Select(SelectExpr { operand, .. }) = &first.expr {
            first = operand;
        }
        let at = self.positions.get(&first.id).copied().unwrap_or(0);
        self.mistakes.push(Mistake::new(at, message.into()));
        None
    }

    fn check(&mut self, expression: &IdedExpr) -> Option<Node> {
        let before = self.reads;
        let node = self.part(expression)?;
        Some(self.worked_out(node, before))
    }

    fn part(&mut self, expression: &IdedExpr) -> Option<Node> {
        match &expression.expr {
            Expr::Literal(literal) => self.literal(expression, literal),
            Expr::Ident(_) | Expr::Select(_) => self.name(expression),
            Expr::Call(call) => self.call(expression, call),
            Expr::List(list) => self.list(expression, list),
            Expr::Comprehension(macro_) => self.comprehension(expression, macro_),
            Expr::Map(_) => self.wrong(expression, "maps are not understood in conditions"),
            Expr::Struct(_) => self.wrong(expression, "messages are not understood in conditions"),
            Expr::Unspecified => self.wrong(expression, "there is nothing here"),
        }
    }

    fn literal(&mut self, expression: &IdedExpr, literal: &LiteralValue) -> Option<Node> {
        let kind = match literal {
            LiteralValue::Boolean(value) => Kind::ConstBool(*value.inner()),
            LiteralValue::Int(value) => Kind::ConstInt(*value.inner()),
            LiteralValue::UInt(value) => {
                Kind::ConstInt(i64::try_from(*value.inner()).unwrap_or(i64::MAX))
            }
            LiteralValue::Double(value) => Kind::ConstDouble(*value.inner()),
            LiteralValue::String(value) => Kind::ConstText(value.inner().to_owned()),
            LiteralValue::Bytes(_) => return self.wrong(expression, "bytes are not understood"),
            LiteralValue::Null => {
                return self.wrong(
                    expression,
                    "there is no null: a field that is not set is empty or 0",
                );
            }
        };
        Some(kind.into())
    }

    /// A field, a variable, a list or a definition.
    fn name(&mut self, expression: &IdedExpr) -> Option<Node> {
        let Some((path, is_test)) = dotted(expression) else {
            return self.wrong(expression, "a field can only be selected from a name");
        };
        let (first, rest) = match path.split_once('.') {
            Some((first, rest)) => (first, Some(rest)),
            None => (path.as_str(), None),
        };
        if let Some(position) = self.variables.iter().rposition(|(name, _)| name == first) {
            return self.variable(expression, position, rest);
        }
        if rest.is_none() && !is_test {
            if let Some(words) = self.environment.lists.get(first) {
                return Some(Kind::ConstTexts(Arc::clone(words)).into());
            }
            if let Some(numbers) = self.environment.numbers.get(first) {
                return Some(Kind::ConstInts(Arc::clone(numbers)).into());
            }
            if let Some(definition) = self.environment.definitions.get(first) {
                return self.definition(expression, first, definition);
            }
        }
        let named = match schema::find(&path) {
            Some(_) => match field(&path, &self.environment.events) {
                Ok(named) => named,
                Err(message) => return self.wrong(expression, message),
            },
            None => {
                let known: Vec<String> = self
                    .environment
                    .lists
                    .keys()
                    .chain(self.environment.numbers.keys())
                    .chain(self.environment.definitions.keys())
                    .cloned()
                    .collect();
                let message = unknown(&path, &known);
                return self.wrong(expression, message);
            }
        };
        if !self.is_known(&named) {
            self.reads += 1;
        }
        let node = of_field(named);
        if is_test {
            return self.is_set(expression, node);
        }
        Some(Node {
            field: Some(Field {
                values: values(&named),
                name: path,
            }),
            ..node
        })
    }

    /// `has(field)`: it is something else than what it is when it is not set.
    fn is_set(&mut self, expression: &IdedExpr, node: Node) -> Option<Node> {
        let kind = match node.kind {
            Kind::Bool(test) => Kind::Bool(test),
            Kind::Int(number) => Kind::asked(move |scope| number(scope) != 0),
            Kind::Double(real) => Kind::asked(move |scope| real(scope) != 0.0),
            Kind::Text(text) => Kind::asked(move |scope| !text(scope).is_empty()),
            Kind::Texts(list) => Kind::asked(move |scope| list(scope).any(|_| true)),
            Kind::Labels(map) => {
                Kind::asked(move |scope| map(scope).is_some_and(|labels| !labels.is_empty()))
            }
            Kind::Process(path) => Kind::asked(move |scope| path.find(scope).is_some()),
            Kind::Ancestors => Kind::asked(|scope| !scope.view.event.ancestors.is_empty()),
            _ => return self.wrong(expression, "has() takes a field"),
        };
        Some(kind.into())
    }

    fn variable(
        &mut self,
        expression: &IdedExpr,
        position: usize,
        rest: Option<&str>,
    ) -> Option<Node> {
        self.reads += 1;
        let outward = self.variables.len() - 1 - position;
        let (name, kind) = self.variables[position].clone();
        match (kind, rest) {
            (Type::Text, None) => {
                let text: Text = Box::new(move |scope| match scope.local(outward) {
                    Some(Local::Text(text)) => text,
                    _ => "",
                });
                Some(Node {
                    field: Some(Field { name, values: &[] }),
                    ..Kind::Text(text).into()
                })
            }
            (Type::Process, None) => Some(Kind::Process(ProcessPath::Local(outward)).into()),
            (Type::Process, Some(rest)) => match schema::of_process(rest) {
                Some(field) => {
                    let node = of_process(ProcessPath::Local(outward), field);
                    Some(Node {
                        field: Some(Field {
                            name: format!("{name}.{rest}"),
                            values: field.values,
                        }),
                        ..node
                    })
                }
                None => {
                    let known = PROCESS_FIELDS.iter().map(|field| field.path.to_owned());
                    let message = format!(
                        "processes have no field `{rest}`{}",
                        meant(schema::nearest(rest, known))
                    );
                    self.wrong(expression, message)
                }
            },
            (_, Some(rest)) => self.wrong(
                expression,
                format!("`{name}` is a string and has no field `{rest}`"),
            ),
            (_, None) => self.wrong(expression, format!("`{name}` can't be used here")),
        }
    }

    /// The text of a definition stands where its name is.
    fn definition(
        &mut self,
        expression: &IdedExpr,
        name: &str,
        definition: &Definition,
    ) -> Option<Node> {
        if self.depth == MAX_DEPTH {
            return self.wrong(
                expression,
                format!("`{name}` is defined by itself, or by too many others"),
            );
        }
        let mut inner = Checker {
            environment: self.environment,
            kind: self.kind,
            reads: self.reads,
            positions: Positions::new(),
            mistakes: Vec::new(),
            variables: Vec::new(),
            depth: self.depth + 1,
        };
        let node = match parse(&definition.text) {
            Ok((parsed, positions)) => {
                inner.positions = positions;
                inner.check(&parsed)
            }
            Err(mistakes) => {
                inner.mistakes = mistakes;
                None
            }
        };
        self.reads = inner.reads;
        let number = definition.number;
        match node {
            Some(node) if inner.mistakes.is_empty() => Some(Node {
                kind: match node.kind {
                    // No variable of a macro is seen in a definition, so that it comes to the same wherever it is named.
                    Kind::Bool(test) => {
                        let questions = Questions::from(test);
                        Kind::asked(move |scope| {
                            scope.view.answers.get(number, || questions.hold(scope))
                        })
                    }
                    other => other,
                },
                field: None,
                ..node
            }),
            _ => {
                for mistake in inner.mistakes {
                    self.wrong(expression, format!("in `{name}`: {}", mistake.message));
                }
                None
            }
        }
    }

    /// What is in a variable where something holds; nothing where it is no variable.
    fn literals(
        &self,
        name: Option<&str>,
        literals: Option<Literals>,
    ) -> Option<(String, Literals)> {
        let (name, literals) = name.zip(literals)?;
        let is_variable = self.variables.iter().any(|(known, _)| known == name);
        is_variable.then(|| (name.to_owned(), literals))
    }

    fn list(&mut self, expression: &IdedExpr, list: &ListExpr) -> Option<Node> {
        let mut texts = Vec::new();
        let mut numbers = Vec::new();
        for element in &list.elements {
            match self.check(element)?.kind {
                Kind::ConstText(text) if numbers.is_empty() => texts.push(text),
                Kind::ConstInt(number) if texts.is_empty() => numbers.push(number),
                other => {
                    let message = format!(
                        "a list holds strings, or ints, that are written out; this is {}",
                        other.name()
                    );
                    return self.wrong(element, message);
                }
            }
        }
        if list.elements.is_empty() {
            return self.wrong(expression, "an empty list: nothing is in it");
        }
        Some(if numbers.is_empty() {
            Kind::ConstTexts(Arc::new(Words::new(texts))).into()
        } else {
            Kind::ConstInts(numbers.into()).into()
        })
    }

    /// `exists` and `all`, which the parser makes comprehensions of.
    fn comprehension(&mut self, expression: &IdedExpr, found: &ComprehensionExpr) -> Option<Node> {
        let refused = "of macros, only `has`, `exists` and `all` are understood";
        let (wanted, body) = match (&found.accu_init.expr, &found.loop_step.expr) {
            (Expr::Literal(LiteralValue::Boolean(first)), Expr::Call(step)) => {
                match (
                    *first.inner(),
                    step.func_name.as_str(),
                    step.args.as_slice(),
                ) {
                    (false, operators::LOGICAL_OR, [_, body]) => (true, body),
                    (true, operators::LOGICAL_AND, [_, body]) => (false, body),
                    _ => return self.wrong(&found.iter_range, refused),
                }
            }
            _ => return self.wrong(&found.iter_range, refused),
        };
        let before = self.reads;
        let Node {
            kind: range, field, ..
        } = self.check(&found.iter_range)?;
        let is_known_range = self.reads == before;
        let kind = match range {
            Kind::Texts(_) => Type::Text,
            Kind::Ancestors => Type::Process,
            other => {
                let message = format!(
                    "`exists` and `all` are asked of a field that is a list, and this is {}",
                    other.name()
                );
                return self.wrong(&found.iter_range, message);
            }
        };
        if self.variables.len() == MAX_DEPTH {
            return self.wrong(expression, "too many macros within each other");
        }
        if schema::find(&found.iter_var).is_some() || !schema::below(&found.iter_var).is_empty() {
            let message = format!(
                "`{name}` is the name of fields, and can't be that of a variable",
                name = found.iter_var
            );
            return self.wrong(expression, message);
        }
        self.variables.push((found.iter_var.clone(), kind));
        let body = self.truth_node(body);
        self.variables.pop();
        let mut body = body?;
        if is_known_range {
            // What is known of lists beforehand is that they are empty.
            self.reads = before;
        }
        let reasons = match &field {
            Some(field) if wanted && field.is_reasons() => body.demands.remove(&found.iter_var),
            _ => None,
        };
        let literals = body.literals.take().filter(|_| wanted);
        let searcher = literals
            .filter(|(variable, _)| *variable == found.iter_var)
            .and_then(|(_, literals)| literals.searcher());
        let body = Questions::from(body.kind.into_test()?);
        // `all` holds unless one exists of which its body does not.
        let test = match range {
            Kind::Texts(list) => Test::new(move |scope| {
                let texts = list(scope);
                if let (Some(searcher), Texts::Arguments(arguments)) = (&searcher, texts)
                    && searcher.find(arguments.joined()).is_none()
                {
                    return false;
                }
                let found = texts.any(|text| {
                    body.hold(&Scope {
                        view: scope.view,
                        local: Some((Local::Text(text), scope)),
                    }) == wanted
                });
                found == wanted
            }),
            _ => Test::new(move |scope| {
                let found = scope.view.event.ancestors.iter().any(|ancestor| {
                    let subject = Subject::of_ancestor(ancestor, scope.view.memory);
                    body.hold(&Scope {
                        view: scope.view,
                        local: Some((Local::Process(subject), scope)),
                    }) == wanted
                });
                found == wanted
            }),
        };
        Some(Node {
            reasons,
            ..Kind::Bool(test).into()
        })
    }
}

/// The dotted name that an expression is, and whether it is the argument of `has`.
fn dotted(expression: &IdedExpr) -> Option<(String, bool)> {
    match &expression.expr {
        Expr::Ident(name) => Some((name.clone(), false)),
        Expr::Select(SelectExpr {
            operand,
            field,
            test,
        }) => {
            let (before, _) = dotted(operand)?;
            Some((format!("{before}.{field}"), *test))
        }
        _ => None,
    }
}
