//! The agent's seccomp profile: what it calls while it does everything that it does, and what else has to be allowed.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;

use crate::toolchain::Toolchain;
use crate::{command, packages, paths, programs};

/// Where the profile is, from the workspace's root.
pub(crate) const PROFILE: &str = "deploy/seccomp/agent.json";

/// What is allowed whether it was seen or not: what runtimes call after the profile is in force and before the agent runs, what
/// ends a process or goes on after a signal, what the C library and the kernel's vDSO fall back to, and the younger or older
/// name of what was seen.
const ALWAYS: &[&str] = &[
    "access",
    "arch_prctl",
    "brk",
    "capget",
    "capset",
    "chdir",
    "clock_getres",
    "clock_gettime",
    "clock_nanosleep",
    "clone",
    "clone3",
    "close",
    "close_range",
    "dup",
    "dup2",
    "dup3",
    "execve",
    "exit",
    "exit_group",
    "faccessat",
    "faccessat2",
    "fallocate",
    "fchdir",
    "fchmod",
    "fchmodat",
    "fcntl",
    "fdatasync",
    "fstat",
    "fstatfs",
    "futex",
    "getcwd",
    "getegid",
    "geteuid",
    "getgid",
    "getpgrp",
    "getppid",
    "getrlimit",
    "getsockopt",
    "gettid",
    "gettimeofday",
    "getuid",
    "kill",
    "lstat",
    "madvise",
    "membarrier",
    "mkdirat",
    "mremap",
    "msync",
    "nanosleep",
    "open",
    "openat",
    "openat2",
    "pipe",
    "pipe2",
    "poll",
    "ppoll",
    "prctl",
    "pread64",
    "prlimit64",
    "pselect6",
    "pwrite64",
    "readlink",
    "readlinkat",
    "recvmsg",
    "rename",
    "renameat",
    "renameat2",
    "restart_syscall",
    "rmdir",
    "rseq",
    "rt_sigaction",
    "rt_sigpending",
    "rt_sigprocmask",
    "rt_sigreturn",
    "rt_sigtimedwait",
    "sched_getaffinity",
    "sched_yield",
    "sendmsg",
    "set_robust_list",
    "set_tid_address",
    "setgid",
    "setgroups",
    "setns",
    "setrlimit",
    "setuid",
    "sigaltstack",
    "stat",
    "statfs",
    "statx",
    "sysinfo",
    "tgkill",
    "time",
    "umask",
    "uname",
    "unlinkat",
    "utimensat",
    "vfork",
    "wait4",
    "waitid",
    "write",
    "writev",
];

/// How long the agent may take to get ready when each of its calls is traced.
const LIMIT: Duration = Duration::from_secs(120);

const PURPOSE: &str = "see what the agent calls";

/// Traces the agent, and writes the profile.
pub(crate) fn run() -> Result<()> {
    let seen = trace()?;
    let always = ALWAYS.iter().map(|name| (*name).to_owned());
    let names: BTreeSet<String> = seen.iter().cloned().chain(always).collect();
    let profile = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "archMap": [
            {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": []},
            {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": []},
        ],
        "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"}],
    });
    let path = paths::repository().join(PROFILE);
    let text = serde_json::to_string_pretty(&profile)? + "\n";
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)
            .with_context(|| format!("could not make {}", directory.display()))?;
    }
    fs::write(&path, text).with_context(|| format!("could not write {}", path.display()))?;
    println!(
        "{}: {} system calls, of which {} were seen",
        path.display(),
        names.len(),
        seen.len()
    );
    Ok(())
}

/// Names of the system calls of an agent that starts, is asked everything, follows changes of its files, and ends.
fn trace() -> Result<BTreeSet<String>> {
    ensure!(
        command::is_root(),
        "loading eBPF programs takes root; run it with sudo"
    );
    packages::ensure(&["strace"], PURPOSE)?;
    let toolchain = Toolchain::ensure()?;
    let (agent, actor) = (programs::agent(&toolchain)?, programs::actor(&toolchain)?);
    let directory = paths::target().join("seccomp");
    if directory.exists() {
        fs::remove_dir_all(&directory)
            .with_context(|| format!("could not remove {}", directory.display()))?;
    }
    let policies = directory.join("policies");
    fs::create_dir_all(&policies)
        .with_context(|| format!("could not make {}", policies.display()))?;
    let traced = directory.join("calls");
    let mut running = Running::start(&agent, &directory, &policies, &traced)?;
    running.ready()?;
    command::run(Command::new(actor).arg("demo"), "play a container")?;
    let socket = directory.join("state/watchkeeper.sock");
    let export = directory.join("export.sqlite").display().to_string();
    for arguments in [
        &["status"][..],
        &["status", "--programs"],
        &["containers", "--ended"],
        &["containers", "--isolation"],
        &["alerts"],
        &["events"],
        &["timeline", "--since", "1h"],
        &["sql", "SELECT count(*) FROM executions"],
        &["export", "-o", &export],
        &["policy", "list"],
    ] {
        let mut client = Command::new(&agent);
        client.args(arguments).env("WATCHKEEPER_SOCKET", &socket);
        command::output(&mut client, "ask the agent")?;
    }
    // A file that is no policy, and the list of watched files again.
    fs::write(policies.join("wrong.yaml"), "x").context("could not write a policy")?;
    running.signal("HUP")?;
    // A heartbeat, a look at the files of policies, and one at the ceilings of history.
    thread::sleep(Duration::from_secs(8));
    running.signal("TERM")?;
    running.end()?;
    let text = fs::read_to_string(&traced)
        .with_context(|| format!("could not read {}", traced.display()))?;
    Ok(text.lines().filter_map(call).map(str::to_owned).collect())
}

/// The call of a line: `PID name(…`.
fn call(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once(' ')?;
    let (name, _) = rest.trim_start().split_once('(')?;
    let is_name = |character: char| {
        character.is_ascii_lowercase() || character.is_ascii_digit() || character == '_'
    };
    (!name.is_empty() && name.chars().all(is_name)).then_some(name)
}

/// The agent under strace.
struct Running {
    strace: Child,
    log: PathBuf,
}

impl Running {
    fn start(agent: &Path, directory: &Path, policies: &Path, traced: &Path) -> Result<Self> {
        let log = directory.join("log");
        let out =
            File::create(&log).with_context(|| format!("could not make {}", log.display()))?;
        let strace = Command::new("strace")
            .args(["--follow-forks", "--quiet=all", "--output"])
            .arg(traced)
            .arg(agent)
            .arg("agent")
            .arg("--state-dir")
            .arg(directory.join("state"))
            .arg("--history-dir")
            .arg(directory.join("history"))
            .arg("--policy-dir")
            .arg(policies)
            .args(["--metrics-listen", "127.0.0.1:0"])
            .args(["--health-listen", "[::]:0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(out)
            .spawn()
            .context("could not run strace")?;
        Ok(Self { strace, log })
    }

    fn ready(&mut self) -> Result<()> {
        let start = Instant::now();
        while start.elapsed() < LIMIT {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            if log.contains("the node is watched") {
                return Ok(());
            }
            if let Some(status) = self
                .strace
                .try_wait()
                .context("could not look after strace")?
            {
                bail!("the agent ended with {status}: {log}");
            }
            thread::sleep(Duration::from_millis(100));
        }
        bail!("the agent was not ready within {} s", LIMIT.as_secs())
    }

    /// Sends a signal to the agent, which is strace's child.
    fn signal(&self, name: &str) -> Result<()> {
        let mut pkill = Command::new("pkill");
        pkill.args([
            &format!("-{name}"),
            "--parent",
            &self.strace.id().to_string(),
        ]);
        command::run(&mut pkill, "send the agent a signal")
    }

    fn end(&mut self) -> Result<()> {
        let status = self.strace.wait().context("could not wait for strace")?;
        ensure!(status.success(), "the agent ended with {status}");
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Nothing is left where something failed on the way.
        if matches!(self.strace.try_wait(), Ok(None)) {
            let _ = self.signal("TERM");
            let _ = self.strace.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_read_from_a_trace() {
        for (line, expected) in [
            (
                "12345 openat(AT_FDCWD, \"/x\", O_RDONLY) = 3",
                Some("openat"),
            ),
            ("12    pread64(3, \"(\", 1, 0) = 1", Some("pread64")),
            ("12345 <... futex resumed>) = 0", None),
            ("12345 +++ exited with 0 +++", None),
            ("12345 --- SIGTERM {si_signo=SIGTERM} ---", None),
        ] {
            assert_eq!(call(line), expected, "{line}");
        }
    }
}
