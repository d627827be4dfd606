//! An agent under test, and the command line as a user has it.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{LIMIT, command, eventually, sensors};

/// The release binary: `WATCHKEEPER_BIN`, or the workspace's.
pub(crate) fn binary() -> PathBuf {
    let path = env::var_os("WATCHKEEPER_BIN").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release/watchkeeper"),
        PathBuf::from,
    );
    assert!(
        path.is_file(),
        "{} is not there: build it with `cargo build --release`, or name another in WATCHKEEPER_BIN",
        path.display()
    );
    path
}

/// The binary without the environment's choice of a socket.
pub(crate) fn watchkeeper() -> Command {
    let mut command = Command::new(binary());
    command.env_remove("WATCHKEEPER_SOCKET");
    command
}

/// A running agent. Dropping it stops it; when the test failed, its log is printed.
pub(crate) struct Agent {
    child: Child,
    state: StateDir,
    log: Log,
}

/// Where an agent keeps what it writes.
enum StateDir {
    Own(TempDir),
    Given(PathBuf),
}

impl Agent {
    /// Starts an agent with the sensors of processes and cgroups, which is what most tests are about; the others take seconds
    /// to detach. A state directory of its own, and no CRI unless `arguments` say otherwise. Returns once it says that it
    /// is ready.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut all = arguments.to_vec();
        for sensor in sensors::OF_SYSTEM_CALLS {
            if !arguments.contains(&sensor) {
                all.extend(["--disable-sensor", sensor]);
            }
        }
        Self::full(&all)
    }

    /// The same with every sensor.
    pub(crate) fn full(arguments: &[&str]) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("watchkeeper-state-")
            .tempdir()
            .expect("a temporary directory can be made");
        Self::launch(watchkeeper(), StateDir::Own(directory), arguments)
    }

    /// The same with a state directory that the caller has.
    pub(crate) fn start_in(directory: &Path, arguments: &[&str]) -> Self {
        Self::launch(
            watchkeeper(),
            StateDir::Given(directory.to_owned()),
            arguments,
        )
    }

    /// The same with another file as the agent's program.
    pub(crate) fn start_as(program: &Path, directory: &Path, arguments: &[&str]) -> Self {
        Self::launch(
            Command::new(program),
            StateDir::Given(directory.to_owned()),
            arguments,
        )
    }

    fn launch(mut command: Command, state: StateDir, arguments: &[&str]) -> Self {
        command.arg("agent").arg("--state-dir").arg(state.path());
        if !arguments.contains(&"--cri-socket") {
            command.args(["--cri-socket", "none"]);
        }
        command.args(arguments);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("could not run {command:?}: {error}"));
        let stderr = child.stderr.take().expect("standard error is a pipe");
        let agent = Self {
            child,
            state,
            log: Log::read(stderr),
        };
        agent.log.wait_for("ready");
        agent
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its state directory.
    pub(crate) fn state_dir(&self) -> &Path {
        self.state.path()
    }

    /// The socket of its API.
    pub(crate) fn socket(&self) -> PathBuf {
        self.state_dir().join("watchkeeper.sock")
    }

    /// The command line as a client of this agent.
    pub(crate) fn client(&self, arguments: &[&str]) -> Command {
        let mut command = watchkeeper();
        command
            .args(arguments)
            .env("WATCHKEEPER_SOCKET", self.socket());
        command
    }

    /// Runs a client, which must succeed, and returns what it printed.
    pub(crate) fn query(&self, arguments: &[&str]) -> String {
        command::succeed(&mut self.client(arguments))
    }

    /// The address and port where it listens for something, as it calls that. It must have been told to.
    pub(crate) fn listens_for(&self, purpose: &str) -> SocketAddr {
        let lines = self.log.shared.0.lock();
        let lines = lines.unwrap_or_else(PoisonError::into_inner);
        let says = format!("listening for {purpose} on ");
        let after = lines.text.split(says.as_str()).nth(1);
        let address = after.and_then(|after| after.lines().next()?.parse().ok());
        address.expect("it says where it listens")
    }

    /// The address and port where its metrics are.
    pub(crate) fn metrics_address(&self) -> SocketAddr {
        self.listens_for("requests of metrics")
    }

    /// What it answers to `request` where its metrics are, head and body.
    pub(crate) fn ask_for_metrics(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.metrics_address()).expect("it listens");
        stream
            .set_read_timeout(Some(LIMIT))
            .expect("a limit can be set");
        write!(
            stream,
            "{request} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n"
        )
        .expect("it takes a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        answer
    }

    /// Its metrics that are whole numbers: each sample by its name with labels.
    pub(crate) fn metrics(&self) -> BTreeMap<String, u64> {
        let answer = self.ask_for_metrics("GET /metrics");
        let (head, body) = answer.split_once("\r\n\r\n").expect("there is a head");
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(body.ends_with("# EOF\n"), "{body}");
        body.lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| {
                let (name, value) = line.rsplit_once(' ').expect("a name and a value");
                let number: f64 = value.parse().expect("a number");
                let whole = value.parse().ok();
                assert!(
                    whole.is_some() || name.contains("_seconds"),
                    "{name}: {number}"
                );
                Some((name.to_owned(), whole?))
            })
            .collect()
    }

    /// Sends a signal and waits for the end.
    pub(crate) fn end_with(&mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        eventually("the agent ends", || {
            self.child.try_wait().expect("the agent is a child")
        })
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id())
            .ok()
            .and_then(Pid::from_raw)
            .expect("a child has a process id");
        // It fails only for a process that has ended.
        let _ = kill_process(pid, signal);
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.signal(Signal::TERM);
        let deadline = std::time::Instant::now() + LIMIT;
        while matches!(self.child.try_wait(), Ok(None)) && std::time::Instant::now() < deadline {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        // Either fails only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the agent's log\n{}---", self.log.take());
        }
    }
}

impl StateDir {
    fn path(&self) -> &Path {
        match self {
            Self::Own(directory) => directory.path(),
            Self::Given(directory) => directory,
        }
    }
}

/// What the agent says on standard error, gathered by a thread.
struct Log {
    shared: Arc<(Mutex<Lines>, Condvar)>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Lines {
    text: String,
    ended: bool,
}

impl Log {
    fn read(stderr: ChildStderr) -> Self {
        let shared = Arc::<(Mutex<Lines>, Condvar)>::default();
        let writer = Arc::clone(&shared);
        let reader = std::thread::spawn(move || {
            let (lines, changed) = &*writer;
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
                lines.text.push_str(&line);
                lines.text.push('\n');
                changed.notify_all();
            }
            lines.lock().unwrap_or_else(PoisonError::into_inner).ended = true;
            changed.notify_all();
        });
        Self {
            shared,
            reader: Some(reader),
        }
    }

    fn wait_for(&self, word: &str) {
        let (lines, changed) = &*self.shared;
        let (lines, _) = changed
            .wait_timeout_while(
                lines.lock().unwrap_or_else(PoisonError::into_inner),
                LIMIT,
                |lines| !lines.ended && !lines.text.contains(word),
            )
            .unwrap_or_else(PoisonError::into_inner);
        let found = lines.text.contains(word);
        drop(lines);
        assert!(found, "the agent did not say `{word}`");
    }

    /// All of it; the agent has ended.
    fn take(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            // A reader that panicked has nothing more to say.
            let _ = reader.join();
        }
        let lines = self.shared.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.text.clone()
    }
}

/// A copy of the binary that any user can run, in a directory that is removed with the value.
pub(crate) fn for_everyone() -> (TempDir, PathBuf) {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let copy = directory.path().join("watchkeeper");
    fs::copy(binary(), &copy).expect("the binary can be copied");
    for path in [directory.path(), &copy] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))
            .expect("the mode of an own file can be set");
    }
    (directory, copy)
}
