//! The sensors: what each reports is documented with its record in `watchkeeper_ebpf::record`.

mod calls;
mod cgroup;
mod credential_check;
mod exec;
mod exit;
mod fork;
mod modules;
mod open;
mod packets;
mod rounding;
mod selinux;
mod signals;
mod sockets;
mod tcp;
mod uring;
