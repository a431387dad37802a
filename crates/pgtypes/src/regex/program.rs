//! A part of an expression as an automaton, and its simulation: every way at once, a character at a time.

use std::sync::Arc;

use super::class::{Set, is_word};
use super::invalid;
use super::parse::{Edge, Node, Part};
use crate::error::Result;

/// Steps of one automaton at most.
const STEPS_MAX: usize = 20_000;

#[derive(Clone, Debug)]
pub(super) enum Step {
    Set(Set),
    Edge(Edge),
    Look {
        ahead: bool,
        negated: bool,
        program: Program,
    },
    /// Both ways, relative to here.
    Split(isize, isize),
    Jump(isize),
}

/// An automaton. Beyond the last step it has matched.
#[derive(Clone, Debug, Default)]
pub(super) struct Program(Arc<Vec<Step>>);

impl Program {
    /// That of a part whose own parts have theirs already.
    pub(super) fn of(node: &Node) -> Result<Self> {
        let mut steps = Vec::new();
        match node {
            Node::Empty => {}
            Node::Set(set) => steps.push(Step::Set(set.clone())),
            Node::Edge(edge) => steps.push(Step::Edge(*edge)),
            Node::Look { ahead, negated, inner } => steps.push(Step::Look {
                ahead: *ahead,
                negated: *negated,
                program: inner.program.clone(),
            }),
            // Its own is that of the group, see the parser.
            Node::Back(_) => {}
            Node::Group { inner, .. } => return Ok(inner.program.clone()),
            Node::Run(parts) => {
                for part in parts {
                    steps.extend_from_slice(&part.program.0);
                }
            }
            Node::Concat(left, right) => {
                steps.extend_from_slice(&left.program.0);
                steps.extend_from_slice(&right.program.0);
            }
            Node::Either(parts) => either(&mut steps, parts),
            Node::Repeat { inner, min, max } => repeat(&mut steps, inner, *min, *max)?,
        }
        if steps.len() > STEPS_MAX {
            return Err(invalid("regular expression is too complex"));
        }
        Ok(Self(Arc::new(steps)))
    }
}

fn offset(n: usize) -> isize {
    isize::try_from(n).expect("bounded")
}

fn either(steps: &mut Vec<Step>, parts: &[Part]) {
    let total: usize = parts.iter().map(|part| part.program.0.len() + 2).sum();
    let end = steps.len() + total;
    for part in parts {
        // The way past this branch leads to the next one's split; past the last one is a dead end.
        steps.push(Step::Split(1, offset(part.program.0.len() + 2)));
        steps.extend_from_slice(&part.program.0);
        steps.push(Step::Jump(offset(end - steps.len())));
    }
    // The last split must not fall through to the end.
    if let Some(last) = parts.last() {
        let at = end - last.program.0.len() - 2;
        steps[at] = Step::Jump(1);
    }
}

fn repeat(steps: &mut Vec<Step>, inner: &Part, min: u32, max: Option<u32>) -> Result<()> {
    let body = &inner.program.0;
    let copies = max.unwrap_or(min).max(1) as usize;
    if copies.saturating_mul(body.len() + 2) > STEPS_MAX {
        return Err(invalid("regular expression is too complex"));
    }
    for _ in 0..min {
        steps.extend_from_slice(body);
    }
    match max {
        None => {
            steps.push(Step::Split(1, offset(body.len() + 2)));
            steps.extend_from_slice(body);
            steps.push(Step::Jump(-offset(body.len() + 1)));
        }
        Some(max) => {
            let optional = (max - min) as usize;
            for n in 0..optional {
                let rest = (optional - n) * (body.len() + 1);
                steps.push(Step::Split(1, offset(rest)));
                steps.extend_from_slice(body);
            }
        }
    }
    Ok(())
}

/// The text that is searched.
#[derive(Clone, Copy)]
pub(super) struct Text<'t> {
    pub(super) chars: &'t [char],
    pub(super) lines_anchor: bool,
}

impl Text<'_> {
    fn holds(self, edge: Edge, at: usize) -> bool {
        let before = at.checked_sub(1).map(|at| self.chars[at]);
        let after = self.chars.get(at).copied();
        let (left, right) = (before.is_some_and(is_word), after.is_some_and(is_word));
        match edge {
            Edge::TextStart => at == 0,
            Edge::TextEnd => after.is_none(),
            Edge::LineStart => at == 0 || (self.lines_anchor && before == Some('\n')),
            Edge::LineEnd => after.is_none() || (self.lines_anchor && after == Some('\n')),
            Edge::WordStart => !left && right,
            Edge::WordEnd => left && !right,
            Edge::Word => left != right,
            Edge::NotWord => left == right,
        }
    }
}

/// The ways that a simulation is on.
struct Threads {
    steps: Vec<usize>,
    seen: Vec<bool>,
}

impl Program {
    fn follow(&self, text: Text<'_>, at: usize, step: usize, threads: &mut Threads) {
        let mut open = vec![step];
        while let Some(step) = open.pop() {
            if std::mem::replace(&mut threads.seen[step], true) {
                continue;
            }
            let to = |by: isize| step.checked_add_signed(by).expect("within the program");
            match self.0.get(step) {
                None | Some(Step::Set(_)) => threads.steps.push(step),
                Some(Step::Edge(edge)) => {
                    if text.holds(*edge, at) {
                        open.push(step + 1);
                    }
                }
                Some(Step::Look { ahead, negated, program }) => {
                    let found = match ahead {
                        true => program.ends(text, at, text.chars.len(), |_| true),
                        false => (0..=at).any(|from| program.matches(text, from, at)),
                    };
                    if found != *negated {
                        open.push(step + 1);
                    }
                }
                Some(Step::Jump(by)) => open.push(to(*by)),
                Some(Step::Split(first, second)) => {
                    open.push(to(*second));
                    open.push(to(*first));
                }
            }
        }
    }

    /// Calls for each end of a match that begins at `from`, up to `limit`, the nearest first, until it is
    /// told to stop, by true. Was it?
    pub(super) fn ends(
        &self,
        text: Text<'_>,
        from: usize,
        limit: usize,
        mut stop: impl FnMut(usize) -> bool,
    ) -> bool {
        let empty = || Threads { steps: Vec::new(), seen: vec![false; self.0.len() + 1] };
        let (mut now, mut then) = (empty(), empty());
        self.follow(text, from, 0, &mut now);
        let mut at = from;
        loop {
            if now.seen[self.0.len()] && stop(at) {
                return true;
            }
            if at >= limit || now.steps.is_empty() {
                return false;
            }
            let c = text.chars[at];
            at += 1;
            for &step in &now.steps {
                if let Some(Step::Set(set)) = self.0.get(step)
                    && set.has(c)
                {
                    self.follow(text, at, step + 1, &mut then);
                }
            }
            std::mem::swap(&mut now, &mut then);
            then.steps.clear();
            then.seen.fill(false);
        }
    }

    /// Does it match exactly these characters?
    pub(super) fn matches(&self, text: Text<'_>, from: usize, to: usize) -> bool {
        self.ends(text, from, to, |end| end == to)
    }

    /// All ends up to `limit`, ascending.
    pub(super) fn all_ends(&self, text: Text<'_>, from: usize, limit: usize) -> Vec<usize> {
        let mut all = Vec::new();
        self.ends(text, from, limit, |end| {
            all.push(end);
            false
        });
        all
    }
}
