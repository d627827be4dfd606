//! What the agent is made of, as a bill of materials in CycloneDX 1.5.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, PackageId};
use cyclonedx_bom::external_models::spdx::SpdxExpression;
use cyclonedx_bom::models::component::Classification;
use cyclonedx_bom::models::dependency::{Dependencies, Dependency};
use cyclonedx_bom::models::hash::{Hash, HashAlgorithm, HashValue, Hashes};
use cyclonedx_bom::models::license::{LicenseChoice, Licenses};
use cyclonedx_bom::prelude::{
    Bom, Component, Components, Metadata as About, NormalizedString, Purl, SpecVersion,
    Validate as _,
};

use crate::{command, paths};

/// The package whose program it is about.
const ROOT: &str = "watchkeeper";

/// Writes the bill of `program` to a file.
pub(super) fn write(file: &Path, program: &Path, version: &str) -> Result<()> {
    let metadata = MetadataCommand::new()
        .current_dir(paths::repository())
        .other_options(vec![
            "--locked".to_owned(),
            format!(
                "--filter-platform={}-unknown-linux-gnu",
                std::env::consts::ARCH
            ),
        ])
        .exec()
        .context("could not ask cargo what the agent is made of")?;
    let sum = command::output(
        Command::new("sha256sum").arg(program),
        "take the program's digest",
    )?;
    let digest = sum.split_whitespace().next().unwrap_or_default();
    let bom = of(&metadata, version, digest)?;
    let verdict = bom.validate_version(SpecVersion::V1_5);
    ensure!(
        verdict.passed(),
        "the bill of materials is not valid: {verdict:?}"
    );
    let mut out =
        File::create(file).with_context(|| format!("could not make {}", file.display()))?;
    bom.output_as_json_v1_5(&mut out)
        .with_context(|| format!("could not write {}", file.display()))
}

/// The bill: everything that ends up in the program, with what needs what. No time and no random number is in it.
fn of(metadata: &Metadata, version: &str, digest: &str) -> Result<Bom> {
    let needs = needs(metadata)?;
    let package = |id: &PackageId| &metadata[id];
    let mut program = component(package(&root(metadata)?), Classification::Application)?;
    program.version = Some(NormalizedString::new(version));
    program.hashes = Some(Hashes(vec![Hash {
        alg: HashAlgorithm::SHA_256,
        content: HashValue(digest.to_owned()),
    }]));
    let parts = needs
        .keys()
        .map(package)
        .filter(|package| package.name.as_str() != ROOT)
        .map(|package| component(package, Classification::Library))
        .collect::<Result<Vec<_>>>()?;
    let name = |id: &PackageId| reference(package(id));
    let dependencies = needs
        .iter()
        .map(|(id, needed)| Dependency {
            dependency_ref: name(id),
            dependencies: needed.iter().map(name).collect(),
        })
        .collect();
    Ok(Bom {
        version: 1,
        serial_number: None,
        metadata: Some(About {
            component: Some(program),
            ..About::default()
        }),
        components: Some(Components(parts)),
        dependencies: Some(Dependencies(dependencies)),
        spec_version: SpecVersion::V1_5,
        ..Bom::default()
    })
}

fn root(metadata: &Metadata) -> Result<PackageId> {
    let mut all = metadata.packages.iter();
    let found = all.find(|package| package.name.as_str() == ROOT);
    let found = found.context("cargo knows no package of that name")?;
    Ok(found.id.clone())
}

/// Every package that the program is made of, with those that it needs; what only builds or tests need is left out.
fn needs(metadata: &Metadata) -> Result<BTreeMap<PackageId, BTreeSet<PackageId>>> {
    let resolve = metadata
        .resolve
        .as_ref()
        .context("cargo did not say what needs what")?;
    let mut found = BTreeMap::new();
    let mut left = vec![root(metadata)?];
    while let Some(id) = left.pop() {
        if found.contains_key(&id) {
            continue;
        }
        let node = resolve.nodes.iter().find(|node| node.id == id);
        let needed: BTreeSet<PackageId> = node
            .into_iter()
            .flat_map(|node| &node.deps)
            .filter(|needed| {
                let mut kinds = needed.dep_kinds.iter();
                kinds.any(|kind| kind.kind == DependencyKind::Normal)
            })
            .map(|needed| needed.pkg.clone())
            .collect();
        left.extend(needed.iter().cloned());
        found.insert(id, needed);
    }
    Ok(found)
}

fn reference(package: &Package) -> String {
    format!("pkg:cargo/{}@{}", package.name, package.version)
}

fn component(package: &Package, kind: Classification) -> Result<Component> {
    let version = package.version.to_string();
    let mut component = Component::new(kind, &package.name, &version, Some(reference(package)));
    component.purl = Some(
        Purl::new("cargo", &package.name, &version)
            .with_context(|| format!("{} has no package URL", package.name))?,
    );
    component.description = package
        .description
        .as_deref()
        .map(|text| NormalizedString::new(text.trim()));
    // Some are written with a slash, which is no SPDX.
    component.licenses = package
        .license
        .as_ref()
        .and_then(|text| SpdxExpression::parse_lax(text.clone()).ok())
        .map(|expression| Licenses(vec![LicenseChoice::Expression(expression)]));
    Ok(component)
}
