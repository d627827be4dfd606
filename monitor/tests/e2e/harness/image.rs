//! The image that the tests' containers are made of: busybox, a CGI script, and programs under names that aren't theirs.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::command;
use super::podman::Podman;

/// Its name in every runtime.
pub(crate) const NAME: &str = "localhost/watchkeeper-e2e:1";

/// Names of busybox: a link for each.
const APPLETS: [&str; 11] = [
    "sh", "ash", "cat", "cp", "id", "httpd", "setsid", "sleep", "true", "usleep", "ln",
];

/// The image as an OCI archive, made once.
pub(crate) fn archive() -> &'static [u8] {
    static ARCHIVE: OnceLock<Vec<u8>> = OnceLock::new();
    ARCHIVE.get_or_init(make)
}

fn make() -> Vec<u8> {
    let work = tempfile::tempdir().expect("a temporary directory can be made");
    let tree = work.path().join("tree");
    fill(&tree);
    let layer = work.path().join("layer.tar");
    command::succeed(
        Command::new("tar")
            .args(["--owner=0", "--group=0", "-C"])
            .arg(&tree)
            .arg("-cf")
            .arg(&layer)
            .arg("."),
    );
    let podman = Podman::without_image();
    let archive = work.path().join("image.tar");
    command::succeed(
        podman
            .command(&["import", "--change", "CMD [\"/bin/sleep\",\"100000\"]"])
            .arg(&layer)
            .arg(NAME),
    );
    command::succeed(
        podman
            .command(&["save", "--format", "oci-archive", "-o"])
            .arg(&archive)
            .arg(NAME),
    );
    fs::read(&archive).expect("the archive was written")
}

fn fill(tree: &Path) {
    for directory in [
        "bin",
        "opt",
        "tmp",
        "proc",
        "sys",
        "dev",
        "etc",
        "www/cgi-bin",
    ] {
        fs::create_dir_all(tree.join(directory)).expect("a directory can be made");
    }
    copy(Path::new("/bin/busybox"), &tree.join("bin/busybox"));
    for applet in APPLETS {
        link("busybox", &tree.join("bin").join(applet));
    }
    script(
        &tree.join("www/cgi-bin/id"),
        "echo 'Content-Type: text/plain'\necho\nid\n",
    );

    // A shell that isn't busybox, under its own name and others.
    copy_with_libraries("/bin/dash", tree, "bin/dash");
    copy_with_libraries("/bin/dash", tree, "bin/totally-not-a-shell");
    link("/bin/dash", &tree.join("opt/link-to-dash"));
    fs::hard_link(tree.join("bin/dash"), tree.join("opt/other-name-of-dash"))
        .expect("a hard link can be made");
    // busybox under a name of its own, and a link to that.
    copy(Path::new("/bin/busybox"), &tree.join("opt/tool"));
    link("/opt/tool", &tree.join("opt/ash"));
    copy(Path::new("/bin/busybox"), &tree.join("opt/busybox-1.35"));
    // Programs under a shell's name that aren't shells.
    fs::create_dir(tree.join("opt/decoy")).expect("a directory can be made");
    copy_with_libraries("/bin/true", tree, "opt/decoy/sh");
    copy_with_libraries("/bin/true", tree, "opt/decoy/bash");
}

fn link(to: &str, at: &Path) {
    symlink(to, at).unwrap_or_else(|error| panic!("could not link {}: {error}", at.display()));
}

fn copy(from: &Path, to: &Path) {
    fs::copy(from, to).unwrap_or_else(|error| {
        panic!(
            "could not copy {} to {}: {error}",
            from.display(),
            to.display()
        )
    });
    fs::set_permissions(to, fs::Permissions::from_mode(0o755))
        .expect("the mode of an own file can be set");
}

fn script(at: &Path, body: &str) {
    fs::write(at, format!("#!/bin/sh\n{body}")).expect("a file can be written");
    fs::set_permissions(at, fs::Permissions::from_mode(0o755))
        .expect("the mode of an own file can be set");
}

/// Copies a host program to `to` below `tree`, with its libraries at the same paths as here.
fn copy_with_libraries(program: &str, tree: &Path, to: &str) {
    copy(Path::new(program), &tree.join(to));
    let libraries = command::succeed(Command::new("ldd").arg(program));
    for library in libraries
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
    {
        let target: PathBuf = tree.join(library.trim_start_matches('/'));
        if target.exists() {
            continue;
        }
        let parent = target.parent().expect("a library is in a directory");
        fs::create_dir_all(parent).expect("a directory can be made");
        copy(Path::new(library), &target);
    }
}
