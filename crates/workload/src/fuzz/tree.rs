//! A statement as a tree of pieces, so that it can be made smaller without knowing SQL.
//!
//! ```text
//!   Plain "SELECT {} FROM {}{}"
//!    ├─ List ", "   ─ Expr(int4) "({} + {})" ─ Expr(int4) "a", Expr(int4) "1"
//!    ├─ Source      "t0 AS x"
//!    └─ Optional    " WHERE {}" ─ Expr(bool) …
//! ```
//!
//! What stands for what is said by [`Kind`] alone; [`super::shrink`] goes by it.

use std::fmt;

use super::types::Ty;

/// What a node may be exchanged for when a statement is made smaller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// An expression: for one inside of it of the same type, or for a constant.
    Expr(Ty),
    /// A query of columns of these types: for one inside of it of the same types.
    Query(Vec<Ty>),
    /// Something of FROM: for something else inside of it.
    Source,
    /// May be left out.
    Optional,
    /// Its children but so many may be left out; what is between them.
    List(usize, &'static str),
    /// Stays.
    Plain,
}

/// Text, and what is written in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) kind: Kind,
    /// With `{}` where a child goes; nothing for a list.
    pub(super) template: String,
    pub(super) children: Vec<Node>,
}

impl Node {
    /// Children go where `{}` is.
    pub(super) fn new(
        kind: Kind,
        template: impl Into<String>,
        children: impl Into<Vec<Node>>,
    ) -> Node {
        let (template, children) = (template.into(), children.into());
        debug_assert_eq!(template.matches("{}").count(), children.len(), "{template}");
        Node { kind, template, children }
    }

    /// An expression.
    pub(super) fn expr(
        ty: Ty,
        template: impl Into<String>,
        children: impl Into<Vec<Node>>,
    ) -> Node {
        Node::new(Kind::Expr(ty), template, children)
    }

    /// Text that stays.
    pub(super) fn plain(template: impl Into<String>, children: impl Into<Vec<Node>>) -> Node {
        Node::new(Kind::Plain, template, children)
    }

    /// Something that may be left out.
    pub(super) fn optional(template: impl Into<String>, children: impl Into<Vec<Node>>) -> Node {
        Node::new(Kind::Optional, template, children)
    }

    /// Nothing.
    pub(super) fn nothing() -> Node {
        Node::plain("", [])
    }

    /// Several, of which `least` stay.
    pub(super) fn list(least: usize, between: &'static str, children: Vec<Node>) -> Node {
        Node { kind: Kind::List(least, between), template: String::new(), children }
    }

    /// Nodes in it, itself included.
    pub(super) fn size(&self) -> usize {
        1 + self.children.iter().map(Node::size).sum::<usize>()
    }

    /// The node at a path of child numbers.
    pub(super) fn at(&self, path: &[usize]) -> Option<&Node> {
        match path {
            [] => Some(self),
            [first, rest @ ..] => self.children.get(*first)?.at(rest),
        }
    }

    /// A copy with another node at a path.
    pub(super) fn with(&self, path: &[usize], node: Node) -> Node {
        let [first, rest @ ..] = path else { return node };
        let mut copy = self.clone();
        if let Some(child) = copy.children.get_mut(*first) {
            *child = child.with(rest, node);
        }
        copy
    }

    /// Every path, those of larger nodes before those inside of them.
    pub(super) fn paths(&self) -> Vec<Vec<usize>> {
        let mut paths = vec![Vec::new()];
        let mut next = 0;
        while next < paths.len() {
            let path = paths[next].clone();
            let count = self.at(&path).map_or(0, |node| node.children.len());
            for n in 0..count {
                let mut deeper = path.clone();
                deeper.push(n);
                paths.push(deeper);
            }
            next += 1;
        }
        paths
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Kind::List(_, between) = self.kind {
            for (n, child) in self.children.iter().enumerate() {
                if n > 0 {
                    f.write_str(between)?;
                }
                write!(f, "{child}")?;
            }
            return Ok(());
        }
        let mut children = self.children.iter();
        for (n, text) in self.template.split("{}").enumerate() {
            if n > 0 {
                children.next().map_or(Ok(()), |child| write!(f, "{child}"))?;
            }
            f.write_str(text)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_print_and_change() {
        let one = || Node::expr(Ty::Int4, "1", []);
        let sum = Node::expr(Ty::Int4, "({} + {})", [one(), Node::expr(Ty::Int4, "a", [])]);
        let items = Node::list(1, ", ", vec![sum, one()]);
        let select = Node::plain("SELECT {}{}", [items, Node::optional(" LIMIT 1", [])]);
        assert_eq!(select.to_string(), "SELECT (1 + a), 1 LIMIT 1");
        assert_eq!(select.size(), 7);
        assert_eq!(select.paths().len(), 7);
        assert_eq!(select.with(&[0, 0], one()).to_string(), "SELECT 1, 1 LIMIT 1");
        assert_eq!(select.with(&[1], Node::nothing()).to_string(), "SELECT (1 + a), 1");
    }
}
