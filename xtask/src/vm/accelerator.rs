//! How a machine's processor is provided: by the host's own where that works, else by emulation.

use std::fs::{self, File};
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::initramfs;
use super::kernel::Kernel;
use super::qemu::{self, Boot, Outcome};
use super::tools::Tools;
use crate::paths;

/// How the machine's processor is provided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Accelerator {
    /// The host's own processor.
    Kvm,
    /// The same without a register that some hosts refuse (`IA32_ARCH_CAPABILITIES`, 0x10a).
    KvmWithoutArchCapabilities,
    /// Emulation: works everywhere, several times slower.
    Tcg,
}

impl Accelerator {
    const HARDWARE: [Self; 2] = [Self::Kvm, Self::KvmWithoutArchCapabilities];

    /// The name that is shown, and kept in the cache.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::KvmWithoutArchCapabilities => "kvm without arch-capabilities",
            Self::Tcg => "tcg",
        }
    }

    /// What QEMU takes for it.
    pub(crate) fn arguments(self) -> [&'static str; 4] {
        match self {
            Self::Kvm => ["-accel", "kvm", "-cpu", "host"],
            Self::KvmWithoutArchCapabilities => {
                ["-accel", "kvm", "-cpu", "host,-arch-capabilities"]
            }
            Self::Tcg => ["-accel", "tcg,thread=single", "-cpu", "max"],
        }
    }

    /// The best one that boots `kernel`. `/dev/kvm` alone says nothing, so KVM is tried, and the answer kept until the next boot.
    pub(crate) fn choose(tools: &Tools, kernel: &Kernel) -> Result<Self> {
        if File::options()
            .read(true)
            .write(true)
            .open("/dev/kvm")
            .is_err()
        {
            return Ok(Self::Tcg);
        }
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let known = paths::cache("kvm")?.join(&kernel.series);
        let text = fs::read_to_string(&known).unwrap_or_default();
        let mut all = Self::HARDWARE.into_iter().chain([Self::Tcg]);
        if let Some((of_boot, name)) = text.split_once('\n')
            && of_boot == boot.trim()
            && let Some(accelerator) = all.find(|accelerator| accelerator.name() == name)
        {
            return Ok(accelerator);
        }
        println!("trying whether KVM boots {}", kernel.release);
        let init = "#!/bin/busybox sh\necho vm: success\n/bin/busybox poweroff -f\n";
        let probe = initramfs::build(&tools.busybox(), init, &[], &[], &[])?;
        let log = paths::cache("kvm")?.join(format!("{}.log", kernel.series));
        let mut chosen = Self::Tcg;
        for accelerator in Self::HARDWARE {
            let machine = Boot {
                tools,
                accelerator,
                kernel,
                initramfs: &probe,
                disk: None,
                log: &log,
                limit: Duration::from_secs(10),
            };
            let outcome = qemu::boot(&machine, &mut |_| ())?;
            if outcome == Outcome::Success {
                chosen = accelerator;
                break;
            }
        }
        fs::write(&known, format!("{}\n{}", boot.trim(), chosen.name()))
            .with_context(|| format!("could not write {}", known.display()))?;
        Ok(chosen)
    }
}
