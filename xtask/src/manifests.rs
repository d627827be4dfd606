//! The manifests of `deploy/`: rendered by kustomize, validated against the schemas of Kubernetes, and held against what they
//! may ask of a cluster.
//!
//! What was rendered is left in `target/manifests`, one file for each overlay, where other tests read it.

mod access;
mod documents;
mod pods;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::archive::Archive;
use crate::report::Outcome;
use crate::{command, packages, paths};

/// The suite that kubectl comes from; kubectl 1.32 has kustomize 5.5.
const SUITE: &str = "trixie";

/// The release of kubernetes-validate: it brings the schemas of all releases of Kubernetes up to its own.
const VALIDATE: &str = "1.37.0";

/// The newest release of Kubernetes that the manifests are for.
const NEWEST: &str = "1.37.0";

/// The oldest: it knows profiles of AppArmor as a field.
const OLDEST: &str = "1.30.0";

/// The oldest with OpenShift, of OpenShift 4.14.
const OLDEST_OF_OPENSHIFT: &str = "1.27.0";

const PURPOSE: &str = "check the manifests";

/// Kinds that are no part of Kubernetes itself, so that there is no schema of them: they have checks of their own.
const WITHOUT_SCHEMA: [&str; 2] = ["PodMonitor", "SecurityContextConstraints"];

/// Runs this step alone.
pub(crate) fn run() -> Result<ExitCode> {
    Ok(match check()? {
        Outcome::Passed => ExitCode::SUCCESS,
        Outcome::Failed | Outcome::Skipped(_) => ExitCode::FAILURE,
    })
}

/// Renders and checks every overlay, as it is and with all components.
pub(crate) fn check() -> Result<Outcome> {
    let kubectl = kubectl()?;
    let validate = kubernetes_validate()?;
    let output = paths::target().join("manifests");
    // Nothing of an overlay that is gone stays for others to read.
    if output.exists() {
        fs::remove_dir_all(&output)
            .with_context(|| format!("could not remove {}", output.display()))?;
    }
    make(&output)?;
    let mut problems = Vec::new();
    let mut documented = Documented::default();
    for variant in variants(&output)? {
        let text = command::output(
            Command::new(&kubectl)
                .arg("kustomize")
                .arg(&variant.directory),
            &format!("render {}", variant.name),
        )?;
        let file = output.join(format!("{}.yaml", variant.name));
        fs::write(&file, &text).with_context(|| format!("could not write {}", file.display()))?;
        let documents = documents::parse(&text)
            .with_context(|| format!("could not read {}", file.display()))?;
        documented.add(&documents);
        let found = validated(&validate, &file, variant.oldest)?
            .into_iter()
            .chain(violations(&documents, variant.enriched));
        problems.extend(found.map(|problem| format!("{}: {problem}", variant.name)));
        println!("{}: {} documents", file.display(), documents.len());
    }
    let readme = deploy().join("README.md");
    let text = fs::read_to_string(&readme)
        .with_context(|| format!("could not read {}", readme.display()))?;
    problems.extend(documented.differences(&text));
    for problem in &problems {
        eprintln!("{problem}");
    }
    Ok(if problems.is_empty() {
        Outcome::Passed
    } else {
        Outcome::Failed
    })
}

/// Everything in rendered manifests that they may not have. `enriched` says whether the agent may ask the API server.
fn violations(documents: &[Value], enriched: bool) -> Vec<String> {
    let mut found = pods::violations(documents, enriched);
    found.extend(access::violations(documents, enriched));
    found
}

/// One thing to render.
struct Variant {
    name: String,
    directory: PathBuf,
    /// The oldest release of Kubernetes that it is for.
    oldest: &'static str,
    /// Whether the component is in it with which the agent asks the API server.
    enriched: bool,
}

/// Each overlay, and each runtime's with all components at once: they must not get in each other's way.
fn variants(output: &Path) -> Result<Vec<Variant>> {
    let mut variants: Vec<Variant> = directories("overlays")?
        .into_iter()
        .map(|name| Variant {
            directory: deploy().join("overlays").join(&name),
            oldest: oldest(&name),
            enriched: name == "enrichment",
            name,
        })
        .collect();
    for overlay in ["kubernetes", "openshift"] {
        let name = format!("{overlay}-with-components");
        let directory = output.join(&name);
        make(&directory)?;
        let reached = |below: String| relative(&directory, &deploy().join(below));
        let components: Vec<String> = directories("components")?
            .into_iter()
            .map(|component| reached(format!("components/{component}")))
            .collect();
        let kustomization = json!({
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": [reached(format!("overlays/{overlay}"))],
            "components": components,
        });
        let file = directory.join("kustomization.yaml");
        fs::write(&file, kustomization.to_string())
            .with_context(|| format!("could not write {}", file.display()))?;
        variants.push(Variant {
            name,
            directory,
            oldest: oldest(overlay),
            enriched: true,
        });
    }
    Ok(variants)
}

fn oldest(overlay: &str) -> &'static str {
    match overlay {
        "openshift" => OLDEST_OF_OPENSHIFT,
        _ => OLDEST,
    }
}

/// Names of the directories in `below` of `deploy`, sorted.
fn directories(below: &str) -> Result<Vec<String>> {
    let place = deploy().join(below);
    let mut names = Vec::new();
    for entry in
        fs::read_dir(&place).with_context(|| format!("could not read {}", place.display()))?
    {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// `to` as it is reached from the directory `from`, both absolute: kustomize takes nothing else.
fn relative(from: &Path, to: &Path) -> String {
    let names = |path: &Path| {
        path.components()
            .filter(|component| matches!(component, Component::Normal(_)))
            .map(|component| component.as_os_str().to_string_lossy().into_owned())
            .collect::<Vec<_>>()
    };
    let mut steps = vec!["..".to_owned(); names(from).len()];
    steps.extend(names(to));
    steps.join("/")
}

fn deploy() -> PathBuf {
    paths::repository().join("deploy")
}

fn make(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("could not make {}", directory.display()))
}

/// What the schemas of Kubernetes have against the manifests in `file`.
fn validated(validate: &Path, file: &Path, oldest: &str) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for release in [oldest, NEWEST] {
        let mut command = Command::new(validate);
        command.args(["--kubernetes-version", release, "--strict"]);
        let output = command
            .arg(file)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("could not start `{}`", command::line(&command)))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let found = complaints(&text);
        if !output.status.success() && found.is_empty() {
            bail!(
                "`{}` ended with {} and names no mistake:\n{text}{}",
                command::line(&command),
                output.status,
                String::from_utf8_lossy(&output.stderr)
            );
        }
        problems.extend(found);
    }
    Ok(problems)
}

/// What kubernetes-validate says beside what passed; that a schema is missing only where it must be.
fn complaints(output: &str) -> Vec<String> {
    let known = |line: &str| {
        line.starts_with("WARN ")
            && WITHOUT_SCHEMA
                .iter()
                .any(|kind| line.contains(&format!("Couldn't find schema for kind {kind} ")))
    };
    output
        .lines()
        .filter(|line| !line.starts_with("INFO ") && !known(line))
        .map(str::to_owned)
        .collect()
}

/// What `deploy/README.md` has to explain.
#[derive(Default)]
struct Documented {
    capabilities: BTreeSet<String>,
    mounts: BTreeSet<String>,
}

impl Documented {
    fn add(&mut self, documents: &[Value]) {
        for pod in documents::pods(documents) {
            for container in pod.containers() {
                let added = container.list("/securityContext/capabilities/add");
                self.capabilities
                    .extend(added.filter_map(Value::as_str).map(str::to_owned));
                let mounts = container.list("/volumeMounts");
                let paths = mounts.filter_map(|mount| mount["mountPath"].as_str());
                self.mounts.extend(paths.map(str::to_owned));
            }
        }
    }

    /// Where the tables of the README are not about exactly this.
    fn differences(&self, readme: &str) -> Vec<String> {
        let mut found = Vec::new();
        for (heading, wanted) in [
            ("## Capabilities", &self.capabilities),
            ("## Mounts", &self.mounts),
        ] {
            let rows = rows(readme, heading);
            for name in wanted.symmetric_difference(&rows) {
                found.push(if rows.contains(name) {
                    format!(
                        "deploy/README.md: `{name}` is a row of \"{heading}\" and in no manifest"
                    )
                } else {
                    format!(
                        "deploy/README.md: `{name}` is in a manifest and no row of \"{heading}\""
                    )
                });
            }
        }
        found
    }
}

/// What the rows of a section's table begin with, in backquotes.
fn rows(text: &str, heading: &str) -> BTreeSet<String> {
    text.lines()
        .skip_while(|line| *line != heading)
        .skip(1)
        .take_while(|line| !line.starts_with("## "))
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .map(str::to_owned)
        .collect()
}

/// The variable that tells the end-to-end tests where kubectl is.
pub(crate) const KUBECTL: &str = "WATCHKEEPER_KUBECTL";

/// A kubectl with a kustomize that knows components and replacements: Debian 12's own has none.
pub(crate) fn kubectl() -> Result<PathBuf> {
    let root = paths::cache("tools")?.join(format!("kubectl-{SUITE}"));
    let program = root.join("usr/bin/kubectl");
    let runs = || {
        let mut version = Command::new(&program);
        version.args(["version", "--client"]);
        command::output(&mut version, "run kubectl").map(|_| ())
    };
    if runs().is_ok() {
        return Ok(program);
    }
    println!("getting kubectl of Debian's {SUITE}: needed to {PURPOSE}");
    let archive = Archive::open(SUITE)?;
    // Beside its destination, so that the last step is a rename.
    let unpacked = root.with_extension(format!("unpacking-{}", std::process::id()));
    let moved = archive.fetch("kubectl", &unpacked).and_then(|()| {
        if root.exists() {
            fs::remove_dir_all(&root)
                .with_context(|| format!("could not remove the old {}", root.display()))?;
        }
        fs::rename(&unpacked, &root).with_context(|| format!("could not make {}", root.display()))
    });
    // Left-overs only take room.
    let _ = fs::remove_dir_all(&unpacked);
    moved?;
    runs().context("kubectl does not run on this system")?;
    Ok(program)
}

/// kubernetes-validate in an environment of its own.
fn kubernetes_validate() -> Result<PathBuf> {
    let root = paths::cache("tools")?.join(format!("kubernetes-validate-{VALIDATE}"));
    let program = root.join("bin/kubernetes-validate");
    // The environment is bound to an interpreter that may have been removed since: only a run tells.
    let runs = || {
        command::output(
            Command::new(&program).arg("--version"),
            "run kubernetes-validate",
        )
    };
    if runs().is_ok() {
        return Ok(program);
    }
    packages::ensure(&["python3-venv"], PURPOSE)?;
    println!("getting kubernetes-validate {VALIDATE}: needed to {PURPOSE}");
    let mut environment = Command::new("/usr/bin/python3");
    environment.args(["-m", "venv", "--clear"]).arg(&root);
    command::run(&mut environment, "make an environment of Python")?;
    let mut pip = Command::new(root.join("bin/pip"));
    pip.args(["install", "--quiet", "--disable-pip-version-check"]);
    pip.arg(format!("kubernetes-validate=={VALIDATE}"));
    command::run(&mut pip, "install kubernetes-validate")?;
    runs()?;
    Ok(program)
}
