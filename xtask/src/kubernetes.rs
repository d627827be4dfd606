//! A control plane of Kubernetes without nodes, for the end-to-end tests: etcd, the API server, and the controllers that make pods.
//!
//! Debian has none as packages, but their source with all that it is built from, and the compiler. Built once and kept in the cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::archive::{self, Archive};
use crate::{command, kept, packages, paths};

/// The variable that tells the end-to-end tests where the programs are.
pub(crate) const PROGRAMS: &str = "WATCHKEEPER_CONTROL_PLANE";

/// The suite whose source of Kubernetes is complete, and its compiler.
const SUITE: &str = "bookworm";
const COMPILER: [&str; 2] = ["golang-1.19-go", "golang-1.19-src"];

/// Run in the directory that holds `source` and `compiler`: builds into `bin`. What is generated from the source is not part of it.
const BUILD: &str = r#"
export GOROOT="$PWD/compiler/usr/lib/go-1.19" GOPATH="$PWD/path" GOCACHE="$PWD/objects"
export GO111MODULE=off CGO_ENABLED=0 GOTOOLCHAIN=local PATH="$GOROOT/bin:$PATH"
mkdir -p path/src/k8s.io bin
mv source path/src/k8s.io/kubernetes
cd path/src/k8s.io/kubernetes
go build -o ../openapi-gen ./vendor/k8s.io/kube-openapi/cmd/openapi-gen
inputs=$(grep -rl --include='*.go' -e '+k8s:openapi-gen=' staging/src/k8s.io | grep -v -e sample -e code-generator |
    xargs -n1 dirname | sort -u | sed 's,^staging/src/,k8s.io/kubernetes/vendor/,' | paste -sd,)
../openapi-gen -i "$inputs" -p k8s.io/kubernetes/pkg/generated/openapi -O zz_generated.openapi \
    -h hack/boilerplate/boilerplate.generatego.txt --output-base "$GOPATH/src" -r /dev/null
go build -tags providerless -ldflags '-s -w' -o "$GOPATH/../bin/" ./cmd/kube-apiserver ./cmd/kube-controller-manager
"#;

/// The directory with the programs `etcd`, `kube-apiserver` and `kube-controller-manager`.
pub(crate) fn programs(purpose: &str) -> Result<PathBuf> {
    let directory = paths::cache("kubernetes")?;
    let bin = directory.join("bin");
    kept::once(&directory, &format!("{SUITE} {COMPILER:?} {BUILD}"), || {
        packages::ensure(&["openssl"], purpose)?;
        println!(
            "building Kubernetes' API server in {}, which takes some minutes: needed to {purpose}",
            directory.display()
        );
        build(&directory.join("work"), &bin)
    })?;
    Ok(bin)
}

/// Builds in `work`, which is removed again, and puts the programs into `bin`.
fn build(work: &Path, bin: &Path) -> Result<()> {
    let binaries = Archive::open(SUITE)?;
    for package in COMPILER {
        binaries.fetch(package, &work.join("compiler"))?;
    }
    binaries.fetch("etcd-server", &work.join("etcd"))?;
    archive::source(SUITE, "kubernetes", &work.join("source"))?;
    command::run(
        Command::new("sh").args(["-euc", BUILD]).current_dir(work),
        "build Kubernetes' API server",
    )?;
    let moved = |from: &str, to: &Path| {
        let from = work.join(from);
        fs::rename(&from, to).with_context(|| format!("could not move {}", from.display()))
    };
    moved("bin", bin)?;
    moved("etcd/usr/bin/etcd", &bin.join("etcd"))?;
    // The compiler and what it made on the way are large.
    fs::remove_dir_all(work).with_context(|| format!("could not remove {}", work.display()))
}
