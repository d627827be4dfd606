//! Lists and definitions, which conditions name.

use std::sync::Arc;

use super::Loader;
use crate::policy::{
    condition::{
        Condition, Environment,
        environment::{Definition, Words},
        schema,
    },
    file::{ListForm, Override, PolicyFile},
    source::Source,
};

impl Loader {
    /// Takes in lists and definitions.
    pub(super) fn names(
        &mut self,
        source: &Source,
        file: &PolicyFile,
        environment: &mut Environment,
    ) {
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
            let definition = Definition {
                text: text.value.as_str().into(),
                number: self.definitions,
            };
            self.definitions += 1;
            environment.definitions.insert(name.clone(), definition);
        }
        for name in file.lists.keys().chain(file.definitions.keys()) {
            if let Err(message) = check_name(name) {
                self.problems.push(source.problem_of_file(message));
            }
        }
    }

    pub(super) fn add_to_list(&mut self, source: &Source, change: &Override) {
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
    pub(super) fn check_definitions(
        &mut self,
        source: &Source,
        file: &PolicyFile,
        environment: &Environment,
    ) {
        for text in file.definitions.values() {
            if let Err(mistakes) = Condition::compile(&text.value, environment) {
                self.mistakes(source, text, &mistakes);
            }
        }
    }
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
