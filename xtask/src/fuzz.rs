//! Fuzzing of what reads untrusted bytes: the targets of `monitor/fuzz`, each for some seconds.
//!
//! cargo-fuzz builds them, with AddressSanitizer. It asks for unstable options of rustc, which the stable one has too.
//! What a run learns is kept in the output directory, and the next one goes on from there.

use std::ffi::OsString;
use std::fs;
use std::process::Stdio;

use anyhow::{Context as _, Result};

use crate::install::{self, Tool};
use crate::report::Outcome;
use crate::{command, packages, paths};

const CARGO_FUZZ: &str = "0.13.2";

/// The targets, as `monitor/fuzz/fuzz_targets` names them.
pub(crate) const TARGETS: [&str; 3] = ["record", "dns", "payload"];

/// Runs each of `targets` for `seconds`; all when none is named. One that breaks does not stop the others.
pub(crate) fn run(targets: &[String], seconds: u32) -> Result<Outcome> {
    let path = ensure()?;
    let named = |target: &&str| targets.is_empty() || targets.iter().any(|name| name == target);
    let mut outcome = Outcome::Passed;
    for target in TARGETS.into_iter().filter(named) {
        if !holds(target, seconds, &path)? {
            outcome = Outcome::Failed;
        }
    }
    Ok(outcome)
}

/// Gets cargo-fuzz and what it needs; returns the PATH on which it is.
fn ensure() -> Result<OsString> {
    // libFuzzer comes as C++ sources.
    if std::env::var_os("CXX").is_none() && !command::exists("c++") {
        packages::ensure(&["g++"], "build libFuzzer")?;
    }
    let root = paths::cache(format!("tools/cargo-fuzz-{CARGO_FUZZ}"))?;
    let tool = Tool::new("cargo-fuzz", CARGO_FUZZ, root);
    if !tool.runs() {
        println!("building cargo-fuzz {CARGO_FUZZ}; once, about a minute");
        tool.install(|_| {})?;
    }
    install::path_with(&tool.directory())
}

/// Whether nothing that was tried on `target` broke it. An error means that it could not be tried.
fn holds(target: &str, seconds: u32, path: &OsString) -> Result<bool> {
    let home = paths::repository().join("monitor/fuzz");
    let output = paths::target().join("fuzz");
    let corpus = output.join("corpus").join(target);
    fs::create_dir_all(&corpus).with_context(|| format!("could not make {}", corpus.display()))?;
    let cargo_fuzz = |action: &str| {
        let mut cargo = install::cargo();
        cargo
            .env("PATH", path)
            .env("RUSTC_BOOTSTRAP", "1")
            // It would be used in place of the flags that cargo-fuzz sets.
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .current_dir(paths::repository());
        cargo.args(["fuzz", action, "--fuzz-dir"]).arg(&home);
        cargo.arg("--target-dir").arg(&output).arg(target);
        cargo
    };
    command::run(
        &mut cargo_fuzz("build"),
        &format!("build the fuzz target {target}"),
    )?;

    println!("fuzzing {target} for {seconds} s");
    let mut fuzz = cargo_fuzz("run");
    fuzz.arg(&corpus).arg(home.join("seeds").join(target));
    fuzz.arg("--").arg(format!("-max_total_time={seconds}"));
    // An input on which it hangs breaks it too.
    fuzz.args(["-timeout=5", "-verbosity=0", "-print_final_stats=1"]);
    let ran = fuzz
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("could not fuzz {target}: cargo did not start"))?;
    let log = String::from_utf8_lossy(&ran.stderr);
    if ran.status.success() {
        println!(
            "  {} inputs, and none broke it",
            inputs(&log).unwrap_or("?")
        );
        return Ok(true);
    }
    eprint!("{log}");
    match breaking_input(&log) {
        Some(input) => eprintln!(
            "error: {target} breaks on the input in {input}\n  once more: {}",
            command::line(cargo_fuzz("run").arg(input))
        ),
        None => eprintln!("error: {target} ended with {}", ran.status),
    }
    Ok(false)
}

/// How many inputs were tried, by libFuzzer's statistics.
fn inputs(log: &str) -> Option<&str> {
    log.lines()
        .find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))
        .map(str::trim)
}

/// Where libFuzzer left the input that broke a target.
fn breaking_input(log: &str) -> Option<&str> {
    log.lines()
        .find_map(|line| line.split_once("Test unit written to "))
        .map(|(_, path)| path.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_inputs_and_the_breaking_one_are_read_from_the_log() {
        let log = "INFO: seed corpus: files: 7\nstat::number_of_executed_units: 98189\nstat::peak_rss_mb:              168\n";
        assert_eq!(inputs(log), Some("98189"));
        assert_eq!(breaking_input(log), None);
        let log = "SUMMARY: libFuzzer: deadly signal\n\
                   artifact_prefix='/a b/dns/'; Test unit written to /a b/dns/crash-220f\nBase64: AA==\n";
        assert_eq!(breaking_input(log), Some("/a b/dns/crash-220f"));
        assert_eq!(inputs(log), None);
    }

    #[test]
    fn every_target_is_there_with_seeds() {
        let home = paths::repository().join("monitor/fuzz");
        for target in TARGETS {
            let source = home.join("fuzz_targets").join(target).with_extension("rs");
            assert!(source.is_file(), "{target}");
            let seeds = fs::read_dir(home.join("seeds").join(target));
            assert!(seeds.is_ok_and(|seeds| seeds.count() > 0), "{target}");
        }
        let sources = fs::read_dir(home.join("fuzz_targets")).expect("there");
        assert_eq!(sources.count(), TARGETS.len());
    }
}
