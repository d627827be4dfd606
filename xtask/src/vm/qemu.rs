//! Boots a kernel in QEMU and reads its serial console up to the verdict that `/init` prints.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::accelerator::Accelerator;
use super::kernel::Kernel;
use super::tools::Tools;
use crate::command;

/// What became of a machine.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// `/init` printed `vm: success`.
    Success,
    /// `/init` said why not, or the machine ended without a word, or time ran out.
    Failure(String),
}

/// What a machine consists of.
pub(crate) struct Boot<'a> {
    pub(crate) tools: &'a Tools,
    pub(crate) accelerator: Accelerator,
    pub(crate) kernel: &'a Kernel,
    pub(crate) initramfs: &'a [u8],
    /// A file that is its disk.
    pub(crate) disk: Option<&'a Path>,
    /// Where its console goes.
    pub(crate) log: &'a Path,
    /// How long it may take.
    pub(crate) limit: Duration,
}

/// Boots a machine and waits for its verdict. `progress` gets what `/init` says before that. The machine is gone when this returns,
/// as if somebody had pulled the plug.
pub(crate) fn boot(machine: &Boot<'_>, progress: &mut dyn FnMut(&str)) -> Result<Outcome> {
    let Boot {
        tools,
        accelerator,
        kernel,
        initramfs,
        disk,
        log,
        limit,
    } = *machine;
    let mut console =
        File::create(log).with_context(|| format!("could not write {}", log.display()))?;
    let archive = log.with_extension("cpio");
    fs::write(&archive, initramfs)
        .with_context(|| format!("could not write {}", archive.display()))?;
    let _archive = Removed(archive.clone());
    let mut qemu = tools.qemu()?;
    qemu.args(accelerator.arguments()).args([
        "-smp",
        "2",
        "-m",
        "2048",
        "-nodefaults",
        "-no-user-config",
    ]);
    qemu.args([
        "-display",
        "none",
        "-monitor",
        "none",
        "-serial",
        "stdio",
        "-no-reboot",
    ]);
    qemu.arg("-kernel")
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(&archive);
    qemu.args([
        "-append",
        "console=ttyS0 panic=-1 loglevel=4 lsm=lockdown,yama,selinux,bpf",
    ]);
    if let Some(disk) = disk {
        let drive = format!("file={},if=virtio,format=raw", disk.display());
        qemu.args(["-drive", &drive]);
    }
    qemu.stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    writeln!(console, "{}", command::line(&qemu)).context("could not write the log")?;
    let mut machine = Machine(
        qemu.spawn()
            .with_context(|| format!("could not start {}", command::line(&qemu)))?,
    );
    let deadline = Instant::now() + limit;
    let lines = machine.lines();
    loop {
        let line = match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => {
                return Ok(Outcome::Failure(format!(
                    "no verdict within {} s",
                    limit.as_secs()
                )));
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Ok(Outcome::Failure(
                    "the machine ended without a verdict".to_owned(),
                ));
            }
        };
        writeln!(console, "{line}").context("could not write the log")?;
        match message(&line) {
            Some(Message::Verdict(outcome)) => return Ok(outcome),
            Some(Message::Progress(text)) => progress(text),
            // After the second QEMU would stand still until the time is up.
            None if line.contains("Kernel panic") || line.contains("KVM internal error") => {
                return Ok(Outcome::Failure(line.trim().to_owned()));
            }
            None => {}
        }
    }
}

/// A running QEMU; dropping it ends it.
struct Machine(Child);

impl Machine {
    /// Lines of the console and of QEMU's own complaints, as they come, until both are closed.
    fn lines(&mut self) -> mpsc::Receiver<String> {
        let (sender, receiver) = mpsc::channel();
        let streams: [Option<Box<dyn std::io::Read + Send>>; 2] = [
            self.0
                .stdout
                .take()
                .map(|stream| Box::new(stream) as Box<_>),
            self.0
                .stderr
                .take()
                .map(|stream| Box::new(stream) as Box<_>),
        ];
        for stream in streams.into_iter().flatten() {
            let sender = sender.clone();
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream);
                let mut bytes = Vec::new();
                while reader
                    .read_until(b'\n', &mut bytes)
                    .is_ok_and(|count| count > 0)
                {
                    let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
                    if sender.send(line).is_err() {
                        return;
                    }
                    bytes.clear();
                }
            });
        }
        receiver
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is collected.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A file that goes when this does.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        // What can't be removed only takes room in the build directory.
        let _ = fs::remove_file(&self.0);
    }
}

#[derive(PartialEq, Eq, Debug)]
enum Message<'a> {
    Verdict(Outcome),
    Progress(&'a str),
}

/// What a line of the console says to the harness.
fn message(line: &str) -> Option<Message<'_>> {
    let text = line.strip_prefix("vm: ")?;
    Some(match text.split_once(": ") {
        Some(("failure", why)) => Message::Verdict(Outcome::Failure(why.to_owned())),
        _ if text == "success" => Message::Verdict(Outcome::Success),
        _ => Message::Progress(text),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_console() {
        let failure = Outcome::Failure("no alert: x".to_owned());
        for (line, expected) in [
            ("vm: success", Some(Message::Verdict(Outcome::Success))),
            ("vm: failure: no alert: x", Some(Message::Verdict(failure))),
            (
                "vm: alert shell.injected",
                Some(Message::Progress("alert shell.injected")),
            ),
            ("[    1.0] kvm: success", None),
            ("agent: vm: success", None),
            ("success", None),
        ] {
            assert_eq!(message(line), expected, "{line:?}");
        }
    }
}
