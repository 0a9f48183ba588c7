//! Questions about the parsed tree.

use cel::common::ast::{EntryExpr, Expr, IdedEntryExpr, IdedExpr, LiteralValue, operators as op};

/// Levels of the tree.
pub(super) fn depth(node: &IdedExpr) -> usize {
    1 + children(node).into_iter().map(depth).max().unwrap_or(0)
}

/// The parts of a node.
pub(super) fn children(node: &IdedExpr) -> Vec<&IdedExpr> {
    match &node.expr {
        Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).collect(),
        Expr::Comprehension(it) => {
            vec![&it.iter_range, &it.accu_init, &it.loop_cond, &it.loop_step, &it.result]
        }
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Map(map) => map.entries.iter().flat_map(entry).collect(),
        Expr::Struct(message) => message.entries.iter().flat_map(entry).collect(),
        Expr::Select(select) => vec![&select.operand],
        Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => Vec::new(),
    }
}

fn entry(entry: &IdedEntryExpr) -> Vec<&IdedExpr> {
    match &entry.expr {
        EntryExpr::StructField(field) => vec![&field.value],
        EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
    }
}

/// The variable that a field or an element is selected from.
pub(super) fn root(node: &IdedExpr) -> Option<&str> {
    match &node.expr {
        Expr::Ident(name) => Some(name),
        Expr::Select(select) => root(&select.operand),
        Expr::Call(call) if call.func_name == op::INDEX => root(call.args.first()?),
        _ => None,
    }
}

/// If it is `has(…)`.
pub(super) fn is_test(node: &IdedExpr) -> bool {
    matches!(&node.expr, Expr::Select(select) if select.test)
}

/// The names in `a.b.c`, and in `a.b.c["d"]` where a literal key follows them.
pub(super) fn path(node: &IdedExpr) -> Option<Vec<&str>> {
    match &node.expr {
        Expr::Ident(name) => Some(vec![name]),
        Expr::Select(select) if !is_test(&select.operand) => {
            let mut path = path(&select.operand)?;
            path.push(&select.field);
            Some(path)
        }
        Expr::Call(call) if call.func_name == op::INDEX => match call.args.as_slice() {
            [map, IdedExpr { expr: Expr::Literal(LiteralValue::String(key)), .. }] => {
                let mut path = path(map).filter(|path| path.len() >= 3)?;
                path.push(key.inner());
                Some(path)
            }
            _ => None,
        },
        _ => None,
    }
}
