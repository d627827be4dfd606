//! `watchkeeper policy explain`

use anyhow::bail;
use clap::Args;

use super::sources;
use crate::{
    cli::{
        client::Output,
        json, show,
        terminal::{Style, clean, styled},
    },
    policy::{condition::schema, set::RuleSet},
    proto::v1,
    serve::policies,
};

/// Explains a rule: what it means, how to triage it, what else causes it, and its condition
///
/// Needs no agent.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  watchkeeper policy explain shell.injected\n  watchkeeper policy explain shop.no-curl --policy policies/shop.yaml"
)]
pub(super) struct Arguments {
    /// The rule's id
    #[arg(value_name = "RULE")]
    rule: String,

    /// Policy files, or directories of them, beside the built-in ones
    #[arg(long, value_name = "FILE")]
    policy: Vec<std::path::PathBuf>,

    /// How to print it
    #[arg(long, short, value_name = "FORMAT", default_value = "table")]
    output: Output,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let loaded = sources(&arguments.policy).and_then(|sources| RuleSet::of(&sources));
    let set = match loaded {
        Ok(loaded) => loaded.set,
        Err(problems) => {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            bail!("reading the policies: {}", lines.join("; "));
        }
    };
    let Some(rule) = set.get(&arguments.rule) else {
        let known = set.rules().iter().map(|rule| rule.rule.id.clone());
        let hint = schema::nearest(&arguments.rule, known).map_or_else(
            || "; `watchkeeper policy list` shows all".to_owned(),
            |id| format!("; did you mean {id}?"),
        );
        bail!("there is no rule {}{hint}", arguments.rule);
    };
    let rule = policies::rule(rule);
    if arguments.output == Output::Json {
        return json::print("Rule", &rule);
    }
    show::print(&explanation(&rule))?;
    Ok(())
}

fn explanation(rule: &v1::Rule) -> String {
    let mut text = format!(
        "{}  {}\n{}\n",
        styled(&clean(&rule.id), Style::Bold),
        show::severity(rule.severity()).0,
        clean(&rule.title)
    );
    for attack in &rule.attack {
        text.push_str(&format!(
            "{} {} ({} {})\n",
            attack.technique_id, attack.technique, attack.tactic_id, attack.tactic
        ));
    }
    let mut section = |heading: &str, lines: Vec<String>| {
        text.push_str(&format!("\n{}\n", styled(heading, Style::Bold)));
        for line in lines {
            text.push_str(&format!("  {line}\n"));
        }
    };
    section("What it means", wrapped(&rule.description));
    section("Triage", wrapped(&rule.triage));
    section(
        "What else causes it",
        rule.benign
            .iter()
            .flat_map(|cause| {
                wrapped(cause).into_iter().enumerate().map(|(index, line)| {
                    if index == 0 {
                        format!("- {line}")
                    } else {
                        format!("  {line}")
                    }
                })
            })
            .collect(),
    );
    if let Some(score) = &rule.score {
        let mut parts: Vec<_> = score.of.iter().collect();
        parts.sort_by(|one, other| other.1.cmp(one.1).then(one.0.cmp(other.0)));
        let heading = format!(
            "Found when findings of these add up to {} within {} s",
            score.at_least, score.within_seconds
        );
        let lines = parts
            .iter()
            .map(|(rule, weight)| format!("{weight:>4}  {}", clean(rule)));
        section(&heading, lines.collect());
    } else if rule.detector.is_empty() {
        let heading = format!("Condition, on events {}", rule.events.join(", "));
        let lines = rule
            .condition
            .trim_end()
            .lines()
            .map(|line| clean(line).into_owned());
        section(&heading, lines.collect());
    } else {
        section(
            "Found by",
            vec![format!("the detector {} of the agent", rule.detector)],
        );
    }
    text.push_str(&format!("\nIn {}\n", clean(&rule.policy)));
    text
}

/// A text in lines of a readable length.
fn wrapped(text: &str) -> Vec<String> {
    const WIDTH: usize = 96;
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let Some(line) = lines.last_mut() else {
            continue;
        };
        if !line.is_empty() && line.len() + 1 + word.len() > WIDTH {
            lines.push(clean(word).into_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(&clean(word));
        }
    }
    lines
}
