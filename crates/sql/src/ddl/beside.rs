//! Work on the store's runtime, beside who waits for it.

use std::pin::pin;

use futures::channel::oneshot;
use futures::future::{Either, select};
use kv::{Db, KvError};

/// What such work comes to.
pub(super) type Awaited<T> = oneshot::Receiver<Result<T, KvError>>;

/// Begins `work`, which ends when nobody waits for it any more.
pub(super) fn begin<T: Send + 'static>(
    db: &Db,
    work: impl Future<Output = Result<T, KvError>> + Send + 'static,
) -> Awaited<T> {
    let (mut done, result) = oneshot::channel();
    db.spawn(async move {
        if let Either::Left((result, _)) = select(pin!(work), done.cancellation()).await {
            drop(done.send(result));
        }
    });
    result
}

/// What it came to.
pub(super) fn end<T>(result: Result<Result<T, KvError>, oneshot::Canceled>) -> Result<T, KvError> {
    result.unwrap_or_else(|_| Err(KvError::Invalid("work on a table has ended".to_owned())))
}
