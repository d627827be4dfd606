//! Running other programs: output streams through, and an error names the step, the command and the way on.

use std::ffi::OsStr;
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context as _, Result, bail};

/// Runs `command` with its output on ours. `doing` completes "could not …".
pub(crate) fn run(command: &mut Command, doing: &str) -> Result<()> {
    let status = status(command, doing)?;
    if !status.success() {
        bail!(
            "could not {doing}: the command ended with {status}\n  run it by hand to look into it: {}",
            line(command)
        );
    }
    Ok(())
}

/// Like [`run`], but a failing command is an answer too. An error means that it could not be started.
pub(crate) fn status(command: &mut Command, doing: &str) -> Result<ExitStatus> {
    command
        .status()
        .with_context(|| format!("could not {doing}: `{}` did not start", line(command)))
}

/// Runs `command` and returns what it wrote on its standard output; its standard error is part of the error.
pub(crate) fn output(command: &mut Command, doing: &str) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("could not {doing}: `{}` did not start", line(command)))?;
    if !output.status.success() {
        bail!(
            "could not {doing}: `{}` ended with {}\n  {}",
            line(command),
            output.status,
            String::from_utf8_lossy(&output.stderr)
                .trim_end()
                .replace('\n', "\n  ")
        );
    }
    String::from_utf8(output.stdout).with_context(|| {
        format!(
            "could not {doing}: the output of `{}` is not UTF-8",
            line(command)
        )
    })
}

/// The command as a line for a shell: what was set in its environment, then the program and its arguments.
pub(crate) fn line(command: &Command) -> String {
    let variables = command
        .get_envs()
        .filter_map(|(name, value)| Some(format!("{}={}", name.to_string_lossy(), quote(value?))));
    let words = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(quote);
    variables.chain(words).collect::<Vec<_>>().join(" ")
}

fn quote(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+.,:/@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Whether a program of this name is on the PATH.
pub(crate) fn exists(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
    })
}

/// Whether this process runs as root.
pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// `program` as root: itself when we are, through `sudo` when there is one, or `None`.
/// Without a terminal `sudo` may not ask, so that a run in CI ends instead of hanging.
pub(crate) fn as_root(program: impl AsRef<OsStr>) -> Option<Command> {
    if is_root() {
        return Some(Command::new(program));
    }
    if !exists("sudo") {
        return None;
    }
    let mut sudo = Command::new("sudo");
    if !std::io::IsTerminal::is_terminal(&std::io::stdin()) {
        sudo.arg("--non-interactive");
    }
    sudo.arg("--").arg(program);
    Some(sudo)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_can_be_pasted_into_a_shell() {
        let mut command = Command::new("apt-get");
        command
            .env("A", "b c")
            .args(["install", "it's", "", "--x=1.2"]);
        assert_eq!(
            line(&command),
            r"A='b c' apt-get install 'it'\''s' '' --x=1.2"
        );
    }

    #[test]
    fn a_failing_command_is_named_with_what_it_was_for() {
        let error = run(Command::new("false").arg("x"), "do a thing").expect_err("false fails");
        let text = error.to_string();
        assert!(
            text.contains("could not do a thing")
                && text.contains("by hand")
                && text.ends_with("false x"),
            "{text}"
        );
    }
}
