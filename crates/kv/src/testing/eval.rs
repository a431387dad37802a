//! What each request does in the fake cluster.

use std::time::{Duration, Instant};

use base::{Key, KeyRange, NodeId, RangeId};
use bytes::Bytes;
use proto::kv::kv_error::Error as RangeError;
use proto::kv::range_request::Request;
use proto::kv::range_response::Response;
use proto::{kv, meta};

use super::store::{Fate, Placed, Store, Version};

/// What a request comes to.
pub(super) enum Verdict {
    Done(Response),
    Refused(RangeError),
    /// Somebody holds the key; try again when something has changed.
    Wait {
        key: Bytes,
        holder: kv::TxnMeta,
        held: kv::Strength,
        /// Not held: an older wish.
        queued: bool,
        replicated: Option<Box<Placed>>,
    },
}

pub(super) type Evaluated = Result<Response, Verdict>;

impl From<RangeError> for Verdict {
    fn from(error: RangeError) -> Self {
        Verdict::Refused(error)
    }
}

impl Store {
    pub(super) fn evaluate(&mut self, node: NodeId, request: &kv::RangeRequest) -> Verdict {
        match self.try_evaluate(node, request) {
            Ok(response) => Verdict::Done(response),
            Err(verdict) => verdict,
        }
    }

    fn try_evaluate(&mut self, node: NodeId, request: &kv::RangeRequest) -> Evaluated {
        let id = request.range_id;
        let asked = request.request.as_ref().expect("a request asks for something");
        if let Err(error) = self.check_range(id, node, &spans_of(asked)) {
            return self.read_closed(node, request).ok_or_else(|| error.into());
        }
        let nobody = kv::TxnMeta::default();
        let txn = request.txn.as_ref().unwrap_or(&nobody);
        match asked {
            Request::Get(get) => self.get(txn, get),
            Request::Scan(scan) => self.scan(txn, scan),
            Request::LockKeys(lock) => self.lock_keys(id, txn, lock),
            Request::LockSpans(lock) => self.lock_spans(id, txn, lock),
            Request::CommitOnePhase(commit) => self.commit_one_phase(id, txn, commit),
            Request::Prewrite(prewrite) => self.prewrite(id, txn, prewrite),
            Request::Resolve(resolve) => Ok(self.resolve(resolve)),
            Request::EndTxn(end) => self.end_txn(end),
            Request::QueryTxn(query) => Ok(Response::TxnState(self.query_txn(query))),
            Request::CheckKeys(check) => Ok(self.check_keys(check)),
            Request::Refresh(refresh) => self.refresh(txn, refresh),
            Request::ReleaseLocks(release) => Ok(self.release(id, txn, release)),
            Request::Load(load) => self.load(txn, load),
            Request::Clear(clear) => {
                let span: KeyRange = clear.span.clone().unwrap_or_default().into();
                self.rows.retain(|key, _| !span.contains(key));
                // Of all ranges, for simplicity.
                self.safe_point = self.safe_point.max(clear.safe_point);
                Ok(Response::Done(kv::Done {}))
            }
            Request::Heartbeat(beat) => Ok(self.heartbeat(txn, beat)),
            Request::Split(split) => {
                let keys: Vec<_> = split.keys.iter().cloned().map(Key).collect();
                Ok(Response::Split(kv::SplitResult { ranges: self.split_at(&keys) }))
            }
            Request::Oracle(oracle) => {
                let first = self.draw(oracle.count);
                Ok(Response::Oracle(kv::OracleResult { first, count: oracle.count }))
            }
            Request::SystemCommand(command) => Ok(self.system_command(command)),
            Request::SystemQuery(query) => Ok(self.system_query(query)),
            Request::RangeStatus(_) => Ok(self.range_status(id)),
            Request::TransferLeader(to) => {
                self.move_leader(RangeId(id), NodeId(to.to));
                Ok(Response::Done(kv::Done {}))
            }
            Request::Collect(collect) => {
                self.collect(collect.safe_point);
                Ok(Response::Collected(kv::Collected::default()))
            }
            Request::ChangeReplicas(_) | Request::Inspect(_) => {
                Err(RangeError::Invalid(kv::Invalid { reason: "not in the fake".into() }).into())
            }
        }
    }

    /// What a node answers that does not lead: reads of the past, unless a lock lies in the way.
    fn read_closed(&mut self, node: NodeId, request: &kv::RangeRequest) -> Option<Response> {
        let (Some(Request::Get(kv::Get { read_ts: ts, .. }))
        | Some(Request::Scan(kv::Scan { read_ts: ts, .. }))) = &request.request
        else {
            return None;
        };
        let spans = spans_of(request.request.as_ref()?);
        let range = self.ranges.values().find(|r| r.descriptor.range_id == request.range_id)?;
        let inside = |span: &KeyRange| range.descriptor.span().contains_range(span);
        let settled = request.txn.is_none() && *ts <= self.closed;
        if !settled || !range.descriptor.has_replica(node) || !spans.iter().all(inside) {
            return None;
        }
        let nobody = kv::TxnMeta::default();
        let answer = match request.request.as_ref()? {
            Request::Get(get) => self.get(&nobody, get),
            Request::Scan(scan) => self.scan(&nobody, scan),
            _ => return None,
        };
        answer.ok()
    }

    pub(super) fn check_kept(&self, ts: u64) -> Result<(), Verdict> {
        let safe_point = self.safe_point;
        if ts < safe_point {
            return Err(RangeError::BelowGc(kv::BelowGc { safe_point }).into());
        }
        Ok(())
    }

    fn get(&mut self, txn: &kv::TxnMeta, get: &kv::Get) -> Evaluated {
        self.check_kept(get.read_ts)?;
        let mut values = Vec::with_capacity(get.keys.len());
        for key in &get.keys {
            self.note_read(KeyRange::point(Key(key.clone())), get.read_ts, txn.id);
            self.unlocked_at(key, get.read_ts, txn.id)?;
            values.push(optional(self.value_at(key, get.read_ts)));
        }
        Ok(Response::Get(kv::GetResult { values }))
    }

    fn scan(&mut self, txn: &kv::TxnMeta, scan: &kv::Scan) -> Evaluated {
        self.check_kept(scan.read_ts)?;
        let span: KeyRange = scan.span.clone().unwrap_or_default().into();
        self.note_read(span.clone(), scan.read_ts, txn.id);
        let inside = |key: &Bytes| span.contains(key);
        let locked: Vec<Bytes> = self.placed.keys().filter(|k| inside(k)).cloned().collect();
        for key in locked {
            self.unlocked_at(&key, scan.read_ts, txn.id)?;
        }
        let mut keys: Vec<&Bytes> = self.rows.keys().filter(|k| inside(k)).collect();
        if scan.reverse {
            keys.reverse();
        }
        let mut result = kv::ScanResult::default();
        let mut bytes = 0;
        for key in keys {
            let Some(value) = self.value_at(key, scan.read_ts) else { continue };
            let full = (scan.max_rows > 0 && result.rows.len() as u64 >= scan.max_rows)
                || (scan.max_bytes > 0 && bytes >= scan.max_bytes);
            if full {
                let last = Key(result.rows[result.rows.len() - 1].key.clone());
                result.resume = Some(if scan.reverse {
                    KeyRange { start: span.start.clone(), end: last }.into()
                } else {
                    KeyRange { start: last.next(), end: span.end.clone() }.into()
                });
                break;
            }
            bytes += (key.len() + value.len()) as u64;
            result.rows.push(kv::KeyValue { key: key.clone(), value });
        }
        Ok(Response::Scan(result))
    }

    /// A snapshot read waits for a lock that could commit at or below it.
    fn unlocked_at(&self, key: &[u8], ts: u64, reader: u64) -> Result<(), Verdict> {
        match self.placed.get(key) {
            Some(lock) if lock.owner.id != reader && lock.min_commit_ts <= ts => {
                Err(wait_for(lock))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn refresh(&mut self, txn: &kv::TxnMeta, refresh: &kv::Refresh) -> Evaluated {
        self.verify(txn, &refresh.spans, refresh.from_ts, refresh.to_ts)?;
        for span in &refresh.spans {
            self.note_read(span.clone().into(), refresh.to_ts, txn.id);
        }
        Ok(Response::Done(kv::Done {}))
    }

    /// Nothing has changed in the spans since `from`, or could change up to `to`.
    fn verify(
        &self,
        txn: &kv::TxnMeta,
        spans: &[kv::Span],
        from: u64,
        to: u64,
    ) -> Result<(), Verdict> {
        for span in spans {
            let (from, may_change) = (span.from_ts.unwrap_or(from), span.may_change);
            let span: KeyRange = span.clone().into();
            for (key, versions) in self.rows.iter().filter(|(key, _)| span.contains(key)) {
                let after = (std::ops::Bound::Excluded(from), std::ops::Bound::Included(to));
                let counts = |(_, version): &(_, &Version)| !may_change || version.value.is_none();
                let changed = if from < to { versions.range(after).rfind(counts) } else { None };
                if let Some((ts, version)) = changed {
                    return Err(changed_error(key, *ts, version.by).into());
                }
            }
            for (key, lock) in self.placed.iter().filter(|(key, _)| span.contains(key)) {
                let counts = !may_change || lock.write.kind() == kv::write::Kind::Delete;
                if counts && lock.owner.id != txn.id && lock.min_commit_ts <= to {
                    return Err(changed_error(key, lock.min_commit_ts, lock.owner.id).into());
                }
            }
        }
        Ok(())
    }

    fn commit_one_phase(
        &mut self,
        range: u64,
        txn: &kv::TxnMeta,
        commit: &kv::CommitOnePhase,
    ) -> Evaluated {
        let primary = &commit.writes.first().expect("something is written").key;
        match self.records.get(&(primary.clone(), txn.id)) {
            Some(Fate::Committed(ts)) => return Ok(committed(*ts)),
            Some(Fate::RolledBack) => return Err(gone(txn.id).into()),
            None => {}
        }
        assert!(commit.writes.is_sorted_by_key(|w| &w.key), "writes are in key order");
        self.claim_writes(range, txn, &commit.writes, &commit.must_not_exist, commit.read_ts)?;
        let min = commit.writes.iter().map(|w| self.min_commit_ts(&w.key, txn, commit.read_ts));
        let min = min.max().expect("something is written");
        let ts = match commit.exact_ts {
            0 => min,
            exact if exact < min => return Err(too_low(min).into()),
            exact => exact,
        };
        self.verify(txn, &commit.read_spans, commit.read_ts, ts)?;
        // Reads are as of the commit from now on: nobody may write below it.
        for span in &commit.read_spans {
            self.note_read(span.clone().into(), ts, txn.id);
        }
        for write in &commit.writes {
            self.install(write, ts, txn.id);
        }
        self.records.insert((primary.clone(), txn.id), Fate::Committed(ts));
        self.release_all(txn.id, range);
        Ok(committed(ts))
    }

    fn load(&mut self, txn: &kv::TxnMeta, load: &kv::Load) -> Evaluated {
        let done = Ok(Response::Done(kv::Done {}));
        if load.fill {
            for row in &load.rows {
                if self.newest_version(&row.key).is_none() {
                    let (key, value) = (row.key.clone(), row.value.clone());
                    let write = kv::Write { key, value, ..kv::Write::default() };
                    self.install(&write, load.ts, txn.id);
                }
            }
            return done;
        }
        if self.newest_version(&load.rows[0].key).is_some_and(|(_, v)| v.by == txn.id) {
            return done;
        }
        if let Some(taken) = load.rows.iter().find(|row| self.newest_version(&row.key).is_some()) {
            let key = taken.key.clone();
            return Err(RangeError::KeyExists(kv::KeyExists { key }).into());
        }
        for row in &load.rows {
            let (key, value) = (row.key.clone(), row.value.clone());
            self.install(&kv::Write { key, value, ..kv::Write::default() }, load.ts, txn.id);
        }
        done
    }

    fn prewrite(&mut self, range: u64, txn: &kv::TxnMeta, prewrite: &kv::Prewrite) -> Evaluated {
        for write in &prewrite.writes {
            if let Some(fate) = self.records.get(&(write.key.clone(), txn.id)) {
                return match fate {
                    Fate::Committed(ts) => Ok(prewritten(*ts)),
                    Fate::RolledBack => Err(gone(txn.id).into()),
                };
            }
            if let Some((ts, version)) = self.newest_version(&write.key)
                && version.by == txn.id
            {
                return Ok(prewritten(ts));
            }
        }
        let read_ts = prewrite.read_ts;
        self.claim_writes(range, txn, &prewrite.writes, &prewrite.must_not_exist, read_ts)?;
        let min = prewrite.writes.iter().map(|w| self.min_commit_ts(&w.key, txn, read_ts)).max();
        let min = min.expect("something is written");
        let ts = match prewrite.exact_ts {
            0 => min,
            exact if exact < min => return Err(too_low(min).into()),
            exact => exact,
        };
        for write in &prewrite.writes {
            let placed = Placed {
                owner: *txn,
                write: write.clone(),
                primary: prewrite.primary.clone(),
                secondaries: prewrite.secondaries.clone(),
                parallel: prewrite.parallel,
                min_commit_ts: ts,
                expires: Instant::now() + Duration::from_millis(prewrite.ttl_ms),
            };
            self.placed.insert(write.key.clone(), placed);
        }
        Ok(prewritten(ts))
    }

    fn system_command(&mut self, command: &meta::SystemCommand) -> Response {
        use meta::system_command::Command;
        use meta::system_result::Result as Outcome;
        let result = match command.command.as_ref().expect("a command") {
            Command::AllocateIds(ids) => {
                let next = self.ids.entry(ids.kind).or_insert(100);
                let first = *next;
                *next += ids.count;
                Outcome::FirstId(first)
            }
            Command::PutSetting(put) => {
                self.settings.insert(put.name.clone(), put.value.clone());
                Outcome::Done(true)
            }
            Command::InitCluster(_)
            | Command::RegisterNode(_)
            | Command::PublishRanges(_)
            | Command::RaiseOracleBound(_) => Outcome::Done(true),
        };
        Response::SystemResult(meta::SystemResult { result: Some(result) })
    }

    fn system_query(&self, query: &meta::SystemQuery) -> Response {
        use meta::system_query::Query;
        let mut answer = meta::SystemAnswer::default();
        let descriptors = self.ranges.values().map(|r| r.descriptor.clone());
        match query.query.as_ref().expect("a query") {
            Query::LookupKey(key) => {
                let wanted = |d: &meta::RangeDescriptor| d.end.is_empty() || *key < d.end;
                answer.ranges = descriptors.filter(wanted).take(3).collect();
            }
            Query::AllRanges(_) => answer.ranges = descriptors.collect(),
            Query::AllNodes(_) => {}
            Query::Setting(name) => {
                answer.setting = self.settings.get(name).cloned().unwrap_or_default();
            }
            Query::AllSettings(_) => {
                let all = self.settings.iter();
                answer.settings = all
                    .map(|(name, value)| meta::PutSetting {
                        name: name.clone(),
                        value: value.clone(),
                    })
                    .collect();
            }
            Query::Cluster(_) => answer.cluster_id = "fake".into(),
        }
        Response::SystemAnswer(answer)
    }

    fn range_status(&self, id: u64) -> Response {
        let range = self.ranges.values().find(|r| r.descriptor.range_id == id).expect("checked");
        Response::RangeStatus(kv::RangeStatusResult {
            descriptor: Some(range.descriptor.clone()),
            leader: range.leader.0,
            term: 1,
            applied_index: 0,
            bytes: 0,
        })
    }
}

fn spans_of(request: &Request) -> Vec<KeyRange> {
    let points = |keys: &[Bytes]| keys.iter().map(|k| KeyRange::point(Key(k.clone()))).collect();
    let writes = |writes: &[kv::Write]| {
        writes.iter().map(|w| KeyRange::point(Key(w.key.clone()))).collect::<Vec<_>>()
    };
    let spans = |spans: &[kv::Span]| spans.iter().map(|s| s.clone().into()).collect::<Vec<_>>();
    match request {
        Request::Get(r) => points(&r.keys),
        Request::Scan(r) => r.span.iter().map(|s| s.clone().into()).collect(),
        Request::LockKeys(r) => points(&r.keys),
        Request::LockSpans(r) => spans(&r.spans),
        Request::CommitOnePhase(r) => {
            let around = spans(r.locked_span.as_slice());
            [writes(&r.writes), spans(&r.read_spans), points(&r.locked), around].concat()
        }
        Request::Prewrite(r) => writes(&r.writes),
        Request::Resolve(r) => points(&r.keys),
        Request::EndTxn(r) => points(std::slice::from_ref(&r.primary)),
        Request::QueryTxn(r) => points(std::slice::from_ref(&r.primary)),
        Request::CheckKeys(r) => points(&r.keys),
        Request::Refresh(r) => spans(&r.spans),
        Request::ReleaseLocks(r) => [points(&r.keys), spans(&r.spans)].concat(),
        Request::Load(r) => {
            r.rows.iter().map(|row| KeyRange::point(Key(row.key.clone()))).collect()
        }
        Request::Clear(r) => r.span.iter().map(|s| s.clone().into()).collect(),
        Request::Heartbeat(r) => points(std::slice::from_ref(&r.primary)),
        Request::Split(r) => points(&r.keys),
        Request::ChangeReplicas(_)
        | Request::TransferLeader(_)
        | Request::Oracle(_)
        | Request::SystemCommand(_)
        | Request::SystemQuery(_)
        | Request::RangeStatus(_)
        | Request::Inspect(_)
        | Request::Collect(_) => vec![],
    }
}

pub(super) fn wait_for(lock: &Placed) -> Verdict {
    Verdict::Wait {
        key: lock.write.key.clone(),
        holder: lock.owner,
        held: kv::Strength::Update,
        queued: false,
        replicated: Some(Box::new(lock.clone())),
    }
}

pub(super) fn optional(value: Option<Bytes>) -> kv::OptionalValue {
    kv::OptionalValue { present: value.is_some(), value: value.unwrap_or_default() }
}

fn committed(commit_ts: u64) -> Response {
    Response::Committed(kv::Committed { commit_ts })
}

fn prewritten(min_commit_ts: u64) -> Response {
    Response::Prewritten(kv::Prewritten { min_commit_ts })
}

pub(super) fn gone(txn_id: u64) -> RangeError {
    RangeError::TxnGone(kv::TxnGone { txn_id, reason: "rolled back".into() })
}

fn too_low(min_ts: u64) -> RangeError {
    RangeError::TimestampTooLow(kv::TimestampTooLow { min_ts })
}

fn changed_error(key: &Bytes, version_ts: u64, by_txn: u64) -> RangeError {
    RangeError::RefreshFailed(kv::RefreshFailed { key: key.clone(), version_ts, by_txn })
}
