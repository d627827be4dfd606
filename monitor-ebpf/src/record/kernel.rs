//! What other parts of the kernel tell: signals, `io_uring`, modules, SELinux, floating-point registers.

use super::ProcessId;
use crate::wire;

wire! {
    /// Body of [`Kind::Signal`](super::Kind::Signal).
    pub struct Signal {
        /// To whom.
        pub target: ProcessId,
        /// Cgroup of that process.
        pub target_cgroup_id: u64,
        /// Its number.
        pub number: u32,
        /// Container slot of that cgroup; 0 for none.
        pub target_container_slot: u32,
    }
}

wire! {
    /// Body of [`Kind::IoUring`](super::Kind::IoUring).
    pub struct IoUring {
        /// The operation (`IORING_OP_*`).
        pub opcode: u32,
        /// Always 0.
        pub reserved: u32,
    }
}

wire! {
    /// Body of [`Kind::Module`](super::Kind::Module); the variable bytes are its name.
    pub struct Module {
        /// Not 0 where it was unloaded.
        pub unloaded: u32,
        /// Bytes of the name, without NUL.
        pub name_length: u32,
    }
}

wire! {
    /// Body of [`Kind::Denial`](super::Kind::Denial). The variable bytes follow in the order of their lengths here.
    pub struct Denial {
        /// Permissions asked for, as bits of the class.
        pub requested: u32,
        /// Those that were denied.
        pub denied: u32,
        /// Bytes of the subject's context, without NUL.
        pub source_length: u32,
        /// Bytes of the object's context.
        pub target_length: u32,
        /// Bytes of the object's class.
        pub class_length: u32,
        /// Not 0 where what was denied was also refused: the policy was enforced.
        pub enforced: u32,
    }
}

wire! {
    /// Body of [`Kind::Rounding`](super::Kind::Rounding): how often the process was seen in each mode since the last report.
    pub struct Rounding {
        /// Toward negative infinity.
        pub down: u32,
        /// Toward positive infinity.
        pub up: u32,
        /// Toward zero.
        pub toward_zero: u32,
        /// Always 0.
        pub reserved: u32,
    }
}
