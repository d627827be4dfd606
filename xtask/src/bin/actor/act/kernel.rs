//! Calls into parts of the kernel that ordinary programs leave alone; none of them changes it.

use std::ffi::{CStr, c_long};
use std::fs;
use std::io::Read as _;
use std::os::fd::{AsRawFd as _, OwnedFd};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::facts::{NotOffered, implemented, offered, outcome};
use super::{Action, Inside, gathered, sys};

pub(super) const ACTIONS: &[Action] = &[
    Action::new("init-module", "Tries to load a module that is none", |_| {
        let arguments = [
            GARBAGE.as_ptr().expose_provenance(),
            GARBAGE.len(),
            c"".as_ptr().expose_provenance(),
        ];
        // SAFETY: it is as long as is said, and the parameters are a text.
        let result = unsafe { sys::call(libc::SYS_init_module, arguments) };
        refused("init_module", &result, &json!({}))
    }),
    Action::new("finit-module", "Tries to load it from a file", |_| {
        const PATH: &str = "/tmp/garbage.ko";
        fs::write(PATH, GARBAGE)?;
        let file: OwnedFd = fs::File::open(PATH)?.into();
        let arguments = [
            usize::try_from(file.as_raw_fd())?,
            c"".as_ptr().expose_provenance(),
            0,
        ];
        // SAFETY: the parameters are a text; the other arguments are numbers.
        let result = unsafe { sys::call(libc::SYS_finit_module, arguments) };
        refused("finit_module", &result, &json!({"path": PATH}))
    }),
    Action::new("delete-module", "Tries to unload a missing module", |_| {
        const NAME: &str = "watchkeeper_none";
        let name = sys::text(NAME)?;
        let flags = usize::try_from(libc::O_NONBLOCK)?;
        let arguments = [name.as_ptr().expose_provenance(), flags];
        // SAFETY: the name is a text.
        let result = unsafe { sys::call(libc::SYS_delete_module, arguments) };
        refused("delete_module", &result, &json!({"name": NAME}))
    }),
    Action::new("module-load", "Loads a module for the sake of it", |_| {
        let call = load_dummy()?;
        // It goes again whatever is looked for.
        remove_dummy()?;
        Ok(call)
    }),
    Action::new("bpf-prog-load", "Loads a BPF program", |_| load_program()),
    Action::new("bpf-map-create", "Makes a BPF map", |_| {
        drop(make_map()?);
        Ok(json!({
            "call": "bpf", "command": "BPF_MAP_CREATE", "type": "BPF_MAP_TYPE_ARRAY", "name": NAME,
        }))
    }),
    Action::new("bpf-map-by-id", "Asks for a BPF map by number", |_| {
        by_number("BPF_MAP_GET_FD_BY_ID", GET_MAP)
    }),
    Action::new("bpf-link-by-id", "Asks for a BPF link by number", |_| {
        by_number("BPF_LINK_GET_FD_BY_ID", GET_LINK)
    }),
    Action::new("perf-event-open", "Opens a software event", perf_event),
    Action::new("kexec-load", "Tries to load another kernel", |_| {
        // SAFETY: there are no segments; the flags are none that the kernel knows.
        let result = unsafe { sys::call(libc::SYS_kexec_load, [0, 0, 0, 0x8000]) };
        refused("kexec_load", &result, &json!({}))
    }),
    Action::new("add-key", "Adds a key to its own keyring", |_| add_key()),
    Action::new("keyctl-read", "Reads that key", |_| {
        let key = key()?;
        let mut content = [0_u8; 64];
        let arguments = [
            KEYCTL_READ,
            usize::try_from(key)?,
            content.as_mut_ptr().expose_provenance(),
            content.len(),
        ];
        // SAFETY: the kernel writes no more than the room that is given.
        let result = unsafe { sys::call(libc::SYS_keyctl, arguments) };
        let mut facts = outcome("keyctl", &result);
        offered(result, "could not read a key")?;
        facts.push(("command".to_owned(), "KEYCTL_READ".into()));
        Ok(gathered(facts))
    }),
    Action::new(
        "selinux-denied",
        "Reads a file that the policy of the test machines keeps from everybody",
        |_| read_secret(),
    ),
    Action::new(
        "selinux-denied-often",
        "Reads ten others, each with a label of its own",
        |_| {
            let read = |name| denied_read(&format!("/proc/{name}"), "watchkeeper_hidden_");
            let reads: Vec<_> = HIDDEN.into_iter().map(read).collect::<Result<_>>()?;
            reads.into_iter().next().context("nothing was read")
        },
    ),
];

const GARBAGE: [u8; 64] = [b'w'; 64];

/// At most 15 characters.
const NAME: &str = "watchkeeper_act";

/// A call that was made to fail, with how it failed.
fn refused(call: &str, result: &std::io::Result<i64>, more: &Value) -> Result<Value> {
    implemented(call, result)?;
    let mut facts = outcome(call, result);
    anyhow::ensure!(result.is_err(), "{call} was to fail");
    facts.extend(more.as_object().cloned().unwrap_or_default());
    Ok(gathered(facts))
}

/// Commands and types of linux/bpf.h.
const MAP_CREATE: usize = 0;
const PROG_LOAD: usize = 5;
const GET_MAP: usize = 14;
const GET_LINK: usize = 30;
const MAP_TYPE_ARRAY: u32 = 2;
const SOCKET_FILTER: u32 = 1;

/// # Safety
///
/// `attributes` must be those of the command, and addresses in them must be good.
unsafe fn bpf<T>(command: usize, attributes: &T) -> std::io::Result<i64> {
    let arguments = [
        command,
        (&raw const *attributes).expose_provenance(),
        size_of_val(attributes),
    ];
    let number: c_long = libc::SYS_bpf;
    // SAFETY: the attributes are as long as is said; the caller answers for the rest.
    unsafe { sys::call(number, arguments) }
}

/// Asks for a map or link. None has number 0, so that it is not got.
fn by_number(name: &str, command: usize) -> Result<Value> {
    let attributes = [0_u32; 8];
    // SAFETY: these commands read three numbers.
    let result = unsafe { bpf(command, &attributes) };
    refused("bpf", &result, &json!({"command": name}))
}

fn name() -> [u8; 16] {
    let mut name = [0; 16];
    for (to, from) in name.iter_mut().zip(NAME.bytes()) {
        *to = from;
    }
    name
}

/// The beginning of `union bpf_attr` for BPF_MAP_CREATE.
#[repr(C)]
struct MapAttributes {
    kind: u32,
    key_size: u32,
    value_size: u32,
    entries: u32,
    flags: u32,
    inner: u32,
    node: u32,
    name: [u8; 16],
}

fn make_map() -> Result<OwnedFd> {
    let attributes = MapAttributes {
        kind: MAP_TYPE_ARRAY,
        key_size: 4,
        value_size: 8,
        entries: 1,
        flags: 0,
        inner: 0,
        node: 0,
        name: name(),
    };
    // SAFETY: the attributes are those of the command and hold no address.
    let made = offered(
        unsafe { bpf(MAP_CREATE, &attributes) },
        "could not make a map",
    )?;
    // SAFETY: the call just returned it.
    unsafe { sys::descriptor(made) }
}

/// The beginning of `union bpf_attr` for BPF_PROG_LOAD.
#[repr(C)]
struct ProgramAttributes {
    kind: u32,
    instructions: u32,
    code: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
}

fn load_program() -> Result<Value> {
    // `r0 = 0; exit`
    let code: [u64; 2] = [0xb7, 0x95];
    let attributes = ProgramAttributes {
        kind: SOCKET_FILTER,
        instructions: 2,
        code: u64::try_from(code.as_ptr().expose_provenance())?,
        license: u64::try_from(c"GPL".as_ptr().expose_provenance())?,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
        name: name(),
    };
    // SAFETY: the attributes are those of the command; code and license outlive the call.
    let loaded = unsafe { bpf(PROG_LOAD, &attributes) };
    // SAFETY: the call just returned it.
    drop(unsafe { sys::descriptor(offered(loaded, "could not load a program")?) }?);
    Ok(json!({
        "call": "bpf", "command": "BPF_PROG_LOAD", "type": "BPF_PROG_TYPE_SOCKET_FILTER",
        "name": NAME,
    }))
}

/// The first version of `struct perf_event_attr`, 64 bytes: type, size, config, and what is not used here.
fn perf_event(_: &Inside) -> Result<Value> {
    const SOFTWARE: u64 = 1;
    let mut attributes = [0_u64; 8];
    attributes[0] = SOFTWARE | 64 << 32;
    let arguments = [
        attributes.as_ptr().expose_provenance(),
        0,
        sys::signed(-1),
        sys::signed(-1),
        0,
    ];
    // SAFETY: the attributes say how long they are.
    let opened = unsafe { sys::call(libc::SYS_perf_event_open, arguments) };
    // SAFETY: the call just returned it.
    drop(unsafe { sys::descriptor(offered(opened, "could not open an event")?) }?);
    Ok(json!({"call": "perf_event_open", "type": "PERF_TYPE_SOFTWARE"}))
}

/// Values of linux/keyctl.h.
const PROCESS_KEYRING: i32 = -2;
const KEYCTL_READ: usize = 11;
const KEY: &str = "watchkeeper:act";

fn key() -> Result<i64> {
    let name = sys::text(KEY)?;
    let content = b"nothing";
    let arguments = [
        c"user".as_ptr().expose_provenance(),
        name.as_ptr().expose_provenance(),
        content.as_ptr().expose_provenance(),
        content.len(),
        sys::signed(PROCESS_KEYRING),
    ];
    // SAFETY: type and name are texts, and the content is as long as is said.
    offered(
        unsafe { sys::call(libc::SYS_add_key, arguments) },
        "could not add a key",
    )
}

fn add_key() -> Result<Value> {
    key()?;
    Ok(json!({"call": "add_key", "type": "user", "name": KEY}))
}

/// A network driver without a device, which Debian's kernels have as a module.
const DUMMY: &str = "dummy";

/// Loads it; not offered where there is none, or it is in use already.
fn load_dummy() -> Result<Value> {
    let path = format!("/lib/modules/{DUMMY}.ko");
    let file = offered(fs::File::open(&path), &path)?;
    let descriptor = usize::try_from(file.as_raw_fd())?;
    let parameters = c"numdummies=0".as_ptr().expose_provenance();
    // SAFETY: the parameters are a text; the other arguments are numbers.
    let loaded = unsafe { sys::call(libc::SYS_finit_module, [descriptor, parameters, 0]) };
    offered(loaded, "finit_module")?;
    Ok(json!({"name": DUMMY, "path": path}))
}

fn remove_dummy() -> Result<()> {
    let name = sys::text(DUMMY)?;
    let flags = usize::try_from(libc::O_NONBLOCK)?;
    // SAFETY: the name is a text.
    let removed = unsafe {
        sys::call(
            libc::SYS_delete_module,
            [name.as_ptr().expose_provenance(), flags],
        )
    };
    offered(removed, "delete_module")?;
    Ok(())
}

/// What the policy of `xtask/src/vm/selinux.conf` gives labels of their own.
const HIDDEN: [&str; 10] = [
    "buddyinfo",
    "diskstats",
    "interrupts",
    "iomem",
    "ioports",
    "locks",
    "schedstat",
    "slabinfo",
    "timer_list",
    "zoneinfo",
];

fn read_secret() -> Result<Value> {
    denied_read("/proc/kallsyms", "watchkeeper_secret_t")
}

/// Reads a file whose type begins so. Needs the policy, which is not enforced.
fn denied_read(path: &str, kind: &str) -> Result<Value> {
    let label = |what: &str, bytes: std::io::Result<Vec<u8>>| {
        let text = String::from_utf8(offered(bytes, what)?)?;
        anyhow::Ok(text.trim_end_matches(['\0', '\n']).to_owned())
    };
    let source = label("SELinux", fs::read("/proc/self/attr/current"))?;
    let target = label(path, attribute(path, c"security.selinux"))?;
    if !target.contains(kind) {
        return Err(NotOffered(format!("no policy keeps {path} from anybody")).into());
    }
    fs::File::open(path)
        .and_then(|mut file| file.read(&mut [0]))
        .with_context(|| format!("could not read {path}"))?;
    Ok(json!({"source": source, "target": target, "class": "file", "permission": "read"}))
}

fn attribute(path: &str, name: &CStr) -> std::io::Result<Vec<u8>> {
    let path = std::ffi::CString::new(path)?;
    let mut value = vec![0; 256];
    let arguments = [
        path.as_ptr().expose_provenance(),
        name.as_ptr().expose_provenance(),
        value.as_mut_ptr().expose_provenance(),
        value.len(),
    ];
    // SAFETY: path and name are texts; the kernel writes no more than the room that is given.
    let length = unsafe { sys::call(libc::SYS_getxattr, arguments) }?;
    value.truncate(usize::try_from(length).unwrap_or(0));
    Ok(value)
}
