//! `watchkeeper config`: what the agent is told, checked and shown.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{client::Output, json, show, terminal::clean};
use crate::configuration::{
    Settings,
    file::{self, USUAL},
};

/// Checks and shows the configuration of the agent
#[derive(Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Checks a configuration file
    ///
    /// Needs no agent. Ends with code 0 when it is right, 1 when something is wrong, 2 when it was called wrongly.
    #[command(
        after_help = "Examples:\n  watchkeeper config check deploy/config.yaml\n  watchkeeper config check -o json"
    )]
    Check {
        /// The file
        #[arg(value_name = "FILE", default_value = USUAL)]
        file: PathBuf,

        /// How to print what is found
        #[arg(long, short, value_name = "FORMAT", default_value = "table")]
        output: Output,
    },
    /// Prints what a configuration file says
    #[command(
        after_help = "Examples:\n  watchkeeper config show\n  watchkeeper config show --effective --history-size 4GiB"
    )]
    Show(Box<Show>),
    /// Prints the JSON Schema of configuration files, for editors
    #[command(after_help = "Example:\n  watchkeeper config schema > config.schema.json")]
    Schema,
}

/// What to show.
#[derive(Args)]
struct Show {
    /// Configuration file [default: /etc/watchkeeper/config.yaml, where it exists]
    #[arg(long, value_name = "FILE", env = "WATCHKEEPER_CONFIG")]
    config: Option<PathBuf>,

    /// All that an agent would run by that is started with the same options and environment, and where each value is from
    #[arg(long)]
    effective: bool,

    #[command(flatten)]
    settings: Settings,
}

/// `false` where something is wrong that was looked for.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    match &arguments.command {
        Command::Check { file, output } => check(file, *output),
        Command::Show(shown) => {
            show::print(&text_of(shown)?)?;
            Ok(true)
        }
        Command::Schema => {
            show::print(&json::schema::<Settings>())?;
            Ok(true)
        }
    }
}

fn check(path: &Path, output: Output) -> anyhow::Result<bool> {
    let problem = file::read(path).err();
    match output {
        Output::Table => match &problem {
            None => show::print(&format!("{}: right\n", path.display()))?,
            Some(problem) => eprintln!("{}", clean(&problem.to_string())),
        },
        Output::Json => {
            let problems: Vec<Value> = problem.iter().map(json::problem).collect();
            let valid = problems.is_empty();
            show::print(&format!(
                "{}\n",
                json!({"valid": valid, "problems": problems})
            ))?;
        }
    }
    Ok(problem.is_none())
}

fn text_of(shown: &Show) -> anyhow::Result<String> {
    let in_file =
        file::find(shown.config.as_deref()).map_err(|problem| anyhow::anyhow!("{problem}"))?;
    let path = shown.config.as_deref().unwrap_or(Path::new(USUAL));
    if !shown.effective {
        let settings = in_file.ok_or_else(|| {
            anyhow::anyhow!(
                "showing the configuration: there is no {}; name a file with --config, or ask for what is in force with --effective",
                path.display()
            )
        })?;
        return Ok(yaml(&settings.as_json(), &|_| ""));
    }
    let in_file = in_file.unwrap_or_default();
    let said = shown.settings.over(&in_file);
    let (line, file) = (shown.settings.as_json(), in_file.as_json());
    let all = said.over(&said.usual()).as_json();
    Ok(yaml(&all, &|pointer| {
        if line.pointer(pointer).is_some() {
            "from the command line or the environment"
        } else if file.pointer(pointer).is_some() {
            "from the file"
        } else {
            "as usual"
        }
    }))
}

/// Settings as YAML; `remark` says something of each value, by its JSON pointer.
fn yaml(settings: &Value, remark: &dyn Fn(&str) -> &'static str) -> String {
    let mut lines = Vec::new();
    add(settings, 0, "", remark, &mut lines);
    let width = lines.iter().map(|(line, _)| line.chars().count()).max();
    let mut text = String::new();
    for (line, remark) in &lines {
        let gap = width.unwrap_or(0) - line.chars().count();
        // Writing to a string does not fail.
        let _ = match *remark {
            "" => writeln!(text, "{line}"),
            remark => writeln!(text, "{line}{}  # {remark}", " ".repeat(gap)),
        };
    }
    text
}

/// Adds the lines of an object. What is in it besides objects is written as JSON, which YAML takes.
fn add(
    object: &Value,
    depth: usize,
    pointer: &str,
    remark: &dyn Fn(&str) -> &'static str,
    lines: &mut Vec<(String, &'static str)>,
) {
    let indent = "  ".repeat(depth);
    for (name, value) in object.as_object().into_iter().flatten() {
        let pointer = format!("{pointer}/{name}");
        if value.is_object() {
            lines.push((format!("{indent}{name}:"), ""));
            add(value, depth + 1, &pointer, remark, lines);
        } else {
            lines.push((format!("{indent}{name}: {value}"), remark(&pointer)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_that_is_shipped_is_that_of_the_code() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config.schema.json");
        let shipped = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            shipped == json::schema::<Settings>(),
            "{} is out of date: write it with `watchkeeper config schema`",
            path.display()
        );
    }

    #[test]
    fn what_is_shown_is_a_file_again() {
        let settings = Settings {
            node_name: Some("a \"b\": c".to_owned()),
            ..Settings::default()
        };
        let all = settings.over(&settings.usual());
        let text = yaml(&all.as_json(), &|_| "so");
        let again: Settings = serde_saphyr::from_str(&text).expect("it is YAML");
        assert_eq!(again, all, "{text}");
        assert!(
            text.lines()
                .all(|line| line.ends_with(':') || line.ends_with("# so"))
        );
    }
}
