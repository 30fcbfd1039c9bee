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

impl Finisher {
    pub(crate) fn start(store: Store) -> Self {
        let (sender, receiver) = mpsc::channel::<Waiting>(2 * LANES * BATCH);
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..LANES {
            let (store, receiver) = (store.clone(), receiver.clone());
            tokio::spawn(async move {
                let mut batch = Vec::with_capacity(BATCH);
                while receiver.lock().await.recv_many(&mut batch, BATCH).await > 0 {
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
