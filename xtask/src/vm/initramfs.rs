//! The whole root file system of a test machine: busybox, the programs under test with their libraries, and `/init`.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use super::cpio::Archive;
/// Builds an archive with a static `busybox`, whose `/init` is `init`, with `programs` (name and file) in `/bin`, kernel `modules` in
/// `/lib/modules`, and other `files` (path and content).
pub(crate) fn build(
    busybox: &Path,
    init: &str,
    programs: &[(&str, &Path)],
    modules: &[PathBuf],
    files: &[(&str, &[u8])],
) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for directory in [
        "/bin", "/dev", "/etc", "/proc", "/root", "/run", "/sys", "/tmp",
    ] {
        archive.directory(directory);
    }
    // The kernel opens it for init before anything is mounted.
    archive.character_device("/dev/console", 5, 1);
    archive.file("/etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\n");
    archive.file("/etc/group", 0o644, b"root:x:0:\n");
    archive.file("/init", 0o755, init.as_bytes());
    add(&mut archive, "/bin/busybox", busybox)?;
    archive.symlink("/bin/sh", "busybox");
    let mut libraries = BTreeSet::new();
    for (name, program) in programs {
        add(&mut archive, &format!("/bin/{name}"), program)?;
        // It ends with 1 for a static program, which needs none.
        let listed = Command::new("ldd")
            .arg(program)
            .stderr(Stdio::null())
            .output();
        let listed = listed
            .context("could not start ldd, to list the libraries that a program needs")?
            .stdout;
        let listed = String::from_utf8_lossy(&listed);
        libraries.extend(shared_libraries(&listed));
    }
    for library in libraries {
        add(&mut archive, &library, Path::new(&library))?;
    }
    for module in modules {
        let name = module.file_name().unwrap_or_default().to_string_lossy();
        add(&mut archive, &format!("/lib/modules/{name}"), module)?;
    }
    for (path, content) in files {
        archive.file(path, 0o600, content);
    }
    Ok(archive.finish())
}

fn add(archive: &mut Archive, at: &str, file: &Path) -> Result<()> {
    let read = || -> std::io::Result<_> {
        Ok((
            fs::metadata(file)?.permissions().mode() & 0o777,
            fs::read(file)?,
        ))
    };
    let (mode, content) = read().with_context(|| {
        format!(
            "could not read {} for the test machine's file system",
            file.display()
        )
    })?;
    archive.file(at, mode, &content);
    Ok(())
}

/// Absolute paths in an answer of `ldd`: the libraries and the program interpreter, not the kernel's vdso.
fn shared_libraries(listed: &str) -> Vec<String> {
    let path = |line: &str| {
        let after_arrow = line.split_once("=>").map_or(line, |(_, path)| path);
        let path = after_arrow.split_whitespace().next()?;
        path.starts_with('/').then(|| path.to_owned())
    };
    listed.lines().filter_map(path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_and_interpreter_of_a_dynamic_program() {
        let listed = "\tlinux-vdso.so.1 (0x00007fff)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f5c)\n\
                      \t/lib64/ld-linux-x86-64.so.2 (0x00007f5d)\n";
        assert_eq!(
            shared_libraries(listed),
            [
                "/lib/x86_64-linux-gnu/libc.so.6",
                "/lib64/ld-linux-x86-64.so.2"
            ]
        );
    }

    #[test]
    fn a_static_program_has_none() {
        assert!(shared_libraries("\tstatically linked\n").is_empty());
    }
}
