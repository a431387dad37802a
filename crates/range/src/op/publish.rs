//! Telling the directory of this range. Each leader does, at the beginning of its term and after
//! each change, until the directory acknowledges the generation. Repeats and reorderings are
//! harmless: there the later generation wins.

use crate::replica::Replica;
use crate::{Ctx, Effect};

/// Pause between two attempts, in ticks.
const AGAIN_TICKS: u64 = 10;

impl Replica {
    /// Publishes what the directory is not known to have.
    pub(crate) fn publish_again(&mut self, ctx: &Ctx<'_>, out: &mut Vec<Effect>) {
        let leased = self.holds_lease(ctx);
        let (generation, ticks) = (self.descriptor.generation, self.ticks);
        let Some(lead) = self.lead.as_mut() else { return };
        let attempted = lead.published_at == generation_mark(generation, ticks);
        if !leased || lead.published >= generation || attempted {
            return;
        }
        lead.published_at = generation_mark(generation, ticks);
        out.push(Effect::PublishRanges(vec![self.descriptor.clone()]));
    }

    /// The directory has this generation of the range.
    pub fn published(&mut self, generation: u64) {
        if let Some(lead) = self.lead.as_mut() {
            lead.published = lead.published.max(generation);
        }
    }
}

/// Names an attempt: a new generation is published at once, the same one every [`AGAIN_TICKS`].
fn generation_mark(generation: u64, ticks: u64) -> u64 {
    generation << 32 | (1 + ticks / AGAIN_TICKS) & 0xFFFF_FFFF
}
