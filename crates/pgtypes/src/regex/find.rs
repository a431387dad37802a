//! The leftmost match, and what each group of it took.

use std::collections::HashSet;

use super::Found;
use super::parse::{Node, Part, Tree};
use super::program::Text;

/// The first match that begins at `from` or later.
pub(super) fn find(tree: &Tree, chars: &[char], from: usize) -> Option<Found> {
    let text = Text { chars, lines_anchor: tree.lines_anchor };
    (from..=chars.len()).find_map(|start| at(tree, text, start))
}

fn at(tree: &Tree, text: Text<'_>, start: usize) -> Option<Found> {
    let root = &tree.root;
    let shorter = root.shorter == Some(true);
    let end = text.chars.len();
    let mut groups = vec![None; tree.groups];
    if !tree.has_back {
        // Whatever the automaton takes can be taken apart, so one end is enough.
        let mut last = None;
        root.program.ends(text, start, end, |end| {
            last = Some(end);
            shorter
        });
        let last = last?;
        dissect(root, text, start, last, &mut groups);
        return Some(Found { whole: (start, last), groups });
    }
    let mut ends = root.program.all_ends(text, start, end);
    if !shorter {
        ends.reverse();
    }
    ends.into_iter().find_map(|last| {
        let mut groups = vec![None; tree.groups];
        dissect(root, text, start, last, &mut groups)
            .then_some(Found { whole: (start, last), groups })
    })
}

type Groups = Vec<Option<super::Span>>;

/// Says what the groups of a part took that matched `from..to`. False: with these back-references it does
/// not.
fn dissect(part: &Part, text: Text<'_>, from: usize, to: usize, groups: &mut Groups) -> bool {
    if !part.messy {
        return part.program.matches(text, from, to);
    }
    match &part.node {
        Node::Back(number) => {
            let Some((start, end)) = groups[number - 1] else { return false };
            let chars = text.chars;
            chars[start..end] == chars[from..to]
        }
        Node::Group { number, inner } => {
            let fits = dissect(inner, text, from, to, groups);
            if fits {
                groups[number - 1] = Some((from, to));
            }
            fits
        }
        Node::Concat(left, right) => {
            let mut middles = left.program.all_ends(text, from, to);
            if left.shorter != Some(true) {
                middles.reverse();
            }
            middles.into_iter().any(|middle| {
                if !right.program.matches(text, middle, to) {
                    return false;
                }
                let before = groups.clone();
                let fits = dissect(left, text, from, middle, groups)
                    && dissect(right, text, middle, to, groups);
                if !fits {
                    *groups = before;
                }
                fits
            })
        }
        Node::Either(parts) => parts.iter().any(|part| {
            part.program.matches(text, from, to) && dissect(part, text, from, to, groups)
        }),
        Node::Repeat { inner, min, max } => {
            if *min == 0 && from == to {
                return true;
            }
            let min = (*min).max(1) as usize;
            let most = (to - from).min(max.map_or(usize::MAX, |max| max as usize)).max(min);
            let mut dead = HashSet::new();
            Iteration { inner, text, to, min, most }.from(from, 1, groups, &mut dead)
        }
        Node::Empty | Node::Set(_) | Node::Edge(_) | Node::Look { .. } | Node::Run(_) => {
            part.program.matches(text, from, to)
        }
    }
}

struct Iteration<'i> {
    inner: &'i Part,
    text: Text<'i>,
    to: usize,
    min: usize,
    most: usize,
}

impl Iteration<'_> {
    /// The `count`th repetition and those behind it, from here on. `dead` holds what is known not to lead
    /// to the end, by place and number.
    fn from(
        &self,
        from: usize,
        count: usize,
        groups: &mut Groups,
        dead: &mut HashSet<(usize, usize)>,
    ) -> bool {
        if dead.contains(&(from, count)) {
            return false;
        }
        let mut ends = self.inner.program.all_ends(self.text, from, self.to);
        if self.inner.shorter != Some(true) {
            ends.reverse();
        }
        for end in ends {
            let last = end == self.to && count >= self.min;
            if !last {
                // Nothing is repeated for nothing, unless it takes that to be often enough.
                let empty = end == from && (count >= self.min || self.min - count < self.to - end);
                if count >= self.most || empty {
                    continue;
                }
            }
            let before = groups.clone();
            clear(self.inner, groups);
            let fits = dissect(self.inner, self.text, from, end, groups)
                && (last || self.from(end, count + 1, groups, dead));
            if fits {
                return true;
            }
            *groups = before;
        }
        dead.insert((from, count));
        false
    }
}

/// Forgets what the groups of a part took.
fn clear(part: &Part, groups: &mut Groups) {
    match &part.node {
        Node::Group { number, inner } => {
            groups[number - 1] = None;
            clear(inner, groups);
        }
        Node::Concat(left, right) => {
            clear(left, groups);
            clear(right, groups);
        }
        Node::Either(parts) => parts.iter().for_each(|part| clear(part, groups)),
        Node::Repeat { inner, .. } => clear(inner, groups),
        Node::Empty
        | Node::Set(_)
        | Node::Edge(_)
        | Node::Look { .. }
        | Node::Run(_)
        | Node::Back(_) => {}
    }
}
