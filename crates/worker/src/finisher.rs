use domain::{Error, Result};
use store::{Settle, Settled, Store};
use tokio::sync::{mpsc, oneshot};

/// The most results that one transaction writes.
const BATCH: usize = 500;

type Waiting = (Settle, oneshot::Sender<Result<Settled>>);

/// Gathers the results that are ready while the last batch commits, and writes them in one transaction. A
/// result is acknowledged after its commit, so batching weakens nothing.
#[derive(Clone)]
pub(crate) struct Finisher(mpsc::Sender<Waiting>);

impl Finisher {
    pub(crate) fn start(store: Store) -> Self {
        let (sender, mut receiver) = mpsc::channel::<Waiting>(2 * BATCH);
        tokio::spawn(async move {
            let mut batch = Vec::with_capacity(BATCH);
            while receiver.recv_many(&mut batch, BATCH).await > 0 {
                let (settles, waiting): (Vec<Settle>, Vec<_>) = batch.drain(..).unzip();
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
        });
        Self(sender)
    }

    pub(crate) async fn finish(&self, settle: Settle) -> Result<Settled> {
        let (sender, receiver) = oneshot::channel();
        let gone = || Error::internal("the writer of results is gone");
        self.0.send((settle, sender)).await.map_err(|_| gone())?;
        receiver.await.map_err(|_| gone())?
    }
}
