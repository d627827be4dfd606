//! Watchkeeper from outside: the release binary, this kernel, real container runtimes, and clients of the public API.
//!
//! Every test starts an agent of its own and knows nothing of the implementation. Containers are made with containerd
//! (through CRI), podman and buildah, each with its storage in a temporary directory. What a test waits for
//! has a generous limit, so that a failure ends; no test asserts how long something took.
//!
//! Run with `--test-threads=1`: containers and cgroups are shared with the whole machine.

mod bad_input;
mod buildah;
mod catalogue;
mod ceilings;
mod cgroups;
mod cri;
mod cri_timing;
mod deployed;
mod exec_fields;
mod exec_files;
mod flood;
mod harness;
mod health;
mod history;
mod isolation;
mod json;
mod kubernetes;
mod losses;
mod metrics;
mod nsenter;
mod podman;
mod policies;
mod privilege;
mod prometheus;
mod quiet;
mod redact;
mod renamed;
mod sensors;
mod short_lived;
mod shutdown;
mod signals;
mod soak;
mod state_dir;
mod watched;
