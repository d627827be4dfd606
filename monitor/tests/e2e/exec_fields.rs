//! What an exec event says of the process: arguments, credentials, descriptors, lineage.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use watchkeeper::proto::v1::{DescriptorKind, Event, Location, Process, Source};

use crate::harness::agent::Agent;
use crate::harness::command::{pid_of, succeed};
use crate::harness::{skipped, unique};

const TRUE: &str = "/usr/bin/true";
const NOBODY: u32 = 65534;

/// Runs `command` with a unique last argument and returns the event of the exec that had it in `program`.
async fn observed(agent: &Agent, program: &str, command: &mut Command) -> (Event, Process) {
    let marker = unique("observed");
    let pid = pid_of(command.arg(&marker));
    let event = agent
        .exec(&format!("{program} with {marker}"), |event| {
            event.process.as_ref().is_some_and(|process| {
                process.pid == pid && process.exe == program && process.argv.contains(&marker)
            })
        })
        .await;
    let process = event.process.clone().expect("an exec has a process");
    (event, process)
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_lineage_and_place_are_those_of_proc() {
    if skipped() {
        return;
    }
    let agent = Agent::start(&[]);
    let here = tempfile::tempdir().expect("a temporary directory can be made");
    // A number of seconds that no other process sleeps.
    let marker = format!("100000.{}", std::process::id());
    let mut sleeper = Command::new("/usr/bin/sleep")
        .arg(&marker)
        .current_dir(here.path())
        .spawn()
        .expect("sleep can run");
    let event = agent.exec_with(&marker).await;
    let facts = Facts::of(sleeper.id());
    sleeper.kill().expect("a child can be killed");
    sleeper.wait().expect("a child can be waited for");

    let process = event.process.as_ref().expect("an exec has a process");
    assert_eq!(process.pid, sleeper.id());
    assert_eq!(
        process.pid_inside,
        sleeper.id(),
        "it is in the host's pid namespace"
    );
    assert_eq!(process.parent_pid, std::process::id());
    assert_eq!(process.cwd, here.path().display().to_string());
    assert_eq!(process.source(), Source::Kernel);
    assert_eq!(event.location(), Location::Host);
    assert!(event.container.is_none(), "{event:#?}");
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("it is there");
    let start = format!("{}-{}-{}-", &boot[..8], sleeper.id(), facts.start_ticks);
    assert!(
        process.exec_id.starts_with(&start),
        "{} {start}",
        process.exec_id
    );

    let namespaces = process.namespaces.as_ref().expect("namespaces are known");
    assert_eq!(
        [
            namespaces.mnt,
            namespaces.pid,
            namespaces.net,
            namespaces.uts,
            namespaces.ipc,
            namespaces.cgroup,
            namespaces.user
        ],
        facts.namespaces
    );
    assert_eq!(namespaces.host, ["mnt", "pid", "net"]);

    let file = process.file.as_ref().expect("the executable is known");
    assert_eq!(
        (file.inode, file.size, file.uid),
        (facts.inode, facts.size, 0)
    );
    assert_eq!(file.mode, facts.mode);
    assert!(file.links >= 1);
    let parent = event.ancestors.first().expect("it has a parent");
    assert_eq!(parent.pid, std::process::id());
    assert_eq!(parent.exec_id, process.parent_exec_id);
    assert_eq!(
        Path::new(&parent.exe),
        fs::read_link("/proc/self/exe").expect("it is there")
    );
    assert!(event.ancestors.len() <= 16);
}

/// The same facts from /proc.
struct Facts {
    start_ticks: u64,
    namespaces: [u32; 7],
    inode: u64,
    size: u64,
    mode: String,
}

impl Facts {
    fn of(pid: u32) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
        // See proc_pid_stat(5): field 22, counted from after the name, which may hold spaces.
        let (_, fields) = stat.rsplit_once(')').expect("the name is in parentheses");
        let start = fields.split_whitespace().nth(19).expect("it has 52 fields");
        let namespace = |name: &str| {
            let link = fs::read_link(format!("/proc/{pid}/ns/{name}")).expect("it runs");
            let link = link.display().to_string();
            let number = link.split(['[', ']']).nth(1).map(str::parse);
            number
                .and_then(Result::ok)
                .expect("a namespace has a number")
        };
        let file = fs::metadata(format!("/proc/{pid}/exe")).expect("it runs");
        Self {
            start_ticks: start.parse().expect("it is a number"),
            namespaces: ["mnt", "pid", "net", "uts", "ipc", "cgroup", "user"].map(namespace),
            inode: file.ino(),
            size: file.size(),
            mode: format!("{:o}", file.mode()),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_are_whole_up_to_4096_bytes_and_the_rest_is_flagged() {
    if skipped() {
        return;
    }
    let agent = Agent::start(&[]);
    let few = ["", "two words", "umlaut ä", "new\nline"];
    let (_, process) = observed(&agent, TRUE, Command::new(TRUE).args(few)).await;
    assert_eq!(
        &process.argv[..5],
        ["/usr/bin/true", "", "two words", "umlaut ä", "new\nline"]
    );
    assert!(!process.argv_truncated);

    // The marker comes last, so it is what a cut takes away: the process is told by its first argument here.
    for (size, truncated) in [(3000, false), (4096, true), (100_000, true)] {
        let marker = unique("long");
        let long = "x".repeat(size);
        pid_of(Command::new(TRUE).arg(&marker).arg(&long));
        let process = agent
            .exec_with(&marker)
            .await
            .process
            .expect("an exec has a process");
        assert_eq!(process.argv_truncated, truncated, "{size} bytes");
        let kept: usize = process.argv.iter().map(|value| value.len() + 1).sum();
        assert!(kept <= 4097, "{size} bytes: {kept} kept");
        assert!(kept >= 3000, "{size} bytes: {kept} kept");
        assert!(long.starts_with(&process.argv[2]), "{size} bytes");
        assert_eq!(process.argv[2].len() == size, !truncated, "{size} bytes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_process_calls_itself_is_not_what_it_runs() {
    if skipped() {
        return;
    }
    let agent = Agent::start(&[]);
    let (_, process) = observed(&agent, TRUE, Command::new(TRUE).arg0("[kworker/0:1]")).await;
    assert_eq!(process.argv[0], "[kworker/0:1]");
    assert_eq!(
        (process.exe.as_str(), process.filename.as_str()),
        (TRUE, TRUE)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_those_at_the_exec() {
    if skipped() {
        return;
    }
    let agent = Agent::start(&[]);
    let (_, process) = observed(&agent, TRUE, &mut Command::new(TRUE)).await;
    let root = process.credentials.expect("credentials are known");
    assert_eq!((root.uid, root.gid, root.euid, root.egid), (0, 0, 0, 0));
    assert!(
        root.cap_effective
            .iter()
            .any(|name| name == "CAP_SYS_ADMIN"),
        "{root:#?}"
    );

    let mut drop = Command::new("setpriv");
    drop.args(["--reuid=65534", "--regid=65533", "--clear-groups", TRUE]);
    let (_, process) = observed(&agent, TRUE, &mut drop).await;
    let nobody = process.credentials.expect("credentials are known");
    assert_eq!(
        (nobody.uid, nobody.gid, nobody.euid, nobody.egid),
        (NOBODY, NOBODY - 1, NOBODY, NOBODY - 1)
    );
    assert!(nobody.cap_effective.is_empty(), "{nobody:#?}");
    assert!(!nobody.cap_bounding.is_empty(), "{nobody:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn descriptors_are_told_by_kind() {
    if skipped() {
        return;
    }
    let agent = Agent::start(&[]);
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let file = || File::create(directory.path().join("file")).expect("a file can be made");
    let (left, right) = UnixStream::pair().expect("sockets can be made");
    let socket = || OwnedFd::from(left.try_clone().expect("a socket can be cloned"));
    let (reader, writer) = std::io::pipe().expect("a pipe can be made");
    let close = ["-c", "exec /usr/bin/true \"$0\" 0<&- 2>/dev/zero"];

    use DescriptorKind as Kind;
    let cases: [(&str, Command, [Kind; 3]); 3] = [
        (
            "pipe, file, null",
            {
                let mut command = Command::new(TRUE);
                command.stdin(reader).stdout(file()).stderr(Stdio::null());
                command
            },
            [Kind::Pipe, Kind::File, Kind::Null],
        ),
        (
            "socket, pipe, socket",
            {
                let mut command = Command::new(TRUE);
                command.stdin(socket()).stdout(writer).stderr(socket());
                command
            },
            [Kind::Socket, Kind::Pipe, Kind::Socket],
        ),
        (
            "closed, null, device",
            {
                let mut command = Command::new("/bin/sh");
                command.args(close).stdout(Stdio::null());
                command
            },
            [Kind::Closed, Kind::Null, Kind::Device],
        ),
    ];
    for (name, mut command, expected) in cases {
        let (_, process) = observed(&agent, TRUE, &mut command).await;
        let kinds: Vec<Kind> = process.stdio.iter().map(|one| one.kind()).collect();
        assert_eq!(kinds, expected, "{name}");
        let numbers: Vec<u32> = process.stdio.iter().map(|one| one.number).collect();
        assert_eq!(numbers, [0, 1, 2], "{name}");
        assert_eq!(process.tty, "", "{name}");
    }
    drop(right);

    let marker = unique("terminal");
    succeed(Command::new("script").args([
        "--quiet",
        "--return",
        "--command",
        &format!("exec {TRUE} {marker}"),
        "/dev/null",
    ]));
    let event = agent
        .exec("the exec on a terminal", |event| {
            event
                .process
                .as_ref()
                .is_some_and(|process| process.argv == [TRUE, &marker])
        })
        .await;
    let process = event.process.expect("an exec has a process");
    assert!(process.tty.starts_with("pts"), "{process:#?}");
    assert!(
        process.stdio.iter().all(|one| one.kind() == Kind::Tty),
        "{process:#?}"
    );
}
