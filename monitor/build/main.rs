//! Compiles the protobuf definitions (without protoc) and the eBPF object (with bpf-linker), and writes the table of
//! what conditions of policies can ask of an event.

mod event_fields;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};
use prost::Message as _;

/// The object's name: that of the binary in `monitor-ebpf`.
const OBJECT: &str = "watchkeeper-kernel";

const PROTO_ROOT: &str = "../proto";
const PROTO_FILES: [&str; 9] = [
    "watchkeeper/v1/alert.proto",
    "watchkeeper/v1/container.proto",
    "watchkeeper/v1/event.proto",
    "watchkeeper/v1/history.proto",
    "watchkeeper/v1/node.proto",
    "watchkeeper/v1/policy.proto",
    "watchkeeper/v1/process.proto",
    "watchkeeper/v1/tree.proto",
    "runtime/v1/runtime.proto",
];

/// The built-in policies, and what of them is built in.
const POLICIES: &str = "policies";
const BUILT_IN: [(&str, &str); 2] = [("", "yaml"), ("lists", "txt")];

fn main() -> anyhow::Result<()> {
    compile_protos()?;
    turn_policies()?;
    compile_ebpf()
}

/// Generates messages, clients and servers, and keeps the descriptors for reflection and JSON.
fn compile_protos() -> anyhow::Result<()> {
    println!("cargo:rerun-if-changed={PROTO_ROOT}");
    let descriptors =
        protox::compile(PROTO_FILES, [PROTO_ROOT]).context("compiling the protobuf definitions")?;
    let out = PathBuf::from(env::var_os("OUT_DIR").context("OUT_DIR is not set")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())
        .context("writing the protobuf descriptors")?;
    fs::write(
        out.join("event_fields.rs"),
        event_fields::table(&descriptors)?,
    )
    .context("writing the table of events' fields")?;
    tonic_prost_build::configure()
        .compile_fds(descriptors)
        .context("generating code from the protobuf definitions")
}

/// Writes the built-in policies backwards, byte by byte: the names of miners and the like are looked for in programs, and must
/// not be found in the agent's own.
fn turn_policies() -> anyhow::Result<()> {
    println!("cargo:rerun-if-changed={POLICIES}");
    let out = PathBuf::from(env::var_os("OUT_DIR").context("OUT_DIR is not set")?);
    for (directory, extension) in BUILT_IN {
        let (from, to) = (
            Path::new(POLICIES).join(directory),
            out.join(POLICIES).join(directory),
        );
        fs::create_dir_all(&to).context("making a directory for the policies")?;
        for entry in fs::read_dir(&from).context("reading the built-in policies")? {
            let path = entry.context("reading the built-in policies")?.path();
            if path.extension().is_some_and(|found| found == extension)
                && let Some(name) = path.file_name()
            {
                let mut text = fs::read(&path).context("reading a built-in policy")?;
                text.reverse();
                fs::write(to.join(name), text).context("writing a built-in policy")?;
            }
        }
    }
    Ok(())
}

/// Builds the programs in `monitor-ebpf` for the BPF target.
fn compile_ebpf() -> anyhow::Result<()> {
    let linker = "bpf-linker";
    let found = env::var_os("PATH").is_some_and(|path| {
        env::split_paths(&path).any(|directory| directory.join(linker).is_file())
    });
    if !found {
        bail!(
            "building the eBPF object: {linker} is not on PATH; build with `cargo xtask build`, which \
             installs it and finds it again"
        );
    }
    // SAFETY: a build script is a process of its own, and has one thread here.
    unsafe {
        // The standard library is built for the BPF target, which only an unstable option of cargo can do;
        // aya-ebpf needs an unstable feature of the language, so naming this crate alone is not enough.
        env::set_var("RUSTC_BOOTSTRAP", "1");
        // The object names its sources in the same way wherever they lie (the unstable profile option `trim-paths`).
        env::set_var("CARGO_UNSTABLE_TRIM_PATHS", "true");
        env::set_var("CARGO_PROFILE_RELEASE_TRIM_PATHS", "all");
    }
    aya_build::build_ebpf(
        [aya_build::Package {
            name: "watchkeeper-ebpf",
            root_dir: "../monitor-ebpf",
            features: &["kernel"],
            ..Default::default()
        }],
        aya_build::Toolchain::Custom("stable"),
    )?;
    strip(&PathBuf::from(env::var_os("OUT_DIR").context("OUT_DIR is not set")?).join(OBJECT))
}

/// Takes the debug information out of the object, four fifths of it: what the kernel and the loader read is in sections of
/// their own.
fn strip(object: &Path) -> anyhow::Result<()> {
    let rustc = env::var_os("RUSTC").context("RUSTC is not set")?;
    let printed = Command::new(rustc)
        .args(["--print", "sysroot"])
        .output()
        .context("asking rustc for its sysroot")?;
    let sysroot = PathBuf::from(String::from_utf8(printed.stdout)?.trim());
    let host = env::var("HOST").context("HOST is not set")?;
    let tool = sysroot
        .join("lib/rustlib")
        .join(host)
        .join("bin/rust-objcopy");
    let status = Command::new(&tool)
        // Its own LLVM.
        .env("LD_LIBRARY_PATH", sysroot.join("lib"))
        .arg("--strip-debug")
        .arg(object)
        .status()
        .with_context(|| format!("running {}", tool.display()))?;
    if !status.success() {
        bail!(
            "stripping the eBPF object: {} ended with {status}",
            tool.display()
        );
    }
    Ok(())
}
