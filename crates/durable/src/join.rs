use std::future::Future;

use crate::Stop;

/// Runs branches side by side and waits for all of them: none is dropped in the middle of a step because
/// another had to stop. When several stop, the weightiest reason counts, and parks are joined.
pub async fn join_all<T, F>(branches: impl IntoIterator<Item = F>) -> Result<Vec<T>, Stop>
where
    F: Future<Output = Result<T, Stop>>,
{
    let mut values = Vec::new();
    let mut stopped: Option<Stop> = None;
    for result in futures_util::future::join_all(branches).await {
        match result {
            Ok(value) => values.push(value),
            Err(stop) => {
                stopped = Some(match stopped {
                    None => stop,
                    Some(earlier) => weightier(earlier, stop),
                });
            }
        }
    }
    stopped.map_or(Ok(values), Err)
}

fn weightier(a: Stop, b: Stop) -> Stop {
    fn weight(stop: &Stop) -> u8 {
        match stop {
            Stop::LeaseLost => 5,
            Stop::Cancelled => 4,
            Stop::Fail(_) => 3,
            Stop::Hold(_) => 2,
            Stop::Retry(_) => 1,
            Stop::Park(_) => 0,
        }
    }
    match (a, b) {
        (Stop::Park(a), Stop::Park(b)) => Stop::Park(a.or(b)),
        (a, b) if weight(&b) > weight(&a) => b,
        (a, _) => a,
    }
}
