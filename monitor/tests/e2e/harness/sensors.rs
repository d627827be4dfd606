//! Names of sensors.

/// Those that hook system calls: detaching each call waits for every CPU.
pub(crate) const OF_SYSTEM_CALLS: [&str; 10] = [
    "sockets",
    "file-open",
    "file-changes",
    "mounts",
    "namespaces",
    "credentials",
    "credential-check",
    "process-access",
    "process-control",
    "kernel-calls",
];
