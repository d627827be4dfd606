//! From the text of a condition to its parts, with the places where they begin.

use std::collections::HashMap;

use cel::{
    common::ast::{Expr, IdedExpr},
    parser::Parser,
};

use super::Mistake;

/// Most bytes of a condition.
const MAX_SOURCE: usize = 16 << 10;
/// How deep parts of a condition may lie within others.
const MAX_NESTING: u16 = 64;

/// Where parts begin, by their ids, in bytes.
pub(super) type Positions = HashMap<u64, usize>;

/// Parses a condition.
pub(super) fn parse(source: &str) -> Result<(IdedExpr, Positions), Vec<Mistake>> {
    if source.len() > MAX_SOURCE {
        let message = format!(
            "it has {} bytes, and at most {MAX_SOURCE} are taken",
            source.len()
        );
        return Err(vec![Mistake::new(0, message)]);
    }
    let parsed = Parser::new()
        .max_recursion_depth(MAX_NESTING)
        .parse_with_source_info(source);
    let (expression, info) = parsed.map_err(|errors| {
        errors
            .errors
            .iter()
            .map(|error| {
                let line = usize::try_from(error.pos.0).unwrap_or(1);
                let column = usize::try_from(error.pos.1).unwrap_or(1);
                Mistake::new(offset(source, line, column), syntax(&error.msg))
            })
            .collect::<Vec<_>>()
    })?;
    let mut positions = Positions::new();
    walk(&expression, &mut |id| {
        if let Some((start, _)) = info.offset_for(id) {
            let at = usize::try_from(start).unwrap_or(0);
            positions.insert(id, source.floor_char_boundary(at));
        }
    });
    Ok((expression, positions))
}

/// Bytes before a line and column, both counted from 1, the latter in characters.
fn offset(source: &str, line: usize, column: usize) -> usize {
    let start: usize = source
        .split_inclusive('\n')
        .take(line.saturating_sub(1))
        .map(str::len)
        .sum();
    let rest = &source[start.min(source.len())..];
    start
        + rest
            .char_indices()
            .nth(column.saturating_sub(1))
            .map_or(rest.len(), |(at, _)| at)
}

/// What the parser says of wrong syntax, in one line and without the list of all that could stand there.
fn syntax(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    let line = line.split(" expecting ").next().unwrap_or(line);
    format!("it is not well-formed: {}", line.trim())
}

/// Calls `visit` with the id of every part.
fn walk(expression: &IdedExpr, visit: &mut impl FnMut(u64)) {
    visit(expression.id);
    match &expression.expr {
        Expr::Call(call) => {
            if let Some(target) = &call.target {
                walk(target, visit);
            }
            for argument in &call.args {
                walk(argument, visit);
            }
        }
        Expr::Select(select) => walk(&select.operand, visit),
        Expr::List(list) => {
            for element in &list.elements {
                walk(element, visit);
            }
        }
        Expr::Comprehension(found) => {
            for part in [
                &found.iter_range,
                &found.accu_init,
                &found.loop_cond,
                &found.loop_step,
                &found.result,
            ] {
                walk(part, visit);
            }
        }
        _ => {}
    }
}
