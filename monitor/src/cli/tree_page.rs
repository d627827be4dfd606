//! A tree of processes as a page or a drawing for a report. Both stand by themselves: they load nothing and run nothing.

use std::fmt::Write as _;

use super::{
    show,
    tree::{LineKind, lines, title},
};
use crate::proto::v1;

/// Pixels of a line, of an indentation, and about those of a character.
const LINE: usize = 18;
const INDENT: usize = 28;
const CHARACTER: usize = 8;
/// Most characters of a line in a drawing.
const WIDTH: usize = 180;

/// A page: processes that can be folded up.
pub(super) fn html(what: &str, tree: &v1::ProcessesTreeResponse) -> String {
    let mut out = String::new();
    let heading = escaped(what);
    // Writing to a string does not fail.
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <title>{heading}</title><style>\n\
         body{{font:14px/1.5 ui-monospace,monospace;margin:2em;color:#1a1a1a;background:#fff}}\n\
         h1{{font:600 20px sans-serif}} details{{margin-left:1.2em;border-left:1px solid #ccc;padding-left:.6em}}\n\
         summary{{cursor:pointer}} .above{{color:#777}} .alert{{color:#b00020;font-weight:600}} .program{{color:#004b87}}\n\
         .line{{margin-left:1.6em;overflow-wrap:anywhere}} .note{{color:#8a5a00}} .place{{color:#555}}\n\
         @media (prefers-color-scheme:dark){{body{{color:#ddd;background:#161616}} .program{{color:#7cb7ff}} \
         .alert{{color:#ff7a8a}} .above,.place{{color:#999}}}}\n\
         </style></head><body><h1>{heading}</h1>\n"
    );
    for gap in &tree.gaps {
        let _ = writeln!(
            out,
            "<p class=\"note\">Something is missing: {}</p>",
            escaped(gap)
        );
    }
    if tree.left_out > 0 {
        let _ = writeln!(
            out,
            "<p class=\"note\">{} processes were left out.</p>",
            tree.left_out
        );
    }
    // Each process is open until one comes that is not below it.
    let mut open: Vec<usize> = Vec::new();
    for (index, process) in tree.processes.iter().enumerate() {
        while open
            .last()
            .is_some_and(|last| last + 1 != process.parent as usize)
        {
            open.pop();
            out.push_str("</details>\n");
        }
        let class = if process.asked_for {
            ""
        } else {
            " class=\"above\""
        };
        let _ = writeln!(
            out,
            "<details open><summary{class}>{} <span class=\"place\">{}</span></summary>",
            escaped(&title(process, parent_of(tree, process))),
            escaped(&show::place(process.location(), process.container.as_ref()))
        );
        for line in lines(process) {
            let class = match line.kind {
                LineKind::Alert => "line alert",
                LineKind::Execution => "line program",
                LineKind::Plain => "line",
            };
            let _ = writeln!(out, "<div class=\"{class}\">{}</div>", escaped(&line.text));
        }
        open.push(index);
    }
    for _ in open {
        out.push_str("</details>\n");
    }
    out.push_str("</body></html>\n");
    out
}

/// The parent of a process, where the tree has it.
fn parent_of<'a>(
    tree: &'a v1::ProcessesTreeResponse,
    process: &v1::TreeProcess,
) -> Option<&'a v1::TreeProcess> {
    (process.parent as usize)
        .checked_sub(1)
        .and_then(|parent| tree.processes.get(parent))
}

/// A drawing: a process a line, joined to its parent.
pub(super) fn svg(what: &str, tree: &v1::ProcessesTreeResponse) -> String {
    let mut body = String::new();
    let mut depths: Vec<usize> = Vec::new();
    let mut tops: Vec<usize> = Vec::new();
    let mut top = 2 * LINE;
    let mut width = what.chars().count() * CHARACTER;
    let mut text = |class: &str, left: usize, top: usize, line: &str| {
        let line = cut(line);
        width = width.max(left + line.chars().count() * CHARACTER);
        // Writing to a string does not fail.
        let _ = writeln!(
            body,
            "<text class=\"{class}\" x=\"{left}\" y=\"{top}\" xml:space=\"preserve\">{}</text>",
            escaped(&line)
        );
    };
    let mut joins = String::new();
    for process in &tree.processes {
        let parent = (process.parent as usize).checked_sub(1);
        let depth = parent.map_or(0, |parent| depths[parent] + 1);
        let left = INDENT + depth * INDENT;
        top += LINE;
        if let Some(parent) = parent {
            let from = INDENT + depths[parent] * INDENT + 4;
            let (above, here) = (tops[parent] + 5, top - 4);
            let _ = writeln!(joins, "<path d=\"M{from} {above}V{here}H{}\"/>", left - 4);
        }
        text(
            if process.asked_for { "p" } else { "a" },
            left,
            top,
            &title(process, parent_of(tree, process)),
        );
        depths.push(depth);
        tops.push(top);
        for line in lines(process) {
            top += LINE;
            let class = match line.kind {
                LineKind::Alert => "w",
                LineKind::Execution => "x",
                LineKind::Plain => "l",
            };
            text(class, left + INDENT, top, &line.text);
        }
    }
    for note in &tree.gaps {
        top += LINE;
        text("w", INDENT, top, &format!("something is missing: {note}"));
    }
    if tree.left_out > 0 {
        top += LINE;
        text(
            "w",
            INDENT,
            top,
            &format!("{} processes were left out", tree.left_out),
        );
    }
    let (width, height) = (width + 2 * INDENT, top + 2 * LINE);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\">\n\
         <title>{title}</title>\n<style>text{{font:13px ui-monospace,monospace;fill:#1a1a1a}} .h{{font:600 16px sans-serif}} \
         .a{{fill:#777}} .w{{fill:#b00020}} .x{{fill:#004b87}} .l{{fill:#444}} path{{fill:none;stroke:#bbb}}</style>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text class=\"h\" x=\"{INDENT}\" y=\"{LINE}\">{title}</text>\n{joins}{body}</svg>\n",
        title = escaped(&cut(what))
    )
}

fn cut(line: &str) -> String {
    if line.chars().count() <= WIDTH {
        return line.to_owned();
    }
    let mut cut: String = line.chars().take(WIDTH - 1).collect();
    cut.push('…');
    cut
}

/// Text as XML and HTML take it; what neither takes is left out.
fn escaped(text: &str) -> String {
    let text = super::terminal::clean(text);
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            character => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::{super::tree::tests::process, *};

    fn hostile() -> v1::ProcessesTreeResponse {
        v1::ProcessesTreeResponse {
            processes: vec![
                process(0, 1, &["/a"]),
                process(1, 2, &["<script>alert(1)</script>", "\"'&\x1b[2J"]),
                process(2, 3, &["/c"]),
                process(1, 4, &["/d"]),
            ],
            gaps: vec!["<b>".to_owned()],
            left_out: 3,
        }
    }

    #[test]
    fn nothing_from_a_container_becomes_markup() {
        for page in [html("<i>", &hostile()), svg("<i>", &hostile())] {
            for markup in ["<script", "<b>", "<i>", "\x1b"] {
                assert!(!page.contains(markup), "{markup} in {page}");
            }
            assert!(page.contains("&lt;script&gt;"), "{page}");
        }
    }

    #[test]
    fn what_is_opened_is_closed() {
        let page = html("x", &hostile());
        assert_eq!(page.matches("<details").count(), 4);
        assert_eq!(page.matches("</details>").count(), 4);
        let drawing = svg("x", &hostile());
        assert_eq!(
            drawing.matches("<path").count(),
            3,
            "each but the root is joined"
        );
        assert_eq!(
            drawing.matches("<text").count(),
            drawing.matches("</text>").count()
        );
    }
}
