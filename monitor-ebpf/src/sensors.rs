//! The sensors: what each reports is documented with its record in `watchkeeper_ebpf::record`.

mod cgroup;
mod exec;
mod exit;
mod fork;
