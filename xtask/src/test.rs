//! The README's test command, and what CI runs: format, lints, unit tests, manifests, alerting rules, fuzzing, end-to-end tests, virtual
//! machines.

use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::report::{Outcome, Report};
use crate::toolchain::Toolchain;
use crate::{
    command, debian, fuzz, image, kubernetes, manifests, monitoring, packages, paths, programs, vm,
};

/// Container runtimes and what their test images are made of.
pub(crate) const RUNTIMES: [&str; 6] = [
    "containerd",
    "runc",
    "podman",
    "buildah",
    "conmon",
    "busybox-static",
];

/// What runtimes and images are needed to do.
pub(crate) const PURPOSE: &str = "test with real containers";

/// How long each fuzz target runs.
const FUZZING_SECONDS: u32 = 5;

/// Runs every step that this host can run. A failing step does not stop those that don't depend on it.
pub(crate) fn run() -> Result<ExitCode> {
    let toolchain = Toolchain::ensure()?;
    let mut report = Report::default();
    let cargo = |arguments: &[&str]| {
        let mut cargo = toolchain.cargo();
        cargo.args(arguments);
        outcome(&mut cargo)
    };
    report.step("format", || cargo(&["fmt", "--all", "--check"]));
    report.step("lints", || {
        cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ])
    });
    // It is no target of `cargo test` by itself, and so is none of "all targets" either.
    report.step("lints, end-to-end tests", || {
        cargo(&[
            "clippy",
            "--package",
            "watchkeeper",
            "--test",
            "e2e",
            "--",
            "-D",
            "warnings",
        ])
    });
    report.step("lints, kernel side", || {
        outcome(&mut kernel_lints(&toolchain))
    });
    report.step("unit tests", || {
        cargo(&["test", "--workspace", "--no-fail-fast"])
    });
    report.step("manifests", manifests::check);
    report.step("monitoring", monitoring::check);
    report.step("fuzzing", || fuzz::run(&[], FUZZING_SECONDS));

    let mut image = None;
    report.step("image", || {
        if !command::is_root() {
            return Ok(Outcome::Skipped("needs root".to_owned()));
        }
        image = Some(image::make_twice()?);
        Ok(Outcome::Passed)
    });
    let mut built = None;
    report.step("release build", || {
        built = Some(vm::Programs {
            // What is tested is what is deployed, and nothing is built for both.
            agent: match &image {
                Some(image) => image.program.clone(),
                None => programs::agent(&toolchain)?,
            },
            actor: programs::actor(&toolchain)?,
            suite: programs::suite(&toolchain)?,
        });
        Ok(Outcome::Passed)
    });
    let not_built = || Ok(Outcome::Skipped("the release build failed".to_owned()));
    report.step("end-to-end tests", || {
        let Some(programs) = &built else {
            return not_built();
        };
        if !command::is_root() {
            return Ok(Outcome::Skipped("needs root".to_owned()));
        }
        packages::ensure(&RUNTIMES, PURPOSE)?;
        let Some(image) = &image else {
            return Ok(Outcome::Skipped("there is no image".to_owned()));
        };
        let (path, record) = vm::record_of_host()?;
        let mut suite = toolchain.cargo();
        suite.args(["test", "--package", "watchkeeper", "--test", "e2e"]);
        suite.args(["--", "--test-threads=1"]);
        suite.env("WATCHKEEPER_BIN", &programs.agent);
        suite.env(debian::STORE, debian::store(PURPOSE)?);
        suite.env(monitoring::PROMETHEUS, monitoring::prometheus()?);
        suite.env(kubernetes::PROGRAMS, kubernetes::programs(PURPOSE)?);
        suite.env(manifests::KUBECTL, manifests::kubectl()?);
        suite.env("WATCHKEEPER_RECORD", path);
        suite.env(
            "WATCHKEEPER_IMAGE",
            format!("{} {}", image.archive.display(), image.name),
        );
        let outcome = outcome(&mut suite)?;
        record.end()?;
        Ok(outcome)
    });
    match &built {
        Some(programs) => virtual_machines(programs, &mut report),
        None => report.step("virtual machines", not_built),
    }
    print!("{}", report.summary());
    Ok(if report.failed() == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The signals on the oldest kernel and the newest. Where nobody looks at what was skipped, the machines have to be there.
fn virtual_machines(programs: &vm::Programs, report: &mut Report) {
    let mut machines = Vec::new();
    for series in vm::DEFAULT_KERNELS {
        match vm::Machine::prepare(series) {
            Err(error) if std::env::var_os("CI").is_none() => {
                report.step(&format!("virtual machine, kernel {series}"), || {
                    Ok(Outcome::Skipped(format!("{error:#}")))
                });
            }
            machine => machines.push((series.to_owned(), machine)),
        }
    }
    vm::test_all(machines, programs, report);
}

/// The eBPF programs are only compiled for their own target, which needs `core` from source.
fn kernel_lints(toolchain: &Toolchain) -> Command {
    let mut clippy = toolchain.cargo();
    clippy.args([
        "clippy",
        "--package",
        "watchkeeper-ebpf",
        "--features",
        "kernel",
        "--release",
    ]);
    clippy.args(["--target", "bpfel-unknown-none", "-Z", "build-std=core"]);
    // A directory of its own: another target and other flags would undo the host's build each time.
    clippy
        .arg("--target-dir")
        .arg(paths::target().join("kernel-lints"));
    clippy.args(["--", "-D", "warnings"]);
    clippy.env("RUSTC_BOOTSTRAP", "1");
    clippy.env(
        "CARGO_ENCODED_RUSTFLAGS",
        format!("--cfg=bpf_target_arch=\"{}\"", std::env::consts::ARCH),
    );
    clippy
}

fn outcome(command: &mut Command) -> Result<Outcome> {
    println!("{}", shown(command));
    let status = command::status(command, "run this step")?;
    Ok(if status.success() {
        Outcome::Passed
    } else {
        Outcome::Failed
    })
}

/// The command without the environment: `cargo …`.
fn shown(command: &Command) -> String {
    let words: Vec<_> = command
        .get_args()
        .map(|word| word.to_string_lossy())
        .collect();
    format!("cargo {}", words.join(" "))
}
