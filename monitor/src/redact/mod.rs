//! Secrets in arguments: cut out before anything is kept, matched by rules or sent.
//!
//! Works on bytes, so that nothing that is not UTF-8 hides one. What can't be told from other text, a password that a
//! program takes as a plain argument, stays.

mod list;

use std::{collections::HashMap, ops::Range, path::Path};

use regex::bytes::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};

pub use list::RedactError;
use list::{Form, List};

/// What stands in the place of a secret.
pub const REDACTED: &[u8] = b"<redacted>";

/// Most memory that the patterns may be compiled to, in bytes.
const COMPILED: usize = 4 << 20;

/// Names shorter than this are not looked for at the end of longer words: `pass` is not in `bypass`.
const SHORT: usize = 5;

/// See the module.
#[derive(Debug)]
pub struct Redactor {
    /// Names of what holds a secret, in lower case and without separators.
    names: Vec<Vec<u8>>,
    options: HashMap<Vec<u8>, Vec<Secretive>>,
    /// Which patterns a text has a match of.
    any: RegexSet,
    patterns: Vec<Regex>,
}

/// An option whose value is a secret.
#[derive(Clone, Debug)]
struct Secretive {
    option: Vec<u8>,
    form: Form,
    after: Option<u8>,
    /// It only means that after this argument.
    command: Option<Vec<u8>>,
    /// It only means that before the first argument that is no option.
    leading: bool,
}

impl Secretive {
    /// Where the value begins that an argument has attached to this option.
    fn value(&self, argument: &[u8]) -> Option<usize> {
        let value = argument.strip_prefix(&self.option[..])?;
        let first = *value.first()?;
        (self.form != Form::Next).then_some(self.option.len() + usize::from(first == b'='))
    }
}

/// Arguments without their secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redacted {
    /// As the kernel keeps them: one after the other, each ended by NUL.
    pub argv: Vec<u8>,
    /// How many secrets were cut out.
    pub count: u32,
}

impl Redactor {
    /// With the built-in list alone.
    ///
    /// # Panics
    /// Never: a test compiles it.
    #[must_use]
    pub fn built_in() -> Self {
        Self::new(&List::built_in(), "redact.yaml").expect("the built-in list is tested")
    }

    /// With the built-in list and the operator's, where there is one.
    ///
    /// # Errors
    /// When the file can't be read, or says something that is not understood.
    pub fn load(file: Option<&Path>) -> Result<Self, RedactError> {
        let (list, place) = List::load(file)?;
        Self::new(&list, &place)
    }

    fn new(list: &List, place: &str) -> Result<Self, RedactError> {
        let refused = |what: &str, reason: &str| RedactError {
            place: place.to_owned(),
            reason: format!("{what}: {reason}"),
        };
        let mut names = Vec::new();
        for name in &list.names {
            let plain = normalised(name.as_bytes());
            if plain.is_empty() || !plain.iter().all(u8::is_ascii_alphanumeric) {
                return Err(refused(name, "a name has letters and digits of ASCII"));
            }
            names.push(plain);
        }
        let mut options: HashMap<Vec<u8>, Vec<Secretive>> = HashMap::new();
        for option in &list.options {
            let after =
                match option.after {
                    None => None,
                    Some(after) => Some(u8::try_from(after).ok().filter(u8::is_ascii).ok_or_else(
                        || refused(&option.option, "`after` is one character of ASCII"),
                    )?),
                };
            if !option.option.starts_with('-') {
                return Err(refused(&option.option, "an option begins with `-`"));
            }
            for program in &option.programs {
                options
                    .entry(program.clone().into_bytes())
                    .or_default()
                    .push(Secretive {
                        option: option.option.clone().into_bytes(),
                        form: option.form,
                        after,
                        command: option.command.clone().map(String::into_bytes),
                        leading: option.leading,
                    });
            }
        }
        let of_names = in_text(&list.names).into_iter();
        let mut sources: Vec<(&str, String)> = of_names.map(|source| ("names", source)).collect();
        for pattern in &list.patterns {
            sources.push((&pattern.name, pattern.regex.clone()));
        }
        let mut patterns = Vec::new();
        for (name, source) in &sources {
            let pattern = RegexBuilder::new(source)
                .unicode(false)
                .size_limit(COMPILED)
                .build()
                .map_err(|error| refused(name, &error.to_string()))?;
            if pattern.is_match(b"") {
                return Err(refused(
                    name,
                    "it matches nothing at all, and so everywhere",
                ));
            }
            patterns.push(pattern);
        }
        let any = RegexSetBuilder::new(sources.iter().map(|(_, source)| source))
            .unicode(false)
            .size_limit(COMPILED)
            .build()
            .map_err(|error| refused("patterns", &error.to_string()))?;
        Ok(Self {
            names,
            options,
            any,
            patterns,
        })
    }

    /// Arguments, as the kernel keeps them, without their secrets; `None` where there are none. In the first, the program's
    /// name, only a text with spaces is looked at: some programs write there what they do.
    #[must_use]
    pub fn argv(&self, argv: &[u8]) -> Option<Redacted> {
        let mut arguments = argv.split(|byte| *byte == 0);
        let program = arguments.next()?;
        let mut all = self.options_of(program);
        let mut options = usable(all);
        let mut secrets = if program.contains(&b' ') {
            self.in_text(program)
        } else {
            Vec::new()
        };
        let mut before = Before::default();
        let mut start = program.len() + 1;
        for argument in arguments {
            // One program may run another one.
            if !argument.starts_with(b"-") && self.options.contains_key(base_name(argument)) {
                all = self.options_of(argument);
                options = usable(all);
            }
            options.extend(
                all.iter()
                    .filter(|option| option.command.as_deref() == Some(argument)),
            );
            let found = self.secrets(argument, &before, &options);
            secrets.extend(
                found
                    .into_iter()
                    .map(|secret| start + secret.start..start + secret.end),
            );
            if !argument.starts_with(b"-") && before.announced.is_none() {
                options.retain(|option| !option.leading);
            }
            before = Before {
                announced: self.announces(argument, &options),
                takes_script: is_script_option(argument),
            };
            start += argument.len() + 1;
        }
        cut(argv, &secrets)
    }

    /// The options of a program that hold secrets.
    fn options_of(&self, program: &[u8]) -> &[Secretive] {
        let options = self.options.get(base_name(program));
        options.map_or(&[], Vec::as_slice)
    }

    /// What an argument says of the one after it.
    fn announces(&self, argument: &[u8], options: &[&Secretive]) -> Option<Announced> {
        let option = options
            .iter()
            .find(|option| option.form != Form::Attached && option.option == argument);
        if let Some(option) = option {
            return Some(Announced {
                after: option.after,
            });
        }
        if options
            .iter()
            .any(|option| option.value(argument).is_some())
        {
            return None;
        }
        let name = argument.strip_prefix(b"-")?;
        let name = name.strip_prefix(b"-").unwrap_or(name);
        let takes_none = TAKES_NONE.iter().any(|word| name.starts_with(word));
        (!takes_none && is_word(name) && self.is_secretive(name))
            .then_some(Announced { after: None })
    }

    /// Where the secrets of an argument are, in order.
    fn secrets(
        &self,
        argument: &[u8],
        before: &Before,
        options: &[&Secretive],
    ) -> Vec<Range<usize>> {
        if before.takes_script {
            return self.in_text(argument);
        }
        if let Some(announced) = &before.announced
            && !argument.starts_with(b"-")
            && let Some(secret) = behind(argument, 0, announced.after)
        {
            return vec![secret];
        }
        // `NAME=X` and `--option=NAME=X`.
        let mut name_start = 0;
        for (equals, _) in argument
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'=')
            .take(2)
        {
            let name = &argument[name_start..equals];
            if is_word(name) && self.is_secretive(name) {
                return behind(argument, equals + 1, None).into_iter().collect();
            }
            name_start = equals + 1;
        }
        let attached = options
            .iter()
            .find_map(|option| Some((option.value(argument)?, option.after)));
        if let Some((start, after)) = attached {
            return behind(argument, start, after).into_iter().collect();
        }
        self.in_text(argument)
    }

    /// Where secrets are in a text, by names in it and by their look, in order. What a shell is to run in their place, `$(…)`,
    /// is none.
    fn in_text(&self, text: &[u8]) -> Vec<Range<usize>> {
        let mut secrets: Vec<Range<usize>> = self
            .any
            .matches(text)
            .into_iter()
            .filter_map(|index| self.patterns.get(index))
            .flat_map(|pattern| pattern.captures_iter(text))
            .filter_map(|found| found.name("secret").or_else(|| found.get(0)))
            .map(|found| found.range())
            .filter(|secret| !secret.is_empty() && !runs_something(&text[secret.clone()]))
            .collect();
        secrets.sort_by_key(|secret| secret.start);
        secrets.dedup_by(|next, before| {
            let overlaps = next.start < before.end;
            if overlaps {
                before.end = before.end.max(next.end);
            }
            overlaps
        });
        secrets
    }

    /// Whether a name is one of what holds a secret.
    fn is_secretive(&self, name: &[u8]) -> bool {
        let plain = normalised(name);
        let last_word = name.rsplit(|byte| is_separator(*byte)).next();
        let last_word = normalised(last_word.unwrap_or_default());
        self.names.iter().any(|wanted| {
            if wanted.len() < SHORT {
                last_word == *wanted
            } else {
                plain.ends_with(wanted)
            }
        })
    }
}

/// Those options that need no command before them.
fn usable(options: &[Secretive]) -> Vec<&Secretive> {
    let usable = options.iter().filter(|option| option.command.is_none());
    usable.collect()
}

/// Beginnings of options that take no value.
const TAKES_NONE: [&[u8]; 6] = [
    b"no-",
    b"ask-",
    b"disabled-",
    b"disable-",
    b"with-",
    b"without-",
];

/// What the argument before says of one.
#[derive(Default)]
struct Before {
    announced: Option<Announced>,
    /// It is a script of a shell.
    takes_script: bool,
}

/// Whether an option is `-c` of a shell, alone or with others.
fn is_script_option(argument: &[u8]) -> bool {
    argument.starts_with(b"-") && !argument.starts_with(b"--") && argument.ends_with(b"c")
}

/// Whether a shell would run something to make this text.
fn runs_something(text: &[u8]) -> bool {
    text.contains(&b'`') || text.windows(2).any(|two| two == b"$(")
}

/// The argument after is a secret, or what follows a character in it.
struct Announced {
    after: Option<u8>,
}

/// The end of an argument from `start` on, or what follows the first `after` in it; `None` for nothing.
fn behind(argument: &[u8], start: usize, after: Option<u8>) -> Option<Range<usize>> {
    let start = match after {
        None => start,
        Some(after) => {
            let value = argument.get(start..)?;
            start + value.iter().position(|byte| *byte == after)? + 1
        }
    };
    (start < argument.len()).then_some(start..argument.len())
}

/// Arguments with [`REDACTED`] in the place of what lies in `secrets`, which are in order; `None` without any.
fn cut(argv: &[u8], secrets: &[Range<usize>]) -> Option<Redacted> {
    if secrets.is_empty() {
        return None;
    }
    let mut out = Vec::with_capacity(argv.len());
    let mut at = 0;
    for secret in secrets {
        out.extend_from_slice(&argv[at..secret.start]);
        out.extend_from_slice(REDACTED);
        at = secret.end;
    }
    out.extend_from_slice(&argv[at..]);
    Some(Redacted {
        argv: out,
        count: u32::try_from(secrets.len()).unwrap_or(u32::MAX),
    })
}

/// Expressions for names in a text, such as a script for a shell, JSON or a header, with what follows them: `name=X`,
/// `"name": "X"`, `name: X` and `--name X`. None without names.
fn in_text(names: &[String]) -> Vec<String> {
    // A text that was cut may end in quotes.
    const QUOTED: &str = r#"\\"[^"\\]*\\?"|"(?:\\.|[^"\\])*(?:"|$)|'[^']*(?:'|$)"#;
    const PLAIN: &str = r#"[^\s"'&;,|)}]"#;
    let (short, long): (Vec<&String>, Vec<&String>) = names
        .iter()
        .partition(|name| normalised(name.as_bytes()).len() < SHORT);
    let any = |names: &[&String]| {
        let pattern = |name: &&String| {
            let words: Vec<String> = name.split('-').map(regex::escape).collect();
            words.join("[-_.]?")
        };
        names.iter().map(pattern).collect::<Vec<_>>().join("|")
    };
    // A short one must be a word.
    let either = |before_long: &str, before_short: &str| {
        let parts = [(before_long, any(&long)), (before_short, any(&short))];
        let parts = parts.into_iter().filter(|(_, names)| !names.is_empty());
        let parts: Vec<String> = parts
            .map(|(before, names)| format!("{before}(?:{names})"))
            .collect();
        parts.join("|")
    };
    let words = either("", "(?:^|[^A-Za-z0-9])");
    let options = either("[a-z0-9_.-]*", "(?:[a-z0-9_.-]*[-_.])?");
    if words.is_empty() {
        return Vec::new();
    }
    vec![
        format!(r#"(?i)(?:{words})=(?P<secret>{QUOTED}|{PLAIN}+)"#),
        format!(r#"(?i)(?:{words})\\?["']\s*(?::|=>?)\s*(?P<secret>{QUOTED}|{PLAIN}+)"#),
        format!(r#"(?i)(?:{words}):\s*(?P<secret>{PLAIN}+)"#),
        format!(r#"(?i)(?:^|\s)--?(?:{options})\s+(?P<secret>{QUOTED}|[^\s"'&;,|)}}-]{PLAIN}*)"#),
    ]
}

/// A name in lower case, without separators.
fn normalised(name: &[u8]) -> Vec<u8> {
    name.iter()
        .filter(|byte| !is_separator(**byte))
        .map(u8::to_ascii_lowercase)
        .collect()
}

fn is_separator(byte: u8) -> bool {
    matches!(byte, b'-' | b'_' | b'.')
}

/// Whether a text can be a name.
fn is_word(text: &[u8]) -> bool {
    text.iter()
        .all(|byte| byte.is_ascii_alphanumeric() || is_separator(*byte))
}

fn base_name(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests;
