//! The smallest statement that still differs: parts are left out or exchanged as long as it does.

use std::future::Future;

use super::tree::{Kind, Node};
use super::types::Ty;

/// Makes a statement smaller as long as `differs` says that it still shows the same; so many tries.
pub(super) async fn shrink<F>(
    statement: Node,
    tries: usize,
    mut differs: impl FnMut(String) -> F,
) -> Node
where
    F: Future<Output = bool>,
{
    let mut smallest = statement;
    let mut left = tries;
    loop {
        let mut smaller = None;
        'search: for path in smallest.paths() {
            let Some(node) = smallest.at(&path) else { continue };
            for other in instead_of(node) {
                let tried = smallest.with(&path, other);
                if left == 0 {
                    return smallest;
                }
                left -= 1;
                if differs(tried.to_string()).await {
                    smaller = Some(tried);
                    break 'search;
                }
            }
        }
        match smaller {
            Some(tried) => smallest = tried,
            None => return smallest,
        }
    }
}

/// What may stand in a node's place: each is smaller than it.
fn instead_of(node: &Node) -> Vec<Node> {
    let mut found = Vec::new();
    match &node.kind {
        Kind::Plain => {}
        Kind::Optional if node.size() == 1 && node.template.is_empty() => {}
        Kind::Optional => found.push(Node::nothing()),
        Kind::List(least, between) => {
            let count = node.children.len();
            let keep = |kept: Vec<Node>| Node::list(*least, between, kept);
            if count > *least + 1 {
                found.push(keep(node.children[..(*least).max(1)].to_vec()));
            }
            if count > *least {
                for without in (0..count).rev() {
                    let mut kept = node.children.clone();
                    kept.remove(without);
                    found.push(keep(kept));
                }
            }
        }
        Kind::Expr(ty) => {
            found.extend(inside(node));
            let constants = [ty.least(), format!("NULL::{}", ty.name())];
            if !constants.contains(&node.template) {
                found.extend(constants.map(|text| Node::expr(*ty, text, [])));
            }
        }
        Kind::Query(types) => {
            found.extend(inside(node));
            let values: Vec<String> = types.iter().copied().map(Ty::least).collect();
            let least = format!("SELECT {}", values.join(", "));
            if node.size() > 1 {
                found.push(Node::new(Kind::Query(types.clone()), least, []));
            }
        }
        Kind::Source => found.extend(inside(node)),
    }
    found
}

/// Nodes of the same kind inside of a node, the outermost ones.
fn inside(node: &Node) -> Vec<Node> {
    let mut found = Vec::new();
    let mut open: Vec<&Node> = node.children.iter().rev().collect();
    while let Some(next) = open.pop() {
        if next.kind == node.kind {
            found.push(next.clone());
        } else {
            open.extend(next.children.iter().rev());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_matters_stays() {
        let leaf = |text: &str| Node::expr(Ty::Int4, text, []);
        let deep = Node::expr(Ty::Int4, "abs({})", [leaf("wrong")]);
        let sum = Node::expr(Ty::Int4, "({} + {})", [leaf("b"), deep]);
        let items = Node::list(1, ", ", vec![leaf("a"), sum, leaf("c")]);
        let filter = Node::optional(" WHERE {}", [Node::expr(Ty::Bool, "x", [])]);
        let select = Node::plain("SELECT {} FROM t{}", [items, filter]);
        let least = shrink(select, 1000, |sql| async move { sql.contains("wrong") }).await;
        assert_eq!(least.to_string(), "SELECT wrong FROM t");
    }

    #[tokio::test]
    async fn tries_are_bounded() {
        let items = (0..100).map(|n| Node::expr(Ty::Int4, n.to_string(), [])).collect();
        let mut tried = 0;
        let list = Node::list(1, ", ", items);
        let same = shrink(list.clone(), 7, |_| {
            tried += 1;
            async { false }
        });
        assert_eq!(same.await, list);
        assert_eq!(tried, 7);
    }
}
