//! Paths from the components that the kernel side collects, and names that are joined to them.

/// A path from its components, the last one first, each ended by NUL. Bytes that are not UTF-8 are replaced.
///
/// Of a walk that did not reach the root the path begins with `.../`, and of a file without a place in a tree it is a
/// bare name, except for the root of a filesystem.
#[must_use]
pub fn from_components(components: &[u8], truncated: bool, detached: bool) -> String {
    let mut names: Vec<_> = components
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(String::from_utf8_lossy)
        .collect();
    // The root of a filesystem is called so.
    let at_root = names.last().is_some_and(|name| name == "/");
    if at_root {
        names.pop();
    }
    names.reverse();
    if truncated {
        return format!(".../{}", names.join("/"));
    }
    if detached && !at_root {
        return names.join("/");
    }
    format!("/{}", names.join("/"))
}

/// A name as it was given, from the directory that it is relative to; `.` and `..` are resolved by their letters.
#[must_use]
pub fn join(base: &str, name: &str) -> String {
    let mut components: Vec<&str> = Vec::new();
    for component in base.split('/').chain(name.split('/')) {
        match component {
            "" | "." => {}
            ".." => {
                components.pop();
            }
            component => components.push(component),
        }
    }
    format!("/{}", components.join("/"))
}

/// A string of a record: without its NUL, with bytes that are not UTF-8 replaced.
#[must_use]
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.strip_suffix(&[0]).unwrap_or(bytes)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_are_turned_round() {
        assert_eq!(
            from_components(b"shadow\0etc\0", false, false),
            "/etc/shadow"
        );
        assert_eq!(from_components(b"", false, false), "/");
        assert_eq!(
            from_components(b"shadow\0etc\0/\0", false, true),
            "/etc/shadow"
        );
        assert_eq!(from_components(b"memfd:x\0", false, true), "memfd:x");
        assert_eq!(from_components(b"c\0b\0", true, false), ".../b/c");
        assert_eq!(from_components(b"a\xff\0", false, false), "/a\u{fffd}");
    }

    #[test]
    fn names_are_joined_by_their_letters() {
        assert_eq!(join("/tmp", "x"), "/tmp/x");
        assert_eq!(join("/", "/etc/../etc/shadow"), "/etc/shadow");
        assert_eq!(join("/a/b", "../../../c"), "/c");
        assert_eq!(join("/a", ""), "/a");
    }

    #[test]
    fn a_string_loses_its_nul() {
        assert_eq!(text(b"tmpfs\0"), "tmpfs");
        assert_eq!(text(b""), "");
    }
}
