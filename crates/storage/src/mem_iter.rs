//! Snapshots and iterators of the engine in memory: each holds a [`Pin`] on the state it sees.

use std::ops::Bound;
use std::sync::Arc;

use base::KeyRange;
use bytes::Bytes;

use crate::mem_engine::{Pin, first_with_prefix, upper, visible};
use crate::{EngineError, EngineIter, EngineRead, Family, IterOptions, ValueRef};

pub(crate) struct MemSnapshot {
    pub(crate) pin: Pin,
}

impl EngineRead for MemSnapshot {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        Ok(self.pin.shared.read().visible(family, key, self.pin.at))
    }

    fn iter(
        &self,
        family: Family,
        span: &KeyRange,
        _options: IterOptions,
    ) -> Result<Box<dyn EngineIter + '_>, EngineError> {
        let at = self.pin.at;
        *self.pin.shared.write().snapshots.entry(at).or_default() += 1;
        let pin = Pin { shared: Arc::clone(&self.pin.shared), at };
        Ok(Box::new(MemIter { pin, family, span: span.clone(), current: None }))
    }

    fn first_with_prefix(
        &self,
        family: Family,
        from: &[u8],
        prefix_len: usize,
        visit: &mut dyn FnMut(&[u8], ValueRef<'_>),
    ) -> Result<bool, EngineError> {
        let state = self.pin.shared.read();
        Ok(first_with_prefix(&state, self.pin.at, family, from, prefix_len, visit))
    }
}

pub(crate) struct MemIter {
    pub(crate) pin: Pin,
    pub(crate) family: Family,
    pub(crate) span: KeyRange,
    pub(crate) current: Option<(Bytes, Bytes)>,
}

impl MemIter {
    /// Moves to the first entry within `lower` and the span's end.
    fn forward(&mut self, lower: Bound<&[u8]>) -> bool {
        let (Bound::Included(from) | Bound::Excluded(from)) = lower else {
            unreachable!("every forward movement starts somewhere")
        };
        let found = if !self.span.end.0.is_empty() && from >= self.span.end.as_bytes() {
            None
        } else {
            let state = self.pin.shared.read();
            state.families[self.family.index()]
                .range::<[u8], _>((lower, upper(self.span.end.as_bytes())))
                .find_map(|(key, v)| Some((key.clone(), visible(v, self.pin.at)?.clone())))
        };
        self.current = found;
        self.current.is_some()
    }

    /// Moves to the last entry within the span's start and `upper`.
    fn backward(&mut self, upper: Bound<&[u8]>) -> bool {
        let start = self.span.start.as_bytes();
        let nothing = match upper {
            Bound::Included(to) => to < start,
            Bound::Excluded(to) => to <= start,
            Bound::Unbounded => false,
        };
        let found = if nothing {
            None
        } else {
            let state = self.pin.shared.read();
            state.families[self.family.index()]
                .range::<[u8], _>((Bound::Included(start), upper))
                .rev()
                .find_map(|(key, v)| Some((key.clone(), visible(v, self.pin.at)?.clone())))
        };
        self.current = found;
        self.current.is_some()
    }

    fn entry(&self) -> &(Bytes, Bytes) {
        self.current.as_ref().expect("the last movement ended on an entry")
    }
}

impl EngineIter for MemIter {
    fn seek(&mut self, key: &[u8]) -> Result<bool, EngineError> {
        let from = self.span.start.clone();
        Ok(self.forward(Bound::Included(key.max(from.as_bytes()))))
    }

    fn seek_for_prev(&mut self, key: &[u8]) -> Result<bool, EngineError> {
        let end = self.span.end.clone();
        if !end.0.is_empty() && key >= end.as_bytes() {
            return self.seek_to_last();
        }
        Ok(self.backward(Bound::Included(key)))
    }

    fn seek_to_first(&mut self) -> Result<bool, EngineError> {
        let from = self.span.start.clone();
        Ok(self.forward(Bound::Included(from.as_bytes())))
    }

    fn seek_to_last(&mut self) -> Result<bool, EngineError> {
        let end = self.span.end.clone();
        Ok(self.backward(upper(end.as_bytes())))
    }

    fn next(&mut self) -> Result<bool, EngineError> {
        let at = self.entry().0.clone();
        Ok(self.forward(Bound::Excluded(&at)))
    }

    fn prev(&mut self) -> Result<bool, EngineError> {
        let at = self.entry().0.clone();
        Ok(self.backward(Bound::Excluded(&at)))
    }

    fn key(&self) -> &[u8] {
        &self.entry().0
    }

    fn value(&self) -> ValueRef<'_> {
        ValueRef::Shared(&self.entry().1)
    }
}
