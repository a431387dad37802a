//! The way of one process' client to ranges: a function call here, a packet elsewhere.

use std::sync::Arc;

use base::NodeId;
use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::BoxFuture;
use kv::{Db, Transport, TransportError};
use proto::kv::inspect::What;
use proto::kv::range_request::Request;
use proto::kv::range_response::Response;
use proto::kv::{Inspect, Probe, RangeRequest, RangeResponse, WaitNotice};

use super::Sim;
use super::net::Packet;
use super::node::{Call, Waiter};
use super::state::{Event, Owner, State};
use super::store::index;
use crate::fault::Moment;

pub(crate) struct SimTransport {
    pub sim: Arc<Sim>,
    pub owner: Owner,
}

type Answer = Result<RangeResponse, TransportError>;

/// Forgets a call whose caller lost patience.
struct Open {
    sim: Arc<Sim>,
    owner: Owner,
    id: u64,
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut state = self.sim.state.lock();
        if state.alive(self.owner)
            && let Some(process) = state.nodes[self.owner.node].process.as_deref_mut()
        {
            let forgotten = process.calls.remove(&self.id);
            drop(state);
            drop(forgotten);
        }
    }
}

impl Sim {
    /// What a process tells about itself, asked without the world's lock.
    pub(crate) fn inspected(&self, owner: Owner, db: &Db, inspect: &Inspect) -> RangeResponse {
        let mut answer = db.answer_inspection(inspect);
        if inspect.what() == What::Locks {
            answer.locks = self.state.lock().lock_infos(owner);
        }
        RangeResponse { error: None, response: Some(Response::Inspected(answer)) }
    }
}

impl SimTransport {
    pub(crate) fn local(&self, to: NodeId, request: RangeRequest) -> BoxFuture<'static, Answer> {
        if let Some(Request::Inspect(inspect)) = &request.request {
            let db = self.sim.state.lock().db_of(self.owner);
            let answer = db.map(|db| self.sim.inspected(self.owner, &db, inspect));
            return futures::future::ready(answer.ok_or(TransportError::NotSent(to))).boxed();
        }
        let (sender, receiver) = oneshot::channel();
        let served = {
            let mut state = self.sim.state.lock();
            let node = self.owner.node;
            state.trace.say(state.now, || format!("on {node} itself: {request:?}"));
            let served = state.serve(self.owner, request, Waiter::Local(sender));
            state.trace.say(state.now, || format!("on {node} at once: {served:?}"));
            served
        };
        match served {
            Some(response) => futures::future::ready(Ok(response)).boxed(),
            None => {
                async move { receiver.await.map_err(|_| TransportError::AnswerLost(to)) }.boxed()
            }
        }
    }

    fn remote(&self, to: NodeId, request: RangeRequest) -> BoxFuture<'static, Answer> {
        let (answer, receiver) = oneshot::channel();
        let id = {
            let mut state = self.sim.state.lock();
            if state.nodes[index(to)].process.is_none() {
                return futures::future::ready(Err(TransportError::NotSent(to))).boxed();
            }
            let process = state.nodes[self.owner.node].process.as_deref_mut().expect("it lives");
            process.next_call += 1;
            let id = process.next_call;
            process.calls.insert(id, Call { to: index(to), answer });
            let packet = Packet::Call { caller: self.owner, id, request };
            state.send(self.owner.node, index(to), packet);
            id
        };
        let open = Open { sim: Arc::clone(&self.sim), owner: self.owner, id };
        async move {
            let answer = receiver.await;
            drop(open);
            match answer {
                Ok(Ok(response)) => Ok(response),
                Ok(Err(())) | Err(oneshot::Canceled) => Err(TransportError::AnswerLost(to)),
            }
        }
        .boxed()
    }

    /// Whether the process dies at this request, and when.
    fn trapped(&self, request: &RangeRequest) -> Option<Moment> {
        let mut state = self.sim.state.lock();
        let trap = state.trap.as_mut()?;
        let moment = trap.moment;
        if !trap.springs(self.owner.node, request) {
            return None;
        }
        state.trap = None;
        Some(moment)
    }

    fn die(state: &mut State, owner: Owner) {
        state.after(0, Event::Kill(owner.node));
    }

    fn forward(&self, to: NodeId, packet: Packet) {
        let mut state = self.sim.state.lock();
        if state.alive(self.owner) {
            state.send(self.owner.node, index(to), packet);
        }
    }
}

impl Transport for SimTransport {
    fn send(&self, to: NodeId, request: RangeRequest) -> BoxFuture<'_, Answer> {
        if !self.sim.state.lock().alive(self.owner) {
            return futures::future::ready(Err(TransportError::NotSent(to))).boxed();
        }
        let trapped = self.trapped(&request);
        if trapped == Some(Moment::Before) {
            Self::die(&mut self.sim.state.lock(), self.owner);
            return futures::future::pending().boxed();
        }
        let sent = match index(to) == self.owner.node {
            true => self.local(to, request),
            false => self.remote(to, request),
        };
        match trapped {
            None => sent,
            Some(Moment::Answered) => {
                let (sim, owner) = (Arc::clone(&self.sim), self.owner);
                async move {
                    drop(sent.await);
                    Self::die(&mut sim.state.lock(), owner);
                    futures::future::pending().await
                }
                .boxed()
            }
            Some(Moment::Before | Moment::Sent) => {
                Self::die(&mut self.sim.state.lock(), self.owner);
                futures::future::pending().boxed()
            }
        }
    }

    fn local_node(&self) -> (NodeId, u64) {
        (NodeId(self.owner.node as u64 + 1), self.owner.incarnation)
    }

    fn nodes(&self) -> Vec<NodeId> {
        let me = self.owner.node;
        let count = self.sim.state.lock().nodes.len();
        let others = (0..count).filter(|node| *node != me);
        std::iter::once(me).chain(others).map(|node| NodeId(node as u64 + 1)).collect()
    }

    fn hears_of(&self, node: NodeId) -> bool {
        let state = self.sim.state.lock();
        let me = &state.nodes[self.owner.node];
        let live = me.process.as_ref().map(|p| p.liveness.is_live(node, me.clock(state.now)));
        live.unwrap_or(false)
    }

    fn send_probe(&self, to: NodeId, probe: Probe) {
        if !self.sim.state.lock().settings.probes && !probe.wound {
            return;
        }
        if index(to) == self.owner.node {
            let mut state = self.sim.state.lock();
            return state.after(0, Event::Probe(self.owner, probe));
        }
        self.forward(to, Packet::Probe(probe));
    }

    fn send_wait_notice(&self, to: NodeId, notice: WaitNotice) {
        if index(to) == self.owner.node {
            let mut state = self.sim.state.lock();
            return state.after(0, Event::Notice(self.owner, notice));
        }
        self.forward(to, Packet::Notice(notice));
    }
}
