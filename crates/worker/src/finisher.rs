use std::sync::Arc;

use domain::{Error, Result};
use store::{Settle, Settled, Store};
use tokio::sync::{Mutex, mpsc, oneshot};

/// The most results that one transaction writes.
const BATCH: usize = 500;
/// How many transactions are under way at once: while one waits for the disk, another one writes.
const LANES: usize = 2;

type Waiting = (Arc<Settle>, oneshot::Sender<Result<Settled>>);

/// Gathers the results that are ready while the last batch commits, and writes them in one transaction. A
/// result is acknowledged after its commit, so batching weakens nothing.
#[derive(Clone)]
pub(crate) struct Finisher(mpsc::Sender<Waiting>);

async fn write(store: &Store, batch: &mut Vec<Waiting>) {
    let (settles, waiting): (Vec<Arc<Settle>>, Vec<_>) = batch.drain(..).unzip();
    match store.finish(&settles).await {
        Ok(settled) => {
            for (sender, settled) in waiting.into_iter().zip(settled) {
                // Whoever asked may have lost its lease and be gone.
                let _ = sender.send(Ok(settled));
            }
        }
        Err(error) => {
            for sender in waiting {
                let _ = sender.send(Err(error.clone()));
            }
        }
    }
}

/// What is ready, and what the tasks bring that can go on at once: one that ends seldom ends alone. False when no more
/// will come.
async fn gather(receiver: &Mutex<mpsc::Receiver<Waiting>>, batch: &mut Vec<Waiting>) -> bool {
    let mut receiver = receiver.lock().await;
    let mut before = 0;
    receiver.recv_many(batch, BATCH).await;
    while batch.len() > before && batch.len() < BATCH {
        before = batch.len();
        tokio::task::yield_now().await;
        while batch.len() < BATCH
            && let Ok(next) = receiver.try_recv()
        {
            batch.push(next);
        }
    }
    !batch.is_empty()
}

impl Finisher {
    pub(crate) fn start(store: Store) -> Self {
        let (sender, receiver) = mpsc::channel::<Waiting>(2 * LANES * BATCH);
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..LANES {
            let (store, receiver) = (store.clone(), receiver.clone());
            tokio::spawn(async move {
                let mut batch = Vec::with_capacity(BATCH);
                while gather(&receiver, &mut batch).await {
                    write(&store, &mut batch).await;
                }
            });
        }
        Self(sender)
    }

    pub(crate) async fn finish(&self, settle: Arc<Settle>) -> Result<Settled> {
        let (sender, receiver) = oneshot::channel();
        let gone = || Error::internal("the writer of results is gone");
        self.0.send((settle, sender)).await.map_err(|_| gone())?;
        receiver.await.map_err(|_| gone())?
    }
}
