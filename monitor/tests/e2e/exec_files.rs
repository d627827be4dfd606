//! What an exec event says of the executable: scripts, links, files without a name, layers of images.

use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::MemfdFlags;
use watchkeeper::proto::v1::{Layer, Process};

use crate::harness::agent::Agent;
use crate::harness::command::pid_of;
use crate::harness::podman::Podman;
use crate::harness::watch::container_id;
use crate::harness::{skipped, unique};

const BUSYBOX: &str = "/bin/busybox";

/// Runs `program` with a unique argument among others and returns what the event says of the process.
async fn observed(agent: &Agent, program: &Path, arguments: &[&str]) -> Process {
    let marker = unique("observed");
    let pid = pid_of(Command::new(program).args(arguments).arg(&marker));
    let event = agent.exec_with(&marker).await;
    let process = event.process.expect("an exec has a process");
    assert_eq!(process.pid, pid);
    process
}

fn executable(path: &Path, content: &[u8]) {
    fs::write(path, content).expect("a file can be written");
    fs::set_permissions(path, Permissions::from_mode(0o755))
        .expect("the mode of an own file can be set");
}

fn real(path: &str) -> String {
    let path = fs::canonicalize(path).expect("it is there");
    path.display().to_string()
}

/// What descriptor `file` of this process is, for others.
fn by_descriptor(file: &impl std::os::fd::AsFd) -> PathBuf {
    let number = file.as_fd().as_raw_fd();
    PathBuf::from(format!("/proc/{}/fd/{number}", std::process::id()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_is_its_interpreter_and_says_so() {
    if skipped() {
        return;
    }
    let agent = Agent::start(&[]);
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let script = directory.path().join("script");
    executable(&script, format!("#!{BUSYBOX} true\n").as_bytes());
    let process = observed(&agent, &script, &["an argument"]).await;
    assert!(process.script, "{process:#?}");
    assert_eq!(process.exe, real(BUSYBOX));
    assert_eq!(process.filename, script.display().to_string());
    let path = script.display().to_string();
    assert_eq!(process.argv[..4], [BUSYBOX, "true", &path, "an argument"]);

    let process = observed(&agent, Path::new(BUSYBOX), &["true"]).await;
    assert!(!process.script, "{process:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn links_are_resolved_and_dots_are_gone() {
    if skipped() {
        return;
    }
    let agent = Agent::start(&[]);
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let link = directory.path().join("true");
    symlink(BUSYBOX, &link).expect("a link can be made");
    let process = observed(&agent, &link, &[]).await;
    assert_eq!(process.exe, real(BUSYBOX));
    assert_eq!(process.filename, link.display().to_string());

    let deep = directory.path().join("a/b");
    fs::create_dir_all(&deep).expect("a directory can be made");
    let copy = directory.path().join("copy");
    executable(&copy, &fs::read("/usr/bin/true").expect("it is there"));
    let crooked = deep.join("../.././copy");
    let process = observed(&agent, &crooked, &[]).await;
    assert_eq!(process.exe, copy.display().to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_path_is_whole() {
    if skipped() {
        return;
    }
    let agent = Agent::start(&[]);
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let deep = (0..12).fold(directory.path().to_owned(), |path, _| {
        path.join("d".repeat(50))
    });
    fs::create_dir_all(&deep).expect("a directory can be made");
    let copy = deep.join("program");
    executable(&copy, &fs::read("/usr/bin/true").expect("it is there"));
    let process = observed(&agent, &copy, &[]).await;
    assert_eq!(process.exe, copy.display().to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn setuid_shows_in_credentials_and_mode() {
    if skipped() {
        return;
    }
    let agent = Agent::start(&[]);
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755))
        .expect("the mode of an own directory can be set");
    let copy = directory.path().join("true");
    executable(&copy, &fs::read("/usr/bin/true").expect("it is there"));
    fs::set_permissions(&copy, Permissions::from_mode(0o4755))
        .expect("the mode of an own file can be set");
    let marker = unique("setuid");
    let mut drop = Command::new("setpriv");
    drop.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    pid_of(drop.arg(&copy).arg(&marker));
    let path = copy.display().to_string();
    let event = agent
        .exec("the setuid program", |event| {
            event
                .process
                .as_ref()
                .is_some_and(|process| process.argv == [path.as_str(), marker.as_str()])
        })
        .await;
    let process = event.process.expect("an exec has a process");
    let credentials = process.credentials.expect("credentials are known");
    assert_eq!(
        (credentials.uid, credentials.euid),
        (65534, 0),
        "{credentials:#?}"
    );
    assert_eq!(
        process.file.map(|file| file.mode).as_deref(),
        Some("104755")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unlinked_executable_has_no_links() {
    if skipped() {
        return;
    }
    let agent = Agent::start(&[]);
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let copy = directory.path().join("short-lived");
    executable(&copy, &fs::read("/usr/bin/true").expect("it is there"));
    let process = observed(&agent, &copy, &[]).await;
    assert_eq!(process.file.map(|file| file.links), Some(1));

    let open = File::open(&copy).expect("it is there");
    fs::remove_file(&copy).expect("an own file can be removed");
    let process = observed(&agent, &by_descriptor(&open), &[]).await;
    assert!(process.exe.contains("short-lived"), "{process:#?}");
    let file = process.file.expect("the executable is known");
    assert_eq!(
        (file.links, file.layer()),
        (0, Layer::Unspecified),
        "{file:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executable_in_memory_only_is_told() {
    if skipped() {
        return;
    }
    let agent = Agent::start(&[]);
    let memory = rustix::fs::memfd_create("nothing-on-disk", MemfdFlags::CLOEXEC)
        .expect("memory can be had");
    let mut memory = File::from(memory);
    memory
        .write_all(&fs::read("/usr/bin/true").expect("it is there"))
        .expect("memory can be written");
    let process = observed(&agent, &by_descriptor(&memory), &[]).await;
    assert!(process.exe.contains("nothing-on-disk"), "{process:#?}");
    assert!(
        !process.exe.contains('/'),
        "it is in no directory: {process:#?}"
    );
    let file = process.file.expect("the executable is known");
    assert_eq!(file.layer(), Layer::Memfd, "{file:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_on_tmpfs_is_told() {
    if skipped() {
        return;
    }
    let agent = Agent::start(&[]);
    let directory = tempfile::tempdir_in("/dev/shm").expect("a temporary directory can be made");
    let copy = directory.path().join("true");
    executable(&copy, &fs::read("/usr/bin/true").expect("it is there"));
    let process = observed(&agent, &copy, &[]).await;
    let file = process.file.expect("the executable is known");
    assert_eq!(file.layer(), Layer::Tmpfs, "{file:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_into_a_running_container_is_told_from_its_image() {
    if skipped() {
        return;
    }
    let podman = Podman::start();
    let agent = Agent::start(&[]);
    let container = podman.run(&unique("layers"), &[], &["/bin/sleep", "1000"]);
    let (image, upper) = (unique("image"), unique("upper"));
    for command in [
        &["/bin/true", &image][..],
        &["/bin/cp", BUSYBOX, "/tmp/true"],
        &["/tmp/true", &upper],
    ] {
        let output = container.exec(command);
        assert!(output.status.success(), "{command:?}: {output:?}");
    }
    for (argv, exe, layer) in [
        (["/bin/true", &image], BUSYBOX, Layer::Image),
        (["/tmp/true", &upper], "/tmp/true", Layer::Upper),
    ] {
        let event = agent
            .exec(exe, |event| {
                event
                    .process
                    .as_ref()
                    .is_some_and(|process| process.argv == argv)
            })
            .await;
        assert_eq!(container_id(event.container.as_ref()), container.id);
        let process = event.process.expect("an exec has a process");
        assert_eq!(process.exe, exe);
        let file = process.file.expect("the executable is known");
        assert_eq!(file.layer(), layer, "{exe}: {file:#?}");
    }
}
