//! Variables of the environment that make the dynamic loader run other code (ld.so(8)).

use crate::proto::v1;

/// Names of variables that matter; others begin alike, and are left out.
const NAMES: [&str; 5] = [
    "LD_PRELOAD",
    "LD_AUDIT",
    "LD_LIBRARY_PATH",
    "LD_DEBUG_OUTPUT",
    "GLIBC_TUNABLES",
];
/// Most characters of a value that are kept.
const MAX_VALUE: usize = 255;

/// The variables in bytes of the kernel side, each ended by NUL.
#[must_use]
pub fn variables(bytes: &[u8]) -> Vec<v1::LoaderVariable> {
    bytes
        .split(|byte| *byte == 0)
        .filter_map(|variable| {
            let text = String::from_utf8_lossy(variable);
            let (name, value) = text.split_once('=')?;
            NAMES.contains(&name).then(|| v1::LoaderVariable {
                name: name.to_owned(),
                value: value.chars().take(MAX_VALUE).collect(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_matters_is_kept() {
        let found =
            variables(b"LD_PRELOAD=/tmp/x.so\0LD_SHOW_AUXV=1\0GLIBC_TUNABLES=a=b\0LD_PRELOAD\0");
        let found: Vec<_> = found
            .iter()
            .map(|variable| (variable.name.as_str(), variable.value.as_str()))
            .collect();
        assert_eq!(
            found,
            [("LD_PRELOAD", "/tmp/x.so"), ("GLIBC_TUNABLES", "a=b")]
        );
    }
}
