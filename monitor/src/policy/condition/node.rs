//! What a part of a condition becomes: a constant, or a function that reads an event.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    environment::Words,
    fields::{self, read, subject_of},
    literals::Literals,
    schema::{Named, Root},
    subject::{ProcessField, Subject},
    truth::Test,
    value::{Local, Texts, Type, Value},
    view::View,
};
use crate::container::model::Labels;

/// What a condition is evaluated in: an event, and the variables of the macros around.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) view: &'a View<'a>,
    pub(super) local: Option<(Local<'a>, &'a Scope<'a>)>,
}

impl<'a> Scope<'a> {
    /// The variable this many macros further out.
    pub(super) fn local(&'a self, outward: usize) -> Option<Local<'a>> {
        let (local, outer) = self.local.as_ref()?;
        match outward {
            0 => Some(*local),
            more => outer.local(more - 1),
        }
    }
}

pub(super) type Number = Box<dyn Fn(&Scope<'_>) -> i64 + Send + Sync>;
pub(super) type Real = Box<dyn Fn(&Scope<'_>) -> f64 + Send + Sync>;
pub(super) type Text = Box<dyn for<'a> Fn(&'a Scope<'a>) -> &'a str + Send + Sync>;
pub(super) type List = Box<dyn for<'a> Fn(&'a Scope<'a>) -> Texts<'a> + Send + Sync>;
pub(super) type Map = Box<dyn for<'a> Fn(&'a Scope<'a>) -> Option<&'a Labels> + Send + Sync>;

/// A part of a condition.
pub(super) enum Kind {
    ConstBool(bool),
    Bool(Test),
    ConstInt(i64),
    Int(Number),
    ConstDouble(f64),
    Double(Real),
    ConstText(String),
    Text(Text),
    ConstTexts(Arc<Words>),
    Texts(List),
    ConstInts(Arc<[i64]>),
    Labels(Map),
    Process(ProcessPath),
    Ancestors,
}

/// A process that is named.
#[derive(Clone, Copy)]
pub(super) enum ProcessPath {
    Root(Root),
    Local(usize),
}

impl ProcessPath {
    pub(super) fn find<'a>(self, scope: &'a Scope<'a>) -> Option<Subject<'a>> {
        match self {
            Self::Root(root) => subject_of(root, scope.view),
            Self::Local(outward) => match scope.local(outward)? {
                Local::Process(subject) => Some(subject),
                Local::Text(_) => None,
            },
        }
    }
}

impl Kind {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::ConstBool(_) | Self::Bool(_) => Type::Bool,
            Self::ConstInt(_) | Self::Int(_) => Type::Int,
            Self::ConstDouble(_) | Self::Double(_) => Type::Double,
            Self::ConstText(_) | Self::Text(_) => Type::Text,
            Self::ConstTexts(_) | Self::Texts(_) => Type::Texts,
            Self::ConstInts(_) => Type::Ints,
            Self::Labels(_) => Type::Labels,
            Self::Process(_) => Type::Process,
            Self::Ancestors => Type::Processes,
        }
        .with_article()
    }
}

/// The texts that a field must be one of for something to hold, by the field.
pub(super) type Demands = BTreeMap<String, BTreeSet<String>>;

/// A part of a condition, and what is known of it.
pub(super) struct Node {
    pub(super) kind: Kind,
    /// The field that it is, where it is just that.
    pub(super) field: Option<Field>,
    pub(super) demands: Demands,
    /// What a file has to be watched for, one of these at least, for it to hold.
    pub(super) reasons: Option<BTreeSet<String>>,
    /// A variable that is a text, and what is in that text where it holds.
    pub(super) literals: Option<(String, Literals)>,
}

#[derive(Clone)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) values: &'static [&'static str],
}

impl Field {
    /// Whether it says what a file is watched for. An event has one of the two at most.
    pub(super) fn is_reasons(&self) -> bool {
        matches!(
            self.name.as_str(),
            "file_open.reasons" | "file_change.reasons"
        )
    }
}

impl From<Kind> for Node {
    fn from(kind: Kind) -> Self {
        Self {
            kind,
            field: None,
            demands: Demands::new(),
            reasons: None,
            literals: None,
        }
    }
}

impl Kind {
    /// What is true or false of an event.
    pub(super) fn asked(question: impl Fn(&Scope<'_>) -> bool + Send + Sync + 'static) -> Self {
        Self::Bool(Test::new(question))
    }

    pub(super) fn into_test(self) -> Option<Test> {
        match self {
            Self::Bool(test) => Some(test),
            Self::ConstBool(value) => Some(Test::new(move |_| value)),
            _ => None,
        }
    }

    pub(super) fn into_number(self) -> Option<Number> {
        match self {
            Self::Int(number) => Some(number),
            Self::ConstInt(value) => Some(Box::new(move |_| value)),
            _ => None,
        }
    }

    /// Ints count as doubles where a double stands at the other side.
    #[expect(clippy::cast_precision_loss, reason = "it is compared with a measure")]
    pub(super) fn into_real(self) -> Option<Real> {
        match self {
            Self::Double(real) => Some(real),
            Self::ConstDouble(value) => Some(Box::new(move |_| value)),
            Self::Int(number) => Some(Box::new(move |scope| number(scope) as f64)),
            Self::ConstInt(value) => Some(Box::new(move |_| value as f64)),
            _ => None,
        }
    }
}

pub(super) fn of_field(named: Named) -> Node {
    let kind = match named {
        Named::Process(root) => Kind::Process(ProcessPath::Root(root)),
        Named::Ancestors => Kind::Ancestors,
        // Many rules ask for it.
        Named::OfProcess(Root::Own, field) if field.path == "name" => {
            Kind::Text(Box::new(|scope| scope.view.name()))
        }
        Named::OfProcess(Root::Own, field) => reader(field.kind, move |scope| {
            let own = scope.view.process();
            own.map_or(Value::Absent, field.read)
        }),
        Named::OfProcess(root, field) => return of_process(ProcessPath::Root(root), field),
        Named::Event(_) | Named::Detail(_) => {
            reader(fields::kind(&named), move |scope| read(named, scope.view))
        }
    };
    kind.into()
}

pub(super) fn of_process(path: ProcessPath, field: &'static ProcessField) -> Node {
    reader(field.kind, move |scope| {
        let subject = path.find(scope);
        subject.map_or(Value::Absent, |subject| (field.read)(&subject))
    })
    .into()
}

/// A part that reads a field of this type.
pub(super) fn reader(
    kind: Type,
    read: impl for<'a> Fn(&'a Scope<'a>) -> Value<'a> + Send + Sync + 'static,
) -> Kind {
    match kind {
        Type::Bool => Kind::asked(move |scope| matches!(read(scope), Value::Bool(true))),
        Type::Int => Kind::Int(Box::new(move |scope| match read(scope) {
            Value::Int(value) => value,
            _ => 0,
        })),
        Type::Double => Kind::Double(Box::new(move |scope| match read(scope) {
            Value::Double(value) => value,
            _ => 0.0,
        })),
        Type::Texts => Kind::Texts(Box::new(move |scope| match read(scope) {
            Value::Texts(texts) => texts,
            _ => Texts::Strings(&[]),
        })),
        Type::Labels => Kind::Labels(Box::new(move |scope| match read(scope) {
            Value::Labels(labels) => Some(labels),
            _ => None,
        })),
        // No field is of another type.
        _ => Kind::Text(Box::new(move |scope| match read(scope) {
            Value::Text(text) => text,
            _ => "",
        })),
    }
}

/// The values that a field can have.
pub(super) fn values(named: &Named) -> &'static [&'static str] {
    match named {
        Named::Event(field) => field.values,
        Named::Detail(field) => field.values,
        Named::OfProcess(_, field) => field.values,
        Named::Process(_) | Named::Ancestors => &[],
    }
}
