//! Structures that cross from the kernel: written in place there, read field by field here.
//!
//! [`wire!`] defines a `repr(C)` structure without padding (so no uninitialised byte crosses) together
//! with a reader that copies each field from its own offset. Nothing is ever transmuted.

/// A value that can be read from the bytes of a record.
///
/// Integers are in the byte order of the machine: both sides run on the same one.
pub trait Wire: Sized {
    /// Reads the value from the start of `bytes`; `None` when they are too few.
    fn read(bytes: &[u8]) -> Option<Self>;
}

macro_rules! integers {
    ($($integer:ty),*) => {$(
        impl Wire for $integer {
            fn read(bytes: &[u8]) -> Option<Self> {
                let bytes = bytes.get(..size_of::<Self>())?;
                Some(Self::from_ne_bytes(bytes.try_into().ok()?))
            }
        }
    )*};
}
integers!(u8, u16, u32, u64);

impl<T: Wire + Copy + Default, const N: usize> Wire for [T; N] {
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut values = [T::default(); N];
        for (index, value) in values.iter_mut().enumerate() {
            *value = T::read(bytes.get(index * size_of::<T>()..)?)?;
        }
        Some(values)
    }
}

/// Defines a `repr(C)` structure without padding, and its [`Wire`] reader.
#[macro_export]
macro_rules! wire {
    ($(#[$meta:meta])* pub struct $name:ident { $($(#[$field_meta:meta])* pub $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name { $($(#[$field_meta])* pub $field: $type,)* }

        const _: () = assert!(
            0 $(+ size_of::<$type>())* == size_of::<$name>(),
            "a structure that crosses from the kernel has padding"
        );

        impl $crate::wire::Wire for $name {
            fn read(bytes: &[u8]) -> Option<Self> {
                Some(Self {
                    $($field: <$type as $crate::wire::Wire>::read(
                        bytes.get(core::mem::offset_of!(Self, $field)..)?
                    )?,)*
                })
            }
        }
    };
}
