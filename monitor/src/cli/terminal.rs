//! What may reach a terminal. Paths, arguments and names come from containers, and a container must not be able to
//! move the cursor, hide text or title the window of whoever looks at it.

use std::{
    borrow::Cow,
    fmt::Write as _,
    io::{self, IsTerminal as _},
    sync::OnceLock,
};

/// The text with every character that a terminal may act on written out as an escape.
#[must_use]
pub fn clean(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut cleaned = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match character {
            '\n' => cleaned.push_str("\\n"),
            '\t' => cleaned.push_str("\\t"),
            '\r' => cleaned.push_str("\\r"),
            character if is_unsafe(character) => {
                let code = u32::from(character);
                // Writing to a string does not fail.
                let _ = if code < 0x100 {
                    write!(cleaned, "\\x{code:02x}")
                } else {
                    write!(cleaned, "\\u{{{code:x}}}")
                };
            }
            character => cleaned.push(character),
        }
    }
    Cow::Owned(cleaned)
}

/// Control characters, and those that change the direction or take no room (Unicode UAX #9, general category Cf).
#[must_use]
pub fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{00ad}' | '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Arguments as a shell would take them, cut after `limit` characters.
#[must_use]
pub fn command_line(arguments: &[String], limit: usize) -> String {
    let mut line = String::new();
    for argument in arguments {
        if !line.is_empty() {
            line.push(' ');
        }
        let plain = !argument.is_empty()
            && argument
                .chars()
                .all(|character| character.is_alphanumeric() || "-_=+./:,@%".contains(character));
        if plain {
            line.push_str(argument);
        } else {
            line.push('\'');
            line.push_str(&clean(&argument.replace('\'', "'\\''")));
            line.push('\'');
        }
        if line.len() > limit {
            let end = (0..=limit).rev().find(|end| line.is_char_boundary(*end));
            line.truncate(end.unwrap_or(0));
            line.push('…');
            break;
        }
    }
    line
}

/// A colour, where the output is a terminal and `NO_COLOR` is not set (<https://no-color.org>).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// As the rest.
    Plain,
    /// Of no weight.
    Dim,
    /// A heading.
    Bold,
    /// As it should be.
    Good,
    /// To be looked at.
    Warning,
    /// To be acted on.
    Bad,
}

/// The text in a style.
#[must_use]
pub fn styled(text: &str, style: Style) -> String {
    if !colours() {
        return text.to_owned();
    }
    let code = match style {
        Style::Plain => return text.to_owned(),
        Style::Dim => "2",
        Style::Bold => "1",
        Style::Good => "32",
        Style::Warning => "33",
        Style::Bad => "1;31",
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

/// Whether standard output takes colours.
#[must_use]
pub fn colours() -> bool {
    static COLOURS: OnceLock<bool> = OnceLock::new();
    *COLOURS.get_or_init(|| {
        io::stdout().is_terminal()
            && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escape_sequences_are_written_out() {
        assert_eq!(clean("\x1b]0;title\x07"), "\\x1b]0;title\\x07");
        assert_eq!(clean("a\nb\r\u{9b}2J"), "a\\nb\\r\\x9b2J");
        assert_eq!(clean("\u{202e}gpj.exe"), "\\u{202e}gpj.exe");
        assert!(matches!(clean("/usr/bin/naïve"), Cow::Borrowed(_)));
    }

    #[test]
    fn arguments_are_quoted_and_cut() {
        let arguments = |list: &[&str]| -> Vec<String> {
            list.iter().map(|&argument| argument.to_owned()).collect()
        };
        assert_eq!(
            command_line(&arguments(&["sh", "-c", "id; x"]), 80),
            "sh -c 'id; x'"
        );
        assert_eq!(command_line(&arguments(&["a", ""]), 80), "a ''");
        assert_eq!(command_line(&arguments(&["it's"]), 80), "'it'\\''s'");
        assert_eq!(command_line(&arguments(&["éééé"]), 3), "é…");
    }

    proptest! {
        #[test]
        fn nothing_a_terminal_acts_on_is_left(text in any::<String>(), limit in 0..40usize) {
            prop_assert!(!clean(&text).chars().any(char::is_control));
            let line = command_line(&[text], limit);
            prop_assert!(!line.chars().any(char::is_control));
        }
    }
}
