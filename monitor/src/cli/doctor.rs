//! `watchkeeper doctor`

use clap::Args;

use super::{
    show,
    terminal::{Style, clean, styled},
};
use crate::{
    configuration::value::RuntimeSocket,
    container::cri::Socket,
    kernel::probe::{self, Finding, Outcome},
};

/// Tells whether the agent would work here: what the kernel offers, which hook each signal uses, what is missing and
/// how to get it
///
/// Ends with code 0 only if the agent would work.
#[derive(Args)]
#[command(after_help = "Example:\n  sudo watchkeeper doctor")]
pub(super) struct Arguments {
    /// Socket of the container runtime to try; `auto` takes the first usual one
    #[arg(
        long,
        value_name = "PATH|auto|none",
        env = "WATCHKEEPER_CRI_SOCKET",
        default_value = "auto"
    )]
    cri_socket: RuntimeSocket,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    let mut findings = probe::all();
    findings.push(runtime(&arguments.cri_socket.0)?);
    let mut text = String::new();
    for finding in &findings {
        let (word, style, detail) = match &finding.outcome {
            Outcome::Present(detail) => ("yes", Style::Good, detail.clone()),
            Outcome::Absent { why } => ("no", Style::Dim, why.clone()),
            Outcome::Missing { why, remedy } => {
                ("MISSING", Style::Bad, format!("{why} → {remedy}"))
            }
            Outcome::Unknown { why } => ("unknown", Style::Warning, why.clone()),
        };
        let padding = " ".repeat(9_usize.saturating_sub(word.len()));
        text.push_str(&format!(
            "{:<26}{}{padding}{}\n",
            finding.name,
            styled(word, style),
            clean(&detail)
        ));
    }
    let works = probe::works(&findings);
    text.push_str(if works {
        "\nThe agent works here.\n"
    } else {
        "\nThe agent does not work here: see MISSING above.\n"
    });
    show::print(&text)?;
    Ok(works)
}

/// Whether pods and images will have names.
fn runtime(socket: &Socket) -> anyhow::Result<Finding> {
    let outcome = match super::client::block_on(async { Ok(socket.connect().await) })? {
        Ok((path, cri)) => Outcome::Present(format!("{} at {}", cri.version, path.display())),
        Err((_, reason)) => Outcome::Absent {
            why: format!("Kubernetes containers will have no names: {reason}"),
        },
    };
    Ok(Finding {
        name: "container runtime (CRI)".to_owned(),
        outcome,
    })
}
