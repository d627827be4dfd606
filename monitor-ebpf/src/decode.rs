//! From the bytes of a ring buffer to a record: the version, the kind and every length are checked, and fields are read
//! one by one.

use crate::{
    record::{ABI, Cgroup, CgroupAttach, Exec, Exit, Fork, Header, Kind},
    wire::Wire,
};

/// A decoded record; the bytes are borrowed from the ring buffer.
#[expect(
    clippy::large_enum_variant,
    reason = "it lives on the stack for one call, where a box would be an allocation for every exec"
)]
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
            ..Exec::default()
        };
        let bytes = [bytes_of(&body), b"sh\0bin\0/x/yab\0cd\0".to_vec()].concat();
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
        let cases: [(Kind, Vec<u8>, Record<'_>); 5] = [
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
