//! `watchkeeper policy`: writing, testing and understanding policies.

mod dry_run;
mod explain;
mod list;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::json;

use super::{
    client::Output,
    json, show,
    terminal::{Style, clean, styled},
};
use crate::{
    policy::{
        case::{self, Outcome},
        condition::schema,
        file::PolicyFile,
        set::{Loaded, RuleSet},
        source::{self, Source},
    },
    problem::Problem,
    proto::v1,
};

/// Checks, tests and shows policies
#[derive(Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Checks policy files: form, names, types, and conditions that can never hold
    ///
    /// Needs no agent. Ends with code 0 when all is right, 1 when something is wrong, 2 when it was called wrongly.
    #[command(
        after_help = "Examples:\n  watchkeeper policy check policies/*.yaml\n  watchkeeper policy check -o json policies/"
    )]
    Check(Files),
    /// Runs the cases that rules carry: events that must be found, and events that must not
    ///
    /// Needs no agent. Without files, the cases of the built-in rules. Ends with code 0 when all go as they should.
    #[command(
        after_help = "Examples:\n  watchkeeper policy test policies/shop.yaml\n  watchkeeper policy test -o json"
    )]
    Test(TestFiles),
    DryRun(dry_run::Arguments),
    List(list::Arguments),
    Explain(explain::Arguments),
    /// Lists the fields that conditions can use, with their types and the events that have them
    #[command(
        after_help = "Examples:\n  watchkeeper policy fields\n  watchkeeper policy fields file_open"
    )]
    Fields {
        /// Only fields whose name has this in it
        #[arg(value_name = "TEXT", default_value = "")]
        text: String,
    },
    /// Prints the JSON Schema of policy files, for editors
    #[command(after_help = "Example:\n  watchkeeper policy schema > policy.schema.json")]
    Schema,
}

/// Policies to look at.
#[derive(Args)]
struct Files {
    /// Policy files, or directories of them
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// How to print what is found
    #[arg(long, short, value_name = "FORMAT", default_value = "table")]
    output: Output,
}

/// Policies whose cases to run.
#[derive(Args)]
struct TestFiles {
    /// Policy files, or directories of them; the built-in policies when none is given
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,

    /// How to print what is found
    #[arg(long, short, value_name = "FORMAT", default_value = "table")]
    output: Output,
}

/// `false` where something is wrong that was looked for.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    match &arguments.command {
        Command::Check(files) => check(files),
        Command::Test(files) => test(files),
        Command::DryRun(arguments) => dry_run::run(arguments).map(|()| true),
        Command::List(arguments) => list::run(arguments).map(|()| true),
        Command::Explain(arguments) => explain::run(arguments).map(|()| true),
        Command::Fields { text } => fields(text).map(|()| true),
        Command::Schema => schema_of_files().map(|()| true),
    }
}

/// The policies of files, and of directories.
fn sources(paths: &[PathBuf]) -> Result<Vec<Source>, Vec<Problem>> {
    let mut sources = Vec::new();
    for path in paths {
        let found = if path.is_dir() {
            source::of_directory(path)?
        } else {
            source::of_files(std::slice::from_ref(path))?
        };
        sources.extend(found);
    }
    Ok(sources)
}

fn check(arguments: &Files) -> anyhow::Result<bool> {
    let found = sources(&arguments.files).and_then(|sources| {
        let count = sources.len();
        RuleSet::of(&sources).map(|loaded| (count, loaded))
    });
    match found {
        Ok((count, loaded)) => {
            let (rules, exceptions) = own(&loaded);
            if arguments.output == Output::Json {
                show::print(&format!(
                    "{}\n",
                    json!({"valid": true, "files": count, "rules": rules, "exceptions": exceptions, "problems": []})
                ))?;
            } else {
                show::print(&format!(
                    "{} {}, {}, {}\n",
                    styled("valid:", Style::Good),
                    show::count(count, "file"),
                    show::count(rules, "rule"),
                    show::count(exceptions, "exception"),
                ))?;
            }
            Ok(true)
        }
        Err(problems) => {
            report(&problems, arguments.output)?;
            Ok(false)
        }
    }
}

fn report(problems: &[Problem], output: Output) -> anyhow::Result<()> {
    let mut text = String::new();
    if output == Output::Json {
        let all: Vec<_> = problems.iter().map(json::problem).collect();
        text = format!("{}\n", json!({"valid": false, "problems": all}));
    } else {
        for problem in problems {
            text.push_str(&clean(&problem.to_string()));
            text.push('\n');
        }
        text.push_str(&format!(
            "{}\n",
            styled(&show::count(problems.len(), "problem"), Style::Bad)
        ));
    }
    show::print(&text)?;
    Ok(())
}

/// How many rules and exceptions are the operator's.
fn own(loaded: &Loaded) -> (usize, usize) {
    let built_in = source::built_in();
    let is_own = |policy: &str| built_in.iter().all(|source| source.name != policy);
    let rules = loaded
        .set
        .rules()
        .iter()
        .filter(|rule| is_own(&rule.rule.policy));
    let exceptions = loaded.set.exceptions().iter();
    (
        rules.count(),
        exceptions
            .filter(|exception| is_own(&exception.policy))
            .count(),
    )
}

fn test(arguments: &TestFiles) -> anyhow::Result<bool> {
    let loaded = match sources(&arguments.files).and_then(|sources| RuleSet::of(&sources)) {
        Ok(loaded) => loaded,
        Err(problems) => {
            report(&problems, arguments.output)?;
            return Ok(false);
        }
    };
    let built_in = source::built_in();
    let is_wanted = |file: &str| {
        arguments.files.is_empty() || built_in.iter().all(|source| source.name != file)
    };
    let mut text = String::new();
    let (mut passed, mut failed) = (0, 0);
    for case in loaded
        .cases
        .iter()
        .filter(|case| is_wanted(&case.place.file))
    {
        let outcome = case::run(case, &loaded.set);
        let why = match &outcome {
            Outcome::Failed(why) => why.as_str(),
            Outcome::Passed | Outcome::Off => "",
        };
        let word = match outcome {
            Outcome::Passed => "passed",
            Outcome::Failed(_) => "failed",
            Outcome::Off => "off",
        };
        match outcome {
            Outcome::Passed => passed += 1,
            Outcome::Failed(_) => failed += 1,
            Outcome::Off => {}
        }
        if arguments.output == Output::Json {
            text.push_str(&format!(
                "{}\n",
                json!({"rule": case.rule, "case": case.name, "outcome": word, "reason": why,
                       "file": case.place.file, "line": case.place.line})
            ));
        } else if !matches!(outcome, Outcome::Passed) {
            let mut place = case.place.clone();
            place.message = format!("{}: {}: {word} {why}", case.rule, case.name);
            text.push_str(clean(place.to_string().trim_end()).as_ref());
            text.push('\n');
        }
    }
    if arguments.output == Output::Table {
        let style = if failed == 0 { Style::Good } else { Style::Bad };
        let verdict = format!("{passed} passed, {failed} failed");
        text.push_str(&format!("{}\n", styled(&verdict, style)));
        if passed + failed == 0 {
            text.push_str("no rule of these files has cases\n");
        }
    }
    show::print(&text)?;
    Ok(failed == 0)
}

fn fields(wanted: &str) -> anyhow::Result<()> {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::NOTHING);
    table.set_content_arrangement(comfy_table::ContentArrangement::Dynamic);
    table.set_header(["FIELD", "TYPE", "EVENTS", "MEANING"]);
    let mut count = 0;
    for field in schema::all() {
        if !field.path.contains(wanted) {
            continue;
        }
        count += 1;
        let events = if field.events.is_empty() {
            "all".to_owned()
        } else {
            field.events.join(", ")
        };
        let values: Vec<String> = field
            .values
            .iter()
            .map(|value| format!("{value:?}"))
            .collect();
        let meaning = if values.is_empty() || field.path == "kind" {
            field.comment.to_owned()
        } else {
            format!("{} One of {}.", field.comment, values.join(", "))
        };
        table.add_row([field.path.as_str(), field.kind.name(), &events, &meaning]);
    }
    if count == 0 {
        anyhow::bail!("no field has `{wanted}` in its name; `watchkeeper policy fields` lists all");
    }
    show::print(&format!("{table}\n"))?;
    Ok(())
}

fn schema_of_files() -> anyhow::Result<()> {
    show::print(&json::schema::<PolicyFile>())?;
    Ok(())
}

/// The policies of files as requests carry them, with the lists that they name.
fn messages(paths: &[PathBuf]) -> anyhow::Result<Vec<v1::PolicyFile>> {
    let sources = sources(paths).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("{}", lines.join("; "))
    })?;
    sources
        .into_iter()
        .map(|source| {
            let mut lists = BTreeMap::new();
            if let Ok(file) = source.parse() {
                for name in file.list_files() {
                    let directory = Path::new(&source.name).parent().unwrap_or(Path::new(""));
                    let path = directory.join(name);
                    let text = fs::read_to_string(&path)
                        .with_context(|| format!("reading the list {}", path.display()))?;
                    lists.insert(name.to_owned(), text);
                }
            }
            Ok(v1::PolicyFile {
                name: source.name,
                text: source.text,
                lists: lists.into_iter().collect(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_that_is_shipped_is_that_of_the_code() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies/policy.schema.json");
        let shipped = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            shipped == json::schema::<PolicyFile>(),
            "{} is out of date: write it with `watchkeeper policy schema`",
            path.display()
        );
    }
}
