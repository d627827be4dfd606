//! A node that is started anew: three boots of one machine with one disk, with the plug pulled in between.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result};

use super::qemu::Outcome;
use super::{Machine, Programs, initramfs, logs, print_end};
use crate::{command, packages, report};

/// Bytes of the disk.
const DISK: u64 = 256 << 20;

/// Process 1 of the machine.
const INIT: &str = concat!(include_str!("machine.sh"), include_str!("reboot.sh"));

impl Machine {
    /// Boots as often as the script has parts, each time with the disk as it was left.
    pub(crate) fn reboot(&self, programs: &Programs) -> Result<report::Outcome> {
        const BOOTS: usize = 3;
        packages::ensure(&["e2fsprogs"], "test a node that is started anew")?;
        let directory = logs();
        fs::create_dir_all(&directory)
            .with_context(|| format!("could not make {}", directory.display()))?;
        let series = &self.kernel.series;
        let disk = directory.join(format!("{series}.disk"));
        format_disk(&disk)?;
        let modules = &self.kernel.disk_modules;
        // As they are named once they are unpacked.
        let order: Vec<String> = modules
            .iter()
            .filter_map(|path| path.file_name()?.to_str())
            .map(|name| format!("/lib/disk/{}\n", name.trim_end_matches(".xz")))
            .collect();
        let mut files = vec![
            (
                "/etc/selinux.policy".to_owned(),
                self.selinux_policy.clone(),
            ),
            ("/etc/disk-modules".to_owned(), order.concat().into_bytes()),
        ];
        for module in modules {
            let name = module.file_name().unwrap_or_default().display();
            let content =
                fs::read(module).with_context(|| format!("could not read {}", module.display()))?;
            files.push((format!("/lib/disk/{name}"), content));
        }
        let files: Vec<(&str, &[u8])> = files
            .iter()
            .map(|(path, content)| (path.as_str(), content.as_slice()))
            .collect();
        let initramfs = initramfs::build(
            &self.tools.busybox(),
            INIT,
            &[("watchkeeper", &programs.agent), ("actor", &programs.actor)],
            &self.kernel.modules,
            &files,
        )?;
        let start = Instant::now();
        for boot in 1..=BOOTS {
            let log = directory.join(format!("{series}-boot-{boot}.log"));
            println!("vm {series}: boot {boot} of {BOOTS}");
            let mut progress = |text: &str| {
                println!(
                    "vm {series}: {text} ({:.0} s)",
                    start.elapsed().as_secs_f32()
                );
            };
            if let Outcome::Failure(why) =
                self.boot(&initramfs, Some(&disk), &log, &mut progress)?
            {
                print_end(&log);
                println!(
                    "vm {series}: boot {boot}: {why}; console in {}",
                    log.display()
                );
                return Ok(report::Outcome::Failed);
            }
        }
        fs::remove_file(&disk).with_context(|| format!("could not remove {}", disk.display()))?;
        Ok(report::Outcome::Passed)
    }
}

/// An empty filesystem.
fn format_disk(disk: &PathBuf) -> Result<()> {
    File::create(disk)
        .and_then(|file| file.set_len(DISK))
        .with_context(|| format!("could not make {}", disk.display()))?;
    // Not on everybody's path.
    let mut format = Command::new("/sbin/mke2fs");
    format.args(["-q", "-F", "-t", "ext4"]).arg(disk);
    command::run(&mut format, "make a filesystem for a test machine")
}
