//! The set of policies in force: every rule checked, ready to be asked, and found by the kind of event.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde_saphyr::Spanned;

use super::{
    attack,
    case::Case,
    condition::{
        Condition, Environment, Message, Mistake,
        environment::Words,
        fields,
        schema::{self, KINDS},
    },
    file::{
        API_VERSION, ExceptionForm, ListForm, Override, PolicyFile, RuleForm, Select, Severity,
    },
    rule::{ActiveRule, After, Exception, Fold, Logic, Rule, Score, Threshold, names},
    select::Selector,
    source::{self, Problem, Source},
};
use crate::proto::v1::EventKind;

/// Detectors of the agent that rules can name.
pub const DETECTORS: &[&str] = &[
    "shell",
    "reverse-shell",
    "listener-baseline",
    "flow-baseline",
];

/// How long findings are the same one after the other, where a rule does not say.
const FOLD: Duration = Duration::from_secs(3_600);
/// Most times that a threshold may ask for.
const MAX_COUNT: u32 = 1_000;
/// The longest time that a threshold or a chain may look back.
const MAX_WITHIN: Duration = Duration::from_secs(86_400);
/// Most rules.
const MAX_RULES: usize = 4_096;

/// See the module.
#[derive(Debug, Default)]
pub struct RuleSet {
    rules: Vec<Arc<ActiveRule>>,
    /// Places in `rules`: of those about containers, by kind of event.
    of_containers: Vec<Vec<usize>>,
    /// Those about the host.
    of_host: Vec<Vec<usize>>,
    /// Those that add up findings, by the rules whose findings they are.
    scores: HashMap<String, Vec<usize>>,
    exceptions: Vec<Arc<Exception>>,
    /// Names it.
    digest: Arc<str>,
    /// Files that it was made of.
    files: Vec<String>,
}

/// A set, and what comes with it for whoever tests policies.
#[derive(Debug)]
pub struct Loaded {
    /// The set.
    pub set: RuleSet,
    /// Events that rules must find, and that they must not.
    pub cases: Vec<Case>,
}

impl RuleSet {
    /// The built-in policies, with those of a directory.
    ///
    /// # Errors
    /// With everything that is wrong in them.
    pub fn load(directory: Option<&Path>) -> Result<Loaded, Vec<Problem>> {
        let own = match directory {
            Some(directory) => source::of_directory(directory)?,
            None => Vec::new(),
        };
        Self::of(&own)
    }

    /// The built-in policies, with these.
    ///
    /// # Errors
    /// With everything that is wrong in them.
    pub fn of(own: &[Source]) -> Result<Loaded, Vec<Problem>> {
        let built_in = source::built_in();
        let digest = source::digest(built_in.iter().chain(own));
        let mut loader = Loader {
            set: digest.into(),
            problems: Vec::new(),
            shared: Environment::default(),
            rules: Vec::new(),
            places: HashMap::new(),
            exceptions: Vec::new(),
            cases: Vec::new(),
        };
        loader.load(&built_in, own);
        loader.finish(
            built_in
                .iter()
                .chain(own)
                .map(|source| source.name.clone())
                .collect(),
        )
    }

    /// The digest of the files that it was made of.
    #[must_use]
    pub fn digest(&self) -> &Arc<str> {
        &self.digest
    }

    /// Files that it was made of.
    #[must_use]
    pub fn files(&self) -> &[String] {
        &self.files
    }

    /// Every rule, by id.
    #[must_use]
    pub fn rules(&self) -> &[Arc<ActiveRule>] {
        &self.rules
    }

    /// Every exception.
    #[must_use]
    pub fn exceptions(&self) -> &[Arc<Exception>] {
        &self.exceptions
    }

    /// A rule by its id, unless it is switched off.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Arc<ActiveRule>> {
        self.rules
            .binary_search_by(|rule| rule.rule.id.as_str().cmp(id))
            .ok()
            .map(|index| &self.rules[index])
    }

    /// The rules with a condition about a kind of event: those about containers, or those about the host.
    pub fn about(&self, kind: EventKind, host: bool) -> impl Iterator<Item = &Arc<ActiveRule>> {
        let index = if host {
            &self.of_host
        } else {
            &self.of_containers
        };
        index
            .get(kind as usize)
            .into_iter()
            .flatten()
            .map(|rule| &self.rules[*rule])
    }

    /// The rules that add up findings of a rule.
    pub fn scores_of(&self, rule: &str) -> impl Iterator<Item = &Arc<ActiveRule>> {
        self.scores
            .get(rule)
            .into_iter()
            .flatten()
            .map(|index| &self.rules[*index])
    }

    /// Carries on what was counted for the exceptions of an earlier set.
    pub fn continue_from(&self, before: &Self) {
        for exception in &self.exceptions {
            let same = before.exceptions.iter().find(|other| {
                (&other.policy, &other.rules, &other.text, &other.reason)
                    == (
                        &exception.policy,
                        &exception.rules,
                        &exception.text,
                        &exception.reason,
                    )
            });
            if let Some(same) = same {
                exception.continue_from(same);
            }
        }
    }
}

struct Loader {
    set: Arc<str>,
    problems: Vec<Problem>,
    /// Lists and definitions of the built-in policies.
    shared: Environment,
    rules: Vec<ActiveRule>,
    /// Where rules stand, by id.
    places: HashMap<String, (Source, Spanned<String>)>,
    exceptions: Vec<Exception>,
    cases: Vec<Case>,
}

impl Loader {
    fn load(&mut self, built_in: &[Source], own: &[Source]) {
        let built_in = self.parse(built_in);
        let own = self.parse(own);
        for (source, file) in &built_in {
            let mut shared = std::mem::take(&mut self.shared);
            self.names(source, file, &mut shared);
            self.shared = shared;
        }
        for (source, file) in &own {
            for change in &file.overrides {
                self.add_to_list(source, change);
            }
        }
        for (source, file) in built_in.iter().chain(&own) {
            let mut environment = self.shared.clone();
            if !source.is_built_in() {
                self.names(source, file, &mut environment);
            }
            self.definitions(source, file, &environment);
            for form in &file.rules {
                self.rule(source, file, form, &environment);
            }
        }
        self.chains(built_in.iter().chain(&own));
        for (source, file) in &own {
            for change in &file.overrides {
                self.change(source, change);
            }
        }
        for (source, file) in built_in.iter().chain(&own) {
            let mut environment = self.shared.clone();
            if !source.is_built_in() {
                // Its mistakes are noted already.
                let before = self.problems.len();
                self.names(source, file, &mut environment);
                self.problems.truncate(before);
            }
            for form in &file.exceptions {
                self.exception(source, file, form, &environment);
            }
        }
    }

    fn finish(mut self, files: Vec<String>) -> Result<Loaded, Vec<Problem>> {
        if !self.problems.is_empty() {
            return Err(self.problems);
        }
        self.rules
            .sort_by(|one, other| one.rule.id.cmp(&other.rule.id));
        let mut of_containers = vec![Vec::new(); KINDS.len() + 1];
        let mut of_host = of_containers.clone();
        let mut scores: HashMap<String, Vec<usize>> = HashMap::new();
        for (index, rule) in self.rules.iter().enumerate() {
            match &rule.logic {
                Logic::Condition(..) => {}
                Logic::Detector(_) => continue,
                Logic::Score(score) => {
                    for (part, _) in &score.of {
                        scores.entry(part.clone()).or_default().push(index);
                    }
                    continue;
                }
            }
            let by_kind = if rule.selector.host {
                &mut of_host
            } else {
                &mut of_containers
            };
            for event in &rule.events {
                // Kinds are counted from 1.
                if let Some(kind) = KINDS.iter().position(|kind| kind == event) {
                    by_kind[kind + 1].push(index);
                }
            }
        }
        Ok(Loaded {
            set: RuleSet {
                rules: self.rules.into_iter().map(Arc::new).collect(),
                of_containers,
                of_host,
                scores,
                exceptions: self.exceptions.into_iter().map(Arc::new).collect(),
                digest: self.set,
                files,
            },
            cases: self.cases,
        })
    }

    fn parse(&mut self, sources: &[Source]) -> Vec<(Source, PolicyFile)> {
        let mut parsed = Vec::new();
        for source in sources {
            match source.parse() {
                Ok(file) if file.api_version != API_VERSION || file.kind != "Policy" => {
                    self.problems.push(source.problem_of_file(format!(
                        "apiVersion `{}`, kind `{}`: only `{API_VERSION}`, `Policy` is understood",
                        file.api_version, file.kind
                    )));
                }
                Ok(file) => parsed.push((source.clone(), file)),
                Err(problem) => self.problems.push(problem),
            }
        }
        parsed
    }

    /// Takes in lists and definitions.
    fn names(&mut self, source: &Source, file: &PolicyFile, environment: &mut Environment) {
        for name in file.lists.keys().chain(file.definitions.keys()) {
            let is_taken = environment.lists.contains_key(name)
                || environment.numbers.contains_key(name)
                || environment.definitions.contains_key(name);
            if is_taken {
                self.problems.push(source.problem_of_file(format!(
                    "`{name}` is a list or a definition of the built-in policies already; take another name"
                )));
            }
        }
        for (name, form) in &file.lists {
            if let Err(message) = add(environment, source, name, form) {
                self.problems
                    .push(source.problem_of_file(format!("list `{name}`: {message}")));
            }
        }
        for (name, text) in &file.definitions {
            environment
                .definitions
                .insert(name.clone(), text.value.as_str().into());
        }
        for name in file.lists.keys().chain(file.definitions.keys()) {
            if let Err(message) = check_name(name) {
                self.problems.push(source.problem_of_file(message));
            }
        }
    }

    fn add_to_list(&mut self, source: &Source, change: &Override) {
        let Some(name) = &change.list else {
            return;
        };
        let known = self.shared.lists.get(&name.value);
        let (Some(known), Some(form)) = (known, &change.add) else {
            let message = if known.is_some() {
                "nothing is added; say what with `add`".to_owned()
            } else {
                let all = self.shared.lists.keys().cloned();
                let hint = schema::nearest(&name.value, all)
                    .map_or_else(String::new, |name| format!("; did you mean `{name}`?"));
                format!("there is no built-in list `{}`{hint}", name.value)
            };
            self.problems.push(source.problem(name, message));
            return;
        };
        let mut words: Vec<String> = known.iter().map(str::to_owned).collect();
        match texts(source, form) {
            Ok(more) => {
                words.extend(more);
                self.shared
                    .lists
                    .insert(name.value.clone(), Arc::new(Words::new(words)));
            }
            Err(message) => self.problems.push(source.problem(name, message)),
        }
    }

    /// Definitions are checked where they stand, whether they are used or not.
    fn definitions(&mut self, source: &Source, file: &PolicyFile, environment: &Environment) {
        for text in file.definitions.values() {
            if let Err(mistakes) = Condition::compile(&text.value, environment) {
                self.mistakes(source, text, &mistakes);
            }
        }
    }

    fn mistakes(&mut self, source: &Source, text: &Spanned<String>, mistakes: &[Mistake]) {
        self.problems
            .extend(mistakes.iter().map(|mistake| source.mistake(text, mistake)));
    }

    fn wrong<T>(&mut self, source: &Source, value: &Spanned<T>, message: impl Into<String>) {
        self.problems.push(source.problem(value, message));
    }

    fn rule(
        &mut self,
        source: &Source,
        file: &PolicyFile,
        form: &RuleForm,
        environment: &Environment,
    ) {
        let id = &form.id;
        if self.rules.len() == MAX_RULES {
            return self.wrong(source, id, format!("there are more than {MAX_RULES} rules"));
        }
        if let Err(message) = check_id(&id.value) {
            return self.wrong(source, id, message);
        }
        if let Some((other, _)) = self.places.get(&id.value) {
            let message = format!(
                "rule `{}` is also in {}; change a built-in rule with `overrides`",
                id.value, other.name
            );
            return self.wrong(source, id, message);
        }
        self.places
            .insert(id.value.clone(), (source.clone(), id.clone()));
        let events = self.events(source, form);
        let environment = Environment {
            events: events.clone(),
            ..environment.clone()
        };
        let selector = self.selector(source, id, &[file.select.as_ref(), form.select.as_ref()]);
        let logic = self.logic(source, form, &environment);
        let raise = self.raise(source, form, &environment);
        let attack = form
            .attack
            .iter()
            .filter_map(|id| {
                let found = attack::technique(&id.value);
                if found.is_none() {
                    let hint = schema::nearest(&id.value, attack::ids().map(str::to_owned))
                        .map_or_else(String::new, |id| format!("; did you mean `{id}`?"));
                    let message = format!(
                        "`{}` is no technique of ATT&CK that is known here{hint}",
                        id.value
                    );
                    self.wrong(source, id, message);
                }
                found
            })
            .collect();
        let threshold = self.threshold(source, form, &events);
        let fold = self.fold(source, form, &events);
        let after = form
            .after
            .iter()
            .map(|form| {
                if form.within.0 > MAX_WITHIN {
                    self.wrong(
                        source,
                        &form.rule,
                        "looking back more than a day is too long",
                    );
                }
                After {
                    rule: form.rule.value.clone(),
                    within: form.within.0,
                    per: form.per,
                }
            })
            .collect();
        self.cases.extend(form.cases.iter().map(|case| Case {
            rule: id.value.clone(),
            name: case.name.value.clone(),
            matches: case.matches,
            event: case.event.clone(),
            place: source.problem(&case.name, String::new()),
        }));
        let (Some(selector), Some(logic)) = (selector, logic) else {
            return;
        };
        self.rules.push(ActiveRule {
            rule: Arc::new(Rule {
                id: id.value.clone(),
                title: form.title.clone(),
                severity: form.severity,
                attack,
                description: form.description.clone(),
                triage: form.triage.clone(),
                benign: form.benign.clone(),
                policy: source.name.clone(),
                set: Arc::clone(&self.set),
            }),
            events,
            logic,
            condition: form
                .condition
                .as_ref()
                .map(|condition| condition.value.clone())
                .unwrap_or_default(),
            selector,
            raise,
            threshold,
            after,
            fold,
            silent: form.silent,
        });
    }

    fn events(&mut self, source: &Source, form: &RuleForm) -> Vec<String> {
        for event in &form.events {
            if !KINDS.contains(&event.value.as_str()) {
                let hint = schema::nearest(&event.value, KINDS.iter().map(|&kind| kind.to_owned()))
                    .map_or_else(
                        || format!("; there are {}", KINDS.join(", ")),
                        |kind| format!("; did you mean `{kind}`?"),
                    );
                let message = format!("there is no kind of event `{}`{hint}", event.value);
                self.wrong(source, event, message);
            }
        }
        form.events
            .iter()
            .map(|event| event.value.clone())
            .collect()
    }

    fn selector(
        &mut self,
        source: &Source,
        about: &Spanned<String>,
        parts: &[Option<&Select>],
    ) -> Option<Selector> {
        match Selector::new(parts) {
            Ok(selector) => Some(selector),
            Err(message) => {
                self.wrong(source, about, message);
                None
            }
        }
    }

    fn logic(
        &mut self,
        source: &Source,
        form: &RuleForm,
        environment: &Environment,
    ) -> Option<Logic> {
        if let Some(score) = &form.score {
            let alone =
                form.condition.is_none() && form.detector.is_none() && form.events.is_empty();
            let highest: u32 = score.of.values().sum();
            if !alone {
                self.wrong(
                    source,
                    &form.id,
                    "a score stands in place of events, condition and detector",
                );
            } else if score.at_least == 0 || highest < score.at_least {
                let message = format!(
                    "it can never hold: all weights together are {highest}, and {} are wanted",
                    score.at_least
                );
                self.wrong(source, &form.id, message);
            } else if score.within.0 > MAX_WITHIN {
                self.wrong(source, &form.id, "looking back more than a day is too long");
            }
            return Some(Logic::Score(Score {
                at_least: score.at_least,
                within: score.within.0,
                per: score.per,
                of: score
                    .of
                    .iter()
                    .map(|(rule, weight)| (rule.clone(), *weight))
                    .collect(),
            }));
        }
        match (&form.condition, &form.detector) {
            (Some(condition), None) => {
                if form.events.is_empty() {
                    self.wrong(
                        source,
                        &form.id,
                        "a condition needs `events`: the kinds it is asked of",
                    );
                    return None;
                }
                let compiled = Condition::compile(&condition.value, environment)
                    .map_err(|mistakes| self.mistakes(source, condition, &mistakes));
                let Some(message) = &form.message else {
                    self.wrong(source, &form.id, "`message` is missing: what an alert says");
                    return None;
                };
                let said = Message::parse(&message.value, &environment.events)
                    .map_err(|mistake| self.mistakes(source, message, &[mistake]));
                Some(Logic::Condition(compiled.ok()?, said.ok()?))
            }
            (None, Some(detector)) if DETECTORS.contains(&detector.value.as_str()) => {
                Some(Logic::Detector(detector.value.clone()))
            }
            (None, Some(detector)) => {
                let message = format!(
                    "there is no detector `{}`; there are {}",
                    detector.value,
                    DETECTORS.join(", ")
                );
                self.wrong(source, detector, message);
                None
            }
            (Some(_), Some(detector)) => {
                self.wrong(
                    source,
                    detector,
                    "a rule has a condition or a detector, and not both",
                );
                None
            }
            (None, None) => {
                self.wrong(
                    source,
                    &form.id,
                    "`condition` is missing: what has to be so",
                );
                None
            }
        }
    }

    fn raise(
        &mut self,
        source: &Source,
        form: &RuleForm,
        environment: &Environment,
    ) -> Vec<(Severity, Condition)> {
        form.raise
            .iter()
            .filter_map(|raise| {
                if raise.to <= form.severity {
                    let message = format!(
                        "the severity is {} already, and can't be raised to {}",
                        form.severity.name(),
                        raise.to.name()
                    );
                    self.wrong(source, &raise.when, message);
                }
                match Condition::compile(&raise.when.value, environment) {
                    Ok(condition) => Some((raise.to, condition)),
                    Err(mistakes) => {
                        self.mistakes(source, &raise.when, &mistakes);
                        None
                    }
                }
            })
            .collect()
    }

    fn threshold(
        &mut self,
        source: &Source,
        form: &RuleForm,
        events: &[String],
    ) -> Option<Threshold> {
        let found = form.threshold.as_ref()?;
        if found.count < 2 || found.count > MAX_COUNT || found.within.0 > MAX_WITHIN {
            let message = format!("a threshold counts 2 to {MAX_COUNT} times within a day at most");
            self.wrong(source, &form.id, message);
        }
        Some(Threshold {
            count: found.count,
            within: found.within.0,
            per: found.per,
            distinct: self.fields(source, &found.distinct, events),
        })
    }

    fn fold(&mut self, source: &Source, form: &RuleForm, events: &[String]) -> Fold {
        let found = form.fold.as_ref();
        Fold {
            within: found
                .and_then(|fold| fold.within)
                .map_or(FOLD, |time| time.0),
            by: match found {
                Some(fold) if !fold.by.is_empty() => self.fields(source, &fold.by, events),
                _ => vec!["process.exe".to_owned()],
            },
        }
    }

    fn fields(
        &mut self,
        source: &Source,
        fields: &[Spanned<String>],
        events: &[String],
    ) -> Vec<String> {
        for field in fields {
            if let Err(message) = fields::field(&field.value, events) {
                self.wrong(source, field, message);
            }
        }
        fields.iter().map(|field| field.value.clone()).collect()
    }

    /// Rules that are named by others have to be there, and not to wait for each other.
    fn chains<'a>(&mut self, files: impl Iterator<Item = &'a (Source, PolicyFile)>) {
        let mut waits: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let mut problems = Vec::new();
        for (source, file) in files {
            for form in &file.rules {
                let parts = form.score.iter().flat_map(|score| score.of.keys());
                for part in parts {
                    if !self.places.contains_key(part) {
                        let hint = schema::nearest(part, self.places.keys().cloned())
                            .map_or_else(String::new, |id| format!("; did you mean `{id}`?"));
                        problems.push(source.problem(
                            &form.id,
                            format!("its score: there is no rule `{part}`{hint}"),
                        ));
                    }
                    waits.entry(&form.id.value).or_default().push(part);
                }
                for after in &form.after {
                    if !self.places.contains_key(&after.rule.value) {
                        let hint = schema::nearest(&after.rule.value, self.places.keys().cloned())
                            .map_or_else(String::new, |id| format!("; did you mean `{id}`?"));
                        let message = format!("there is no rule `{}`{hint}", after.rule.value);
                        problems.push(source.problem(&after.rule, message));
                    }
                    waits
                        .entry(&form.id.value)
                        .or_default()
                        .push(&after.rule.value);
                }
                if waits.contains_key(form.id.value.as_str())
                    && waits_for_itself(&form.id.value, &waits)
                {
                    let message = format!("`{}` would wait for itself", form.id.value);
                    problems.push(source.problem(&form.id, message));
                }
            }
        }
        self.problems.extend(problems);
    }

    fn change(&mut self, source: &Source, change: &Override) {
        let wanted = match (&change.rule, &change.list) {
            (Some(rule), None) => rule,
            (None, Some(_)) => return,
            _ => {
                let message = "an override names a built-in `rule`, or a `list`, and not both";
                return self.problems.push(source.problem_of_file(message));
            }
        };
        if change.enabled.is_none() && change.severity.is_none() {
            return self.wrong(
                source,
                wanted,
                "nothing is changed; say `severity` or `enabled: false`",
            );
        }
        let Some(index) = self
            .rules
            .iter()
            .position(|rule| rule.rule.id == wanted.value)
        else {
            if self.places.contains_key(&wanted.value) {
                // Switched off by another policy, or wrong, which is noted already.
                return;
            }
            let hint = schema::nearest(&wanted.value, self.places.keys().cloned()).map_or_else(
                || "; `watchkeeper policy list` shows all".to_owned(),
                |id| format!("; did you mean `{id}`?"),
            );
            let message = format!("there is no rule `{}`{hint}", wanted.value);
            return self.wrong(source, wanted, message);
        };
        if change.enabled == Some(false) {
            self.rules.remove(index);
            return;
        }
        if let Some(severity) = change.severity {
            let rule = Arc::make_mut(&mut self.rules[index].rule);
            rule.severity = severity;
            rule.policy.clone_from(&source.name);
        }
    }

    fn exception(
        &mut self,
        source: &Source,
        file: &PolicyFile,
        form: &ExceptionForm,
        environment: &Environment,
    ) {
        if form.rules.is_empty() {
            return self.wrong(
                source,
                &form.reason,
                "an exception names the `rules` that it is from",
            );
        }
        if form.reason.value.trim().is_empty() {
            return self.wrong(source, &form.reason, "an exception says its reason");
        }
        let mut events: HashSet<String> = HashSet::new();
        for wanted in &form.rules {
            if !self.places.keys().any(|id| names(&wanted.value, id)) {
                let hint = schema::nearest(&wanted.value, self.places.keys().cloned())
                    .map_or_else(String::new, |id| format!("; did you mean `{id}`?"));
                let message = format!("there is no rule `{}`{hint}", wanted.value);
                self.wrong(source, wanted, message);
            }
            for rule in &self.rules {
                if names(&wanted.value, &rule.rule.id) {
                    events.extend(rule.events.iter().cloned());
                }
            }
        }
        let about = &form.rules[0];
        let selector = self.selector(source, about, &[file.select.as_ref(), form.select.as_ref()]);
        let environment = Environment {
            events: events.into_iter().collect(),
            ..environment.clone()
        };
        let condition = match &form.condition {
            None => None,
            Some(text) => match Condition::compile(&text.value, &environment) {
                Ok(condition) => Some((condition, text.value.clone())),
                Err(mistakes) => return self.mistakes(source, text, &mistakes),
            },
        };
        if condition.is_none() && form.select.is_none() && file.select.is_none() {
            let message = "it excepts everything; narrow it with `select` or `condition`, or switch the rule off with `overrides`";
            return self.wrong(source, about, message);
        }
        let until = match &form.until {
            None => None,
            Some(text) => match end_of_day(&text.value) {
                Some(until) => Some(until),
                None => {
                    let message = format!("`{}` is no day, such as 2026-12-31", text.value);
                    return self.wrong(source, text, message);
                }
            },
        };
        if let Some(selector) = selector {
            self.exceptions.push(Exception::new(
                form.rules.iter().map(|rule| rule.value.clone()).collect(),
                selector,
                condition,
                form.reason.value.clone(),
                until,
                source.name.clone(),
            ));
        }
    }
}

fn waits_for_itself(id: &str, waits: &BTreeMap<&str, Vec<&str>>) -> bool {
    let mut seen = HashSet::new();
    let mut next: Vec<&str> = waits.get(id).cloned().unwrap_or_default();
    while let Some(rule) = next.pop() {
        if rule == id {
            return true;
        }
        if seen.insert(rule) {
            next.extend(waits.get(rule).into_iter().flatten());
        }
    }
    false
}

fn texts(source: &Source, form: &ListForm) -> Result<Vec<String>, String> {
    match form {
        ListForm::Texts(texts) => Ok(texts.clone()),
        ListForm::File { file } => source.list(file),
        ListForm::Numbers(_) => Err("it holds texts, and not numbers".to_owned()),
    }
}

fn add(
    environment: &mut Environment,
    source: &Source,
    name: &str,
    form: &ListForm,
) -> Result<(), String> {
    if let ListForm::Numbers(numbers) = form
        && !numbers.is_empty()
    {
        environment
            .numbers
            .insert(name.to_owned(), numbers.as_slice().into());
        return Ok(());
    }
    let words = texts(source, form)?;
    environment
        .lists
        .insert(name.to_owned(), Arc::new(Words::new(words)));
    Ok(())
}

/// Names of lists and definitions stand in conditions as they are.
fn check_name(name: &str) -> Result<(), String> {
    let is_word = name.starts_with(|letter: char| letter.is_ascii_lowercase())
        && name
            .chars()
            .all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_');
    if !is_word {
        return Err(format!(
            "`{name}` can't be a name in conditions: small letters, digits and `_`, a letter first"
        ));
    }
    if schema::find(name).is_some() || !schema::below(name).is_empty() {
        return Err(format!("`{name}` is a field of events already"));
    }
    Ok(())
}

fn check_id(id: &str) -> Result<(), String> {
    let is_word = |word: &str| {
        !word.is_empty()
            && word.chars().all(|letter| {
                letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-'
            })
    };
    if id.contains('.') && id.len() <= 64 && id.split('.').all(is_word) {
        Ok(())
    } else {
        Err(format!(
            "`{id}` is no id of a rule, such as `shell.injected`: words of small letters, digits and dashes, joined by dots"
        ))
    }
}

/// The first moment after a day, in UTC.
fn end_of_day(text: &str) -> Option<SystemTime> {
    let mut parts = text.splitn(3, '-');
    let mut number = || parts.next()?.parse::<u32>().ok();
    let (year, month, day) = (number()?, number()?, number()?);
    let timestamp = prost_types::Timestamp::date(
        i64::from(year),
        month.try_into().ok()?,
        day.try_into().ok()?,
    )
    .ok()?;
    let start = SystemTime::try_from(timestamp).ok()?;
    start.checked_add(Duration::from_secs(86_400))
}
