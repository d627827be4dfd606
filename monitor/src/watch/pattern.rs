//! Patterns of paths: `*` is one component, `**` any number of them.

use watchkeeper_ebpf::watch::MAX_NAME;

/// Most components of a path that are compared.
const MAX_COMPONENTS: usize = 128;

/// A pattern, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    components: Vec<Component>,
    /// Which of them the kernel looks for.
    name: usize,
    /// `**` only stands at the end.
    is_simple: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Component {
    Name(String),
    One,
    Any,
}

/// The components of a path.
pub(super) fn components(path: &str) -> Vec<&str> {
    split(path).collect()
}

/// What is to be asked of the components of a path, which take no memory of their own unless it is very deep.
pub fn with_components<T>(path: &str, ask: impl FnOnce(&[&str]) -> T) -> T {
    /// Most paths are no deeper.
    const USUAL: usize = 24;
    let mut components = [""; USUAL];
    let mut count = 0;
    for component in split(path) {
        match components.get_mut(count) {
            Some(place) => *place = component,
            None => return ask(&self::components(path)),
        }
        count += 1;
    }
    ask(&components[..count])
}

fn split(path: &str) -> impl Iterator<Item = &str> {
    let mut rest = path;
    std::iter::from_fn(move || {
        let start = rest.bytes().position(|byte| byte != b'/')?;
        let text = &rest[start..];
        let end = memchr::memchr(b'/', text.as_bytes()).unwrap_or(text.len());
        rest = &text[end..];
        Some(&text[..end])
    })
    .take(MAX_COMPONENTS)
}

impl Pattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// When it is no path, or has no name in it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if !text.starts_with('/') && !text.starts_with("**/") {
            return Err(format!("{text}: a path begins with / or **/"));
        }
        let components: Vec<Component> = components(text)
            .into_iter()
            .map(|component| match component {
                "*" => Component::One,
                "**" => Component::Any,
                name => Component::Name(name.to_owned()),
            })
            .collect();
        let named = || {
            components
                .iter()
                .enumerate()
                .filter_map(|(index, component)| match component {
                    Component::Name(name) => Some((index, name)),
                    Component::One | Component::Any => None,
                })
        };
        // The kernel compares one name: the last one, or a hidden directory's, which is rarer.
        let name = named()
            .rfind(|(_, name)| name.starts_with('.'))
            .or_else(|| named().next_back())
            .map(|(index, _)| index)
            .ok_or_else(|| format!("{text}: it has no name in it"))?;
        let is_simple = components
            .iter()
            .rev()
            .skip(1)
            .all(|component| *component != Component::Any);
        let pattern = Self {
            components,
            name,
            is_simple,
        };
        if pattern.name().len() > MAX_NAME {
            return Err(format!(
                "{text}: {} is longer than {MAX_NAME} bytes",
                pattern.name()
            ));
        }
        Ok(pattern)
    }

    /// The first component, where that is a name.
    #[must_use]
    pub fn first(&self) -> Option<&str> {
        match self.components.first()? {
            Component::Name(name) => Some(name),
            Component::One | Component::Any => None,
        }
    }

    /// The name that the kernel looks for.
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.components[self.name] {
            Component::Name(name) => name,
            Component::One | Component::Any => "",
        }
    }

    /// Whether a path is one of these, for patterns in which `**` only stands at the end; `None` for others.
    #[must_use]
    pub fn matches_in_one_pass(&self, path: &str) -> Option<bool> {
        if !self.is_simple {
            return None;
        }
        let mut components = split(path);
        for component in &self.components {
            let is_same = match component {
                Component::Any => return Some(true),
                Component::One => components.next().is_some(),
                Component::Name(name) => components.next() == Some(name),
            };
            if !is_same {
                return Some(false);
            }
        }
        Some(components.next().is_none())
    }

    /// Whether a path, taken apart, is one of these.
    #[must_use]
    pub fn matches(&self, path: &[&str]) -> bool {
        matches(&self.components, path)
    }
}

/// Glob matching with one mark to go back to: the last `**`, as a later one makes earlier ones immaterial.
fn matches(pattern: &[Component], path: &[&str]) -> bool {
    let (mut at, mut component) = (0, 0);
    let mut mark = None;
    while component < path.len() {
        match pattern.get(at) {
            Some(Component::Any) => {
                mark = Some((at, component));
                at += 1;
            }
            Some(Component::One) => {
                at += 1;
                component += 1;
            }
            Some(Component::Name(name)) if name == path[component] => {
                at += 1;
                component += 1;
            }
            _ => match mark {
                Some((any, from)) => {
                    mark = Some((any, from + 1));
                    (at, component) = (any + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[at..]
        .iter()
        .all(|component| *component == Component::Any)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matched(pattern: &str, path: &str) -> bool {
        Pattern::parse(pattern)
            .expect("valid")
            .matches(&components(path))
    }

    #[test]
    fn components_are_matched_whole() {
        assert!(matched("/etc/shadow", "/etc/shadow"));
        assert!(!matched("/etc/shadow", "/host/etc/shadow"));
        assert!(!matched("/etc/shadow", "/etc/shadow/x"));
        assert!(!matched("/etc/shadow", "/etc"));
        assert!(matched("**/etc/shadow", "/host/etc/shadow"));
        assert!(matched("**/etc/shadow", "/etc/shadow"));
        assert!(matched("/etc/cron.d/**", "/etc/cron.d/a/b"));
        assert!(matched("/etc/cron.d/**", "/etc/cron.d"));
        assert!(matched("/proc/*/mem", "/proc/7/mem"));
        assert!(!matched("/proc/*/mem", "/proc/7/8/mem"));
        assert!(matched("**/a/**/b/**", "/x/a/a/c/b/d"));
        assert!(!matched("**/a/**/b", "/x/b/a"));
    }

    #[test]
    fn the_kernel_looks_for_the_last_or_the_hidden_name() {
        let name = |pattern: &str| Pattern::parse(pattern).expect("valid").name().to_owned();
        assert_eq!(name("/etc/shadow"), "shadow");
        assert_eq!(name("/etc/cron.d/**"), "cron.d");
        assert_eq!(name("**/.docker/config.json"), ".docker");
        assert_eq!(name("**/.bashrc"), ".bashrc");
    }

    #[test]
    fn what_can_not_be_watched_is_refused() {
        assert!(Pattern::parse("etc/shadow").is_err());
        assert!(Pattern::parse("/*/**").is_err());
        assert!(Pattern::parse(&format!("/{}", "x".repeat(64))).is_err());
    }
}
