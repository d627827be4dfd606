//! Loading single programs and attaching them to what their sensors hook. A sensor that fails leaves the others running.

use std::{
    collections::HashMap,
    fs::File,
    io,
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
    sync::Arc,
};

use aya::{
    Btf, Ebpf,
    programs::{
        BtfTracePoint, CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, ProgramError, ProgramInfo,
        TracePoint,
    },
};
use watchkeeper_ebpf::offsets::{KernelOffsets, Sensor};

use super::{
    btf::KernelTypes,
    hierarchy::Hierarchy,
    loader::chain,
    offsets,
    sensors::{self, Hooks, Programs},
    syscalls,
    tracefs::Tracefs,
};

/// Category of the tracepoints of system calls.
const SYSCALLS: &str = "syscalls";

/// State of one sensor.
#[derive(Clone, Debug)]
pub struct SensorStatus {
    /// Which.
    pub sensor: Sensor,
    /// How it is.
    pub state: SensorState,
    /// Why it is not active, or which detail it lacks; empty otherwise.
    pub reason: String,
    /// Instructions the verifier went through for all of its programs; 0 where the kernel does not tell.
    pub verified_instructions: u32,
}

/// See [`SensorStatus::state`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SensorState {
    /// Loaded and attached.
    Active,
    /// The kernel refused it, or lacks something it needs.
    Failed,
    /// Not wanted.
    Disabled,
    /// The kernel lacks what it watches: nothing is missed.
    NotOffered,
}

impl SensorState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Active, Self::Failed, Self::Disabled, Self::NotOffered];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Failed => "failed",
            Self::Disabled => "disabled",
            Self::NotOffered => "not-offered",
        }
    }
}

/// A program that is loaded.
#[derive(Clone, Debug)]
pub struct LoadedProgram {
    /// Its name.
    pub name: &'static str,
    /// What the kernel calls it.
    pub id: u32,
    /// Leads to it.
    pub descriptor: Arc<OwnedFd>,
    /// Instructions the verifier went through; 0 where the kernel does not tell.
    pub verified_instructions: u32,
}

/// A descriptor of a program that is loaded.
fn descriptor(program: &aya::programs::Program) -> Result<OwnedFd, String> {
    let loaded = program.fd().map_err(|error| reason(&error))?;
    let copied = loaded.as_fd().try_clone_to_owned();
    copied.map_err(|error| format!("keeping a descriptor of it: {error}"))
}

/// Loads and attaches.
pub struct Attacher<'a> {
    /// The object.
    pub ebpf: &'a mut Ebpf,
    /// Types of the kernel, as the loader wants them.
    pub btf: &'a Btf,
    /// The same, to look into.
    pub types: &'a KernelTypes,
    /// Offsets in this kernel.
    pub offsets: &'a KernelOffsets,
    /// Where cgroups are.
    pub hierarchy: &'a Hierarchy,
    /// Where tracepoints are listed, or why they are not.
    pub tracefs: Result<Tracefs, String>,
    /// Programs that have been loaded, or why they could not be.
    pub loaded: HashMap<&'static str, Result<LoadedProgram, String>>,
}

impl Attacher<'_> {
    /// Loads and attaches one sensor.
    pub fn attach(&mut self, sensor: Sensor) -> SensorStatus {
        if let Some(part) = sensors::part(sensor)
            && !Path::new(part.place).exists()
        {
            return SensorStatus {
                sensor,
                state: SensorState::NotOffered,
                reason: format!("this kernel has no {}", part.name),
                verified_instructions: 0,
            };
        }
        let result = match offsets::obstacle(self.offsets, self.types, sensor) {
            Some(obstacle) => Err(obstacle),
            None => match sensors::describe(sensor).hooks {
                Hooks::Tracepoint(program, names) => self.tracepoint(program, names),
                Hooks::Calls(programs) => self.calls(sensor, programs),
                Hooks::Packets(program) => self.packets(program),
            },
        };
        match result {
            Ok(verified_instructions) => SensorStatus {
                sensor,
                state: SensorState::Active,
                reason: offsets::lacking_detail(self.offsets, sensor)
                    .unwrap_or_default()
                    .to_owned(),
                verified_instructions,
            },
            Err(reason) => SensorStatus {
                sensor,
                state: SensorState::Failed,
                reason,
                verified_instructions: 0,
            },
        }
    }

    /// Loads a program, once.
    fn load(
        &mut self,
        name: &'static str,
        load: impl FnOnce(&mut aya::programs::Program) -> Result<ProgramInfo, ProgramError>,
    ) -> Result<u32, String> {
        let ebpf = &mut *self.ebpf;
        let loaded = self.loaded.entry(name).or_insert_with(|| {
            let program = ebpf
                .program_mut(name)
                .ok_or_else(|| format!("the eBPF object has no program {name}"))?;
            match load(program) {
                Ok(info) => Ok(LoadedProgram {
                    name,
                    id: info.id(),
                    descriptor: Arc::new(descriptor(program)?),
                    verified_instructions: info.verified_instruction_count().unwrap_or_default(),
                }),
                Err(error) => {
                    tracing::debug!(program = name, error = ?error, "program failed");
                    Err(reason(&error))
                }
            }
        });
        match loaded {
            Ok(program) => Ok(program.verified_instructions),
            Err(reason) => Err(reason.clone()),
        }
    }

    fn tracepoint(
        &mut self,
        program: &'static str,
        names: &'static [&'static str],
    ) -> Result<u32, String> {
        let btf = self.btf;
        let Some(name) = names
            .iter()
            .find(|name| self.types.tracepoint_arguments(name).is_some())
        else {
            return Err(format!(
                "this kernel has no tracepoint {}",
                names.join(" or ")
            ));
        };
        let verified = self.load(program, |program| {
            let program: &mut BtfTracePoint = program.try_into()?;
            program.load(name, btf)?;
            program.info()
        })?;
        let attached: Result<(), ProgramError> = (|| {
            let program: &mut BtfTracePoint = self.program(program).try_into()?;
            program.attach()?;
            Ok(())
        })();
        attached.map_err(|error| reason(&error))?;
        Ok(verified)
    }

    /// A program that has been loaded.
    fn program(&mut self, name: &str) -> &mut aya::programs::Program {
        self.ebpf
            .program_mut(name)
            .expect("a program that was loaded is in the object")
    }

    fn calls(&mut self, sensor: Sensor, programs: Programs) -> Result<u32, String> {
        let tracefs = self.tracefs.as_ref().map_err(Clone::clone)?;
        let mut hooks = Vec::new();
        // A kernel that lacks a tracepoint lacks the system call: nothing can be missed.
        for row in sensors::rows(sensor).filter(|row| syscalls::number(row.call).is_some()) {
            let sides = [
                (
                    programs.enter.filter(|_| sensors::begins_hooked(row)),
                    "enter",
                ),
                (programs.exit, "exit"),
            ];
            for (program, side) in sides {
                let Some(program) = program else { continue };
                let name = format!("sys_{side}_{}", row.name);
                if tracefs.has(SYSCALLS, &name) {
                    hooks.push((program, name));
                }
            }
        }
        if hooks.is_empty() {
            return Err(
                "this kernel has no tracepoints of system calls (CONFIG_FTRACE_SYSCALLS)"
                    .to_owned(),
            );
        }
        let mut verified = 0;
        for program in [programs.enter, programs.exit].into_iter().flatten() {
            if hooks.iter().all(|(hooked, _)| *hooked != program) {
                continue;
            }
            verified += self.load(program, |program| {
                let program: &mut TracePoint = program.try_into()?;
                program.load()?;
                program.info()
            })?;
        }
        for (program, name) in hooks {
            let attached: Result<(), ProgramError> = (|| {
                let program: &mut TracePoint = self.program(program).try_into()?;
                program.attach(SYSCALLS, &name)?;
                Ok(())
            })();
            attached.map_err(|error| format!("{name}: {}", reason(&error)))?;
        }
        Ok(verified)
    }

    fn packets(&mut self, program: &'static str) -> Result<u32, String> {
        if self.hierarchy.controller.is_some() {
            return Err(
                "the node has no unified cgroup hierarchy, which packets are attributed by"
                    .to_owned(),
            );
        }
        let verified = self.load(program, |program| {
            let program: &mut CgroupSkb = program.try_into()?;
            program.load()?;
            program.info()
        })?;
        let mount = &self.hierarchy.mount;
        let root =
            File::open(mount).map_err(|error| format!("opening {}: {error}", mount.display()))?;
        let attached: Result<(), ProgramError> = (|| {
            let program: &mut CgroupSkb = self.program(program).try_into()?;
            let direction = program
                .expected_attach_type()
                .unwrap_or(CgroupSkbAttachType::Egress);
            // A link never replaces another program.
            program.attach(root, direction, CgroupAttachMode::Single)?;
            Ok(())
        })();
        attached.map_err(|error| reason(&error))?;
        Ok(verified)
    }
}

/// Why a program failed, in one line: of a verifier's log the last line that says something.
fn reason(error: &ProgramError) -> String {
    match error {
        ProgramError::LoadError {
            io_error,
            verifier_log,
        } => refusal(io_error, &format!("{verifier_log:?}")),
        error => chain(error),
    }
}

fn refusal(error: &io::Error, log: &str) -> String {
    let said = log.lines().rev().map(str::trim).find(|line| {
        let is_statistics = [
            "processed ",
            "stack depth ",
            "verification time ",
            "insns processed ",
        ]
        .iter()
        .any(|start| line.starts_with(start));
        !line.is_empty() && !is_statistics
    });
    match said {
        Some(said) => format!("the kernel refused it ({error}): {said}"),
        None => format!("the kernel refused it ({error})"),
    }
}
