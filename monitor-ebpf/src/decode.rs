//! From the bytes of a ring buffer to a record: the version, the kind and every length are checked, and fields are read
//! one by one.

use crate::{
    record::{
        ABI, Call, Cgroup, CgroupAttach, CredentialJump, Denial, Exec, Exit, Fork, Header, IoUring,
        Kind, Module, Open, Packet, Rounding, Signal, Socket,
    },
    wire::Wire,
};

/// A decoded record; the bytes are borrowed from the ring buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// [`Kind::Fork`].
    Fork(Fork),
    /// [`Kind::Exec`].
    Exec(ExecRecord<'a>),
    /// [`Kind::Exit`].
    Exit(Exit),
    /// [`Kind::CgroupMkdir`], with the path.
    CgroupMkdir(Cgroup, &'a [u8]),
    /// [`Kind::CgroupRmdir`], with the path.
    CgroupRmdir(Cgroup, &'a [u8]),
    /// [`Kind::CgroupAttach`].
    CgroupAttach(CgroupAttach),
    /// [`Kind::Call`].
    Call(CallRecord<'a>),
    /// [`Kind::Socket`], with the path of a Unix socket.
    Socket(Socket, &'a [u8]),
    /// [`Kind::Packet`], with the beginning of its payload.
    Packet(Packet, &'a [u8]),
    /// [`Kind::Open`].
    Open(OpenRecord<'a>),
    /// [`Kind::CredentialJump`].
    CredentialJump(CredentialJump),
    /// [`Kind::Signal`].
    Signal(Signal),
    /// [`Kind::IoUring`].
    IoUring(IoUring),
    /// [`Kind::Module`], with its name.
    Module(Module, &'a [u8]),
    /// [`Kind::Denial`].
    Denial(DenialRecord<'a>),
    /// [`Kind::Rounding`].
    Rounding(Rounding),
}

/// A decoded exec, with its variable bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExecRecord<'a> {
    /// The fixed part.
    pub body: Exec,
    /// Path components of the executable, see [`Exec::exe_length`].
    pub exe: &'a [u8],
    /// Path components of the working directory.
    pub cwd: &'a [u8],
    /// What was given to execve(2).
    pub filename: &'a [u8],
    /// Arguments.
    pub argv: &'a [u8],
    /// Variables of the environment, see [`Exec::loader_length`].
    pub loader: &'a [u8],
}

/// A decoded system call, with its variable bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallRecord<'a> {
    /// The fixed part.
    pub body: Call,
    /// The strings among its arguments.
    pub strings: [&'a [u8]; 3],
    /// Path components, see [`Call::path_lengths`].
    pub paths: [&'a [u8]; 3],
}

/// A decoded open, with its variable bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenRecord<'a> {
    /// The fixed part.
    pub body: Open,
    /// Path components of the file.
    pub path: &'a [u8],
    /// The same from the root of its filesystem.
    pub inner: &'a [u8],
    /// The same of another of its names.
    pub linked: &'a [u8],
}

/// A decoded denial of SELinux.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DenialRecord<'a> {
    /// The fixed part.
    pub body: Denial,
    /// Context of the subject.
    pub source: &'a [u8],
    /// Context of the object.
    pub target: &'a [u8],
    /// Class of the object.
    pub class: &'a [u8],
}

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// Fewer bytes than the header, the body or a stated length needs.
    Short,
    /// The header's length is not that of the bytes.
    Length,
    /// Another version of the format.
    Abi(u16),
    /// A kind this version does not know.
    Kind(u16),
}

impl core::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Short => write!(f, "fewer bytes than stated"),
            Self::Length => write!(f, "stated and actual length differ"),
            Self::Abi(abi) => write!(f, "record format {abi}, not {ABI}"),
            Self::Kind(kind) => write!(f, "unknown kind {kind}"),
        }
    }
}

impl core::error::Error for DecodeError {}

/// Decodes one record, which is all of `bytes`.
///
/// # Errors
/// [`DecodeError`] when the bytes are not a record of this version.
pub fn decode(bytes: &[u8]) -> Result<(Header, Record<'_>), DecodeError> {
    let header = Header::read(bytes).ok_or(DecodeError::Short)?;
    if header.abi != ABI {
        return Err(DecodeError::Abi(header.abi));
    }
    if header.length as usize != bytes.len() {
        return Err(DecodeError::Length);
    }
    let mut rest = Rest(bytes.get(size_of::<Header>()..).ok_or(DecodeError::Short)?);
    let record = match header.kind {
        kind if kind == Kind::Fork as u16 => Record::Fork(rest.body()?),
        kind if kind == Kind::Exec as u16 => {
            let body: Exec = rest.body()?;
            Record::Exec(ExecRecord {
                exe: rest.take(body.exe_length)?,
                cwd: rest.take(body.cwd_length)?,
                filename: rest.take(body.filename_length)?,
                argv: rest.take(body.argv_length)?,
                loader: rest.take(body.loader_length)?,
                body,
            })
        }
        kind if kind == Kind::Exit as u16 => Record::Exit(rest.body()?),
        kind if kind == Kind::CgroupMkdir as u16 => {
            let body: Cgroup = rest.body()?;
            Record::CgroupMkdir(body, rest.take(body.path_length)?)
        }
        kind if kind == Kind::CgroupRmdir as u16 => {
            let body: Cgroup = rest.body()?;
            Record::CgroupRmdir(body, rest.take(body.path_length)?)
        }
        kind if kind == Kind::CgroupAttach as u16 => Record::CgroupAttach(rest.body()?),
        kind if kind == Kind::Call as u16 => {
            let body: Call = rest.body()?;
            let [first, second, third] = body.string_lengths;
            let [base, other_base, descriptor] = body.path_lengths;
            Record::Call(CallRecord {
                strings: [rest.take(first)?, rest.take(second)?, rest.take(third)?],
                paths: [
                    rest.take(base)?,
                    rest.take(other_base)?,
                    rest.take(descriptor)?,
                ],
                body,
            })
        }
        kind if kind == Kind::Socket as u16 => {
            let body: Socket = rest.body()?;
            Record::Socket(body, rest.take(body.path_length)?)
        }
        kind if kind == Kind::Packet as u16 => {
            let body: Packet = rest.body()?;
            Record::Packet(body, rest.take(body.data_length)?)
        }
        kind if kind == Kind::Open as u16 => {
            let body: Open = rest.body()?;
            Record::Open(OpenRecord {
                path: rest.take(body.path_length)?,
                inner: rest.take(body.inner_length)?,
                linked: rest.take(body.linked_length)?,
                body,
            })
        }
        kind if kind == Kind::CredentialJump as u16 => Record::CredentialJump(rest.body()?),
        kind if kind == Kind::Signal as u16 => Record::Signal(rest.body()?),
        kind if kind == Kind::IoUring as u16 => Record::IoUring(rest.body()?),
        kind if kind == Kind::Module as u16 => {
            let body: Module = rest.body()?;
            Record::Module(body, rest.take(body.name_length)?)
        }
        kind if kind == Kind::Denial as u16 => {
            let body: Denial = rest.body()?;
            Record::Denial(DenialRecord {
                source: rest.take(body.source_length)?,
                target: rest.take(body.target_length)?,
                class: rest.take(body.class_length)?,
                body,
            })
        }
        kind if kind == Kind::Rounding as u16 => Record::Rounding(rest.body()?),
        kind => return Err(DecodeError::Kind(kind)),
    };
    rest.end()?;
    Ok((header, record))
}

/// The bytes of a record that are still to be read.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn body<T: Wire>(&mut self) -> Result<T, DecodeError> {
        let body = T::read(self.0).ok_or(DecodeError::Short)?;
        self.0 = self.0.get(size_of::<T>()..).ok_or(DecodeError::Short)?;
        Ok(body)
    }

    fn take(&mut self, length: u32) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self
            .0
            .split_at_checked(length as usize)
            .ok_or(DecodeError::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn end(&self) -> Result<(), DecodeError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::Length)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record::{Credentials, Descriptor, File, ProcessId, descriptor, file_flag};

    /// The bytes of a structure as the kernel side writes them.
    fn bytes_of<T: Copy>(value: &T) -> Vec<u8> {
        // SAFETY: only used with structures of `wire!`, which have no padding, so every byte is initialised.
        unsafe {
            std::slice::from_raw_parts(std::ptr::from_ref(value).cast::<u8>(), size_of::<T>())
        }
        .to_vec()
    }

    fn record(kind: u16, body: &[u8]) -> Vec<u8> {
        let header = Header {
            abi: ABI,
            kind,
            length: u32::try_from(size_of::<Header>() + body.len()).expect("short"),
            time_ns: 7,
            pid: 42,
            ..Header::default()
        };
        [bytes_of(&header), body.to_vec()].concat()
    }

    fn exec_record() -> (Exec, Vec<u8>) {
        let body = Exec {
            parent: ProcessId {
                pid: 1,
                start_ns: 5,
                reserved: 0,
            },
            credentials: Credentials {
                uid: 1_000,
                cap_effective: 1 << 21,
                loginuid: u32::MAX,
                ..Credentials::default()
            },
            exe: File {
                inode: 99,
                flags: file_flag::OVERLAY | file_flag::UPPER_LAYER,
                ..File::default()
            },
            stdio: [
                Descriptor {
                    inode: 3,
                    kind: descriptor::TTY,
                    device: 0x0880_0000,
                },
                Descriptor::default(),
                Descriptor::default(),
            ],
            exe_length: 7,
            cwd_length: 0,
            filename_length: 4,
            argv_length: 6,
            loader_length: 3,
            ..Exec::default()
        };
        let bytes = [bytes_of(&body), b"sh\0bin\0/x/yab\0cd\0L=\0".to_vec()].concat();
        (body, bytes)
    }

    /// The kernel side writes the structures in place; the agent reads each field at its offset.
    #[test]
    fn layout_is_the_same_on_both_sides() {
        assert_eq!(size_of::<Header>(), 56);
        assert_eq!(size_of::<Exec>() % 8, 0);
        let (body, bytes) = exec_record();
        let bytes = record(Kind::Exec as u16, &bytes);
        let (header, decoded) = decode(&bytes).expect("valid");
        assert_eq!((header.time_ns, header.pid), (7, 42));
        assert_eq!(
            decoded,
            Record::Exec(ExecRecord {
                body,
                exe: b"sh\0bin\0",
                cwd: b"",
                filename: b"/x/y",
                argv: b"ab\0cd\0",
                loader: b"L=\0",
            })
        );
    }

    #[test]
    fn every_kind_decodes() {
        let attach = CgroupAttach {
            cgroup_id: 8,
            tid: 3,
            ..CgroupAttach::default()
        };
        let cgroup = Cgroup {
            id: 1 << 40,
            path_length: 2,
            ..Cgroup::default()
        };
        let call = Call {
            call: 3,
            string_lengths: [1, 0, 2],
            path_lengths: [0, 4, 0],
            ..Call::default()
        };
        let open = Open {
            path_length: 2,
            linked_length: 3,
            ..Open::default()
        };
        let denial = Denial {
            source_length: 1,
            class_length: 4,
            ..Denial::default()
        };
        let socket = Socket {
            path_length: 3,
            ..Socket::default()
        };
        let packet = Packet {
            data_length: 1,
            ..Packet::default()
        };
        let module = Module {
            name_length: 2,
            ..Module::default()
        };
        let cases: [(Kind, Vec<u8>, Record<'_>); 15] = [
            (
                Kind::Call,
                [bytes_of(&call), b"abb/x/\0".to_vec()].concat(),
                Record::Call(CallRecord {
                    body: call,
                    strings: [b"a", b"", b"bb"],
                    paths: [b"", b"/x/\0", b""],
                }),
            ),
            (
                Kind::Open,
                [bytes_of(&open), b"p\0li\0".to_vec()].concat(),
                Record::Open(OpenRecord {
                    body: open,
                    path: b"p\0",
                    inner: b"",
                    linked: b"li\0",
                }),
            ),
            (
                Kind::Denial,
                [bytes_of(&denial), b"sfile".to_vec()].concat(),
                Record::Denial(DenialRecord {
                    body: denial,
                    source: b"s",
                    target: b"",
                    class: b"file",
                }),
            ),
            (
                Kind::Socket,
                [bytes_of(&socket), b"/so".to_vec()].concat(),
                Record::Socket(socket, b"/so"),
            ),
            (
                Kind::Packet,
                [bytes_of(&packet), b"{".to_vec()].concat(),
                Record::Packet(packet, b"{"),
            ),
            (
                Kind::CredentialJump,
                bytes_of(&CredentialJump::default()),
                Record::CredentialJump(CredentialJump::default()),
            ),
            (
                Kind::Signal,
                bytes_of(&Signal::default()),
                Record::Signal(Signal::default()),
            ),
            (
                Kind::Rounding,
                bytes_of(&Rounding::default()),
                Record::Rounding(Rounding::default()),
            ),
            (
                Kind::IoUring,
                bytes_of(&IoUring::default()),
                Record::IoUring(IoUring::default()),
            ),
            (
                Kind::Module,
                [bytes_of(&module), b"nf".to_vec()].concat(),
                Record::Module(module, b"nf"),
            ),
            (
                Kind::Fork,
                bytes_of(&Fork::default()),
                Record::Fork(Fork::default()),
            ),
            (
                Kind::Exit,
                bytes_of(&Exit::default()),
                Record::Exit(Exit::default()),
            ),
            (
                Kind::CgroupMkdir,
                [bytes_of(&cgroup), b"/a".to_vec()].concat(),
                Record::CgroupMkdir(cgroup, b"/a"),
            ),
            (
                Kind::CgroupRmdir,
                [bytes_of(&cgroup), b"/a".to_vec()].concat(),
                Record::CgroupRmdir(cgroup, b"/a"),
            ),
            (
                Kind::CgroupAttach,
                bytes_of(&attach),
                Record::CgroupAttach(attach),
            ),
        ];
        for (kind, body, expected) in cases {
            let bytes = record(kind as u16, &body);
            assert_eq!(decode(&bytes).expect("valid").1, expected, "{kind:?}");
        }
    }

    #[test]
    fn damaged_records_are_refused() {
        let (_, body) = exec_record();
        let whole = record(Kind::Exec as u16, &body);
        assert_eq!(decode(&[]), Err(DecodeError::Short));
        assert_eq!(decode(&whole[..whole.len() - 1]), Err(DecodeError::Length));
        let mut other_abi = whole;
        other_abi[0] = 9;
        assert_eq!(decode(&other_abi), Err(DecodeError::Abi(9)));
        assert_eq!(
            decode(&record(77, &[])),
            Err(DecodeError::Kind(77)),
            "unknown kind"
        );
        // A stated length beyond the record's end, and bytes that no length covers.
        assert_eq!(
            decode(&record(Kind::Exec as u16, &body[..body.len() - 1])),
            Err(DecodeError::Short)
        );
        let surplus = [body, vec![0]].concat();
        assert_eq!(
            decode(&record(Kind::Exec as u16, &surplus)),
            Err(DecodeError::Length)
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2_048)) {
            let _ = decode(&bytes);
        }

        #[test]
        fn no_change_of_a_valid_record_makes_it_panic(at in 0usize..500, value in any::<u8>()) {
            let (_, body) = exec_record();
            let mut bytes = record(Kind::Exec as u16, &body);
            let at = at % bytes.len();
            bytes[at] = value;
            let _ = decode(&bytes);
        }
    }
}
