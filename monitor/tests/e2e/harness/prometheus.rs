//! A real Prometheus that scrapes what a test names, with configuration and data of its own.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::{eventually, provided, service};

/// The program: `WATCHKEEPER_PROMETHEUS`, or what `cargo xtask test` left in the user's cache.
fn program() -> PathBuf {
    provided(
        "WATCHKEEPER_PROMETHEUS",
        "packages/prometheus/usr/bin/prometheus",
    )
}

/// A running Prometheus. Dropping it ends it and removes its data.
pub(crate) struct Prometheus {
    child: Child,
    port: u16,
    _directory: TempDir,
}

impl Prometheus {
    /// Starts one that scrapes `target` (an address and port) as the job `job`, and evaluates the rules of a file, both every
    /// second.
    pub(crate) fn start(job: &str, target: &str, rules: &Path) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("watchkeeper-prometheus-")
            .tempdir()
            .expect("a temporary directory can be made");
        let configuration = directory.path().join("prometheus.yaml");
        let text = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
             rule_files: [{}]\n\
             scrape_configs:\n\
             - job_name: {job}\n  \
               static_configs: [{{targets: [\"{target}\"]}}]\n",
            rules.display()
        );
        fs::write(&configuration, text).expect("a file can be written");
        let port = service::free_port();
        let mut command = Command::new(program());
        command
            .arg(format!("--config.file={}", configuration.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                directory.path().join("data").display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--log.level=warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("could not run {command:?}: {error}"));
        let prometheus = Self {
            child,
            port,
            _directory: directory,
        };
        eventually("Prometheus is ready", || {
            let answer = service::ask(port, "/-/ready");
            answer.starts_with("HTTP/1.0 200 ").then_some(())
        });
        prometheus
    }

    /// What its HTTP API answers at `path`, below `/api/v1/`, with these parameters.
    pub(crate) fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Value {
        let mut target = format!("/api/v1/{path}");
        for (place, (name, value)) in parameters.iter().enumerate() {
            target.push(if place == 0 { '?' } else { '&' });
            target.push_str(name);
            target.push('=');
            for byte in value.bytes() {
                if byte.is_ascii_alphanumeric() {
                    target.push(char::from(byte));
                } else {
                    write!(target, "%{byte:02X}").expect("a string takes everything");
                }
            }
        }
        let answer = service::get(self.port, &target);
        let (_, body) = answer.split_once("\r\n\r\n").expect("there is a head");
        let answer: Value = serde_json::from_str(body).expect("it answers in JSON");
        assert_eq!(answer["status"], "success", "{target}: {answer}");
        answer["data"].clone()
    }

    /// The samples of a query, now.
    pub(crate) fn query(&self, expression: &str) -> Vec<Value> {
        let answer = self.ask("query", &[("query", expression)]);
        answer["result"].as_array().expect("a vector").clone()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // It fails only for a process that has ended.
            let _ = kill_process(pid, Signal::TERM);
        }
        // It writes down what it has, at most for some seconds.
        let _ = self.child.wait();
    }
}
