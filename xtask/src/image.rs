//! The image that is deployed: the agent, linked statically, and nothing else. The same sources make the same digest.

mod sbom;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::toolchain::Toolchain;
use crate::{command, packages, paths};

/// Where the files of the image are in it.
const PROGRAM: &str = "usr/bin/watchkeeper";
const SBOM: &str = "usr/share/doc/watchkeeper/sbom.cdx.json";

/// Directories that are mounted over: a read-only image can't get them later.
const MOUNT_POINTS: [&str; 5] = [
    "etc/watchkeeper",
    "run/watchkeeper",
    "var/lib/watchkeeper",
    "proc",
    "sys",
];

const PURPOSE: &str = "make the image";

/// A finished image.
pub(crate) struct Image {
    /// An archive in the format of OCI, which podman, skopeo and containerd read.
    pub(crate) archive: PathBuf,
    /// Its name in there.
    pub(crate) name: String,
    /// Digest of its manifest: `sha256:…`.
    pub(crate) digest: String,
    /// What it is made of, as CycloneDX.
    pub(crate) sbom: PathBuf,
    /// The agent that is in it.
    pub(crate) program: PathBuf,
}

/// Makes the image and says where it is.
pub(crate) fn run() -> Result<()> {
    let image = make()?;
    println!("image    {}", image.archive.display());
    println!("name     {}", image.name);
    println!("digest   {}", image.digest);
    println!("sbom     {}", image.sbom.display());
    Ok(())
}

/// The same, and once more from the beginning: the digest has to be the same.
pub(crate) fn make_twice() -> Result<Image> {
    let first = make()?;
    let second = make()?;
    ensure!(
        first.digest == second.digest,
        "the same sources made {} and {}",
        first.digest,
        second.digest
    );
    Ok(second)
}

/// Makes the image in `target/image`. Needs root, as buildah does without further ado only then.
pub(crate) fn make() -> Result<Image> {
    let toolchain = Toolchain::ensure()?;
    packages::ensure(&["buildah", "binutils"], PURPOSE)?;
    let directory = paths::target().join("image");
    let files = directory.join("files");
    if files.exists() {
        fs::remove_dir_all(&files)
            .with_context(|| format!("could not remove {}", files.display()))?;
    }
    for place in MOUNT_POINTS {
        create(&files.join(place))?;
    }
    let program = files.join(PROGRAM);
    create_parent(&program)?;
    let built = build(&toolchain, &directory)?;
    let mut strip = Command::new("strip");
    strip.arg("-o").arg(&program).arg(built);
    command::run(&mut strip, "strip the agent")?;
    let sbom = files.join(SBOM);
    create_parent(&sbom)?;
    sbom::write(&sbom, &program, env!("CARGO_PKG_VERSION"))?;
    assemble(&directory, &files)
}

/// Builds the agent with everything that it needs in it. What the machine's own paths are does not show: no panic and no debug
/// information names them.
fn build(toolchain: &Toolchain, directory: &Path) -> Result<PathBuf> {
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let home = cargo_home()?;
    let root = paths::repository();
    let sysroot = command::output(
        Command::new("rustc").args(["--print", "sysroot"]),
        "ask rustc for its sysroot",
    )?;
    let flags = [
        "-Ctarget-feature=+crt-static".to_owned(),
        format!("--remap-path-prefix={}=/cargo", home.display()),
        format!("--remap-path-prefix={}=/watchkeeper", root.display()),
        format!("--remap-path-prefix={}=/rust", sysroot.trim_end()),
        "-Clink-arg=-Wl,--build-id=none".to_owned(),
    ];
    let target = directory.join("build");
    let mut cargo = toolchain.cargo();
    cargo
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .env(
            "CFLAGS",
            format!("-ffile-prefix-map={}=/cargo", home.display()),
        )
        .args(["build", "--release", "--locked", "--package", "watchkeeper"])
        .args(["--bin", "watchkeeper", "--target", &triple])
        .arg("--target-dir")
        .arg(&target);
    command::run(&mut cargo, "build the agent for the image")?;
    Ok(target.join(triple).join("release/watchkeeper"))
}

fn cargo_home() -> Result<PathBuf> {
    if let Some(home) = std::env::var_os("CARGO_HOME") {
        return Ok(PathBuf::from(home));
    }
    let home = std::env::var_os("HOME").context("HOME is not set")?;
    Ok(PathBuf::from(home).join(".cargo"))
}

/// Puts the files into an image.
fn assemble(directory: &Path, files: &Path) -> Result<Image> {
    let name = format!("localhost/watchkeeper:{}", env!("CARGO_PKG_VERSION"));
    let buildah = |arguments: &[&str]| {
        let mut buildah = Command::new("buildah");
        buildah.arg("--root").arg(directory.join("store"));
        buildah.arg("--runroot").arg(directory.join("run"));
        buildah.args(["--storage-driver", "vfs"]).args(arguments);
        buildah
    };
    let said = |arguments: &[&str], doing: &str| {
        command::output(&mut buildah(arguments), doing).map(|text| text.trim().to_owned())
    };
    let container = said(&["from", "scratch"], "begin an image")?;
    let made = (|| {
        said(
            &[
                "copy",
                "--quiet",
                "--chown",
                "0:0",
                &container,
                &files.to_string_lossy(),
                "/",
            ],
            "put the files into the image",
        )?;
        let mut config = buildah(&["config"]);
        for (label, value) in labels()? {
            config
                .arg("--label")
                .arg(format!("org.opencontainers.image.{label}={value}"));
        }
        config.args([
            "--env",
            "PATH=/usr/bin",
            "--user",
            "0:0",
            "--workingdir",
            "/",
        ]);
        config.args([
            "--entrypoint",
            "[\"watchkeeper\"]",
            "--cmd",
            "agent",
            &container,
        ]);
        command::run(&mut config, "describe the image")?;
        let time = commit("%ct")?;
        said(
            &[
                "commit",
                "--quiet",
                "--format",
                "oci",
                "--timestamp",
                &time,
                &container,
                &name,
            ],
            "finish the image",
        )
    })();
    said(&["rm", &container], "end the making of an image")?;
    made?;
    let archive = directory.join("watchkeeper.tar");
    // An archive that is there is added to.
    let _ = fs::remove_file(&archive);
    let digest = directory.join("digest");
    said(
        &[
            "push",
            "--quiet",
            "--digestfile",
            &digest.to_string_lossy(),
            &name,
            &format!("oci-archive:{}:{name}", archive.display()),
        ],
        "write the image to a file",
    )?;
    let digest = fs::read_to_string(&digest)
        .with_context(|| format!("could not read {}", digest.display()))?;
    Ok(Image {
        archive,
        name,
        digest: digest.trim().to_owned(),
        sbom: files.join(SBOM),
        program: files.join(PROGRAM),
    })
}

/// What the image says of itself, under the names of the OCI image specification.
fn labels() -> Result<Vec<(&'static str, String)>> {
    let text = |text: &str| text.to_owned();
    Ok(vec![
        ("title", text("watchkeeper")),
        (
            "description",
            text("Node-level runtime security monitor for Kubernetes and OpenShift"),
        ),
        ("version", text(env!("CARGO_PKG_VERSION"))),
        ("licenses", text("Apache-2.0")),
        ("revision", commit("%H")?),
        ("created", commit("%cI")?),
        ("base.name", text("scratch")),
    ])
}

/// Something of the commit that is checked out.
fn commit(format: &str) -> Result<String> {
    let mut git = Command::new("git");
    git.arg("-C")
        .arg(paths::repository())
        .args(["log", "-1", &format!("--format={format}")]);
    command::output(&mut git, "ask git for the commit").map(|text| text.trim().to_owned())
}

fn create(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("could not make {}", directory.display()))
}

fn create_parent(file: &Path) -> Result<()> {
    file.parent().map_or(Ok(()), create)
}
