use std::any::Any;
use std::cell::RefCell;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Once;

use domain::Error;
use futures_util::FutureExt;

thread_local! {
    static LOCATION: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs a future; a panic in it becomes an error that names who panicked, the message and the place.
///
/// Only for work whose state nobody looks at again after a panic: the future is dropped then.
pub async fn catch<T>(who: &str, future: impl Future<Output = T>) -> Result<T, Error> {
    remember_locations();
    AssertUnwindSafe(future).catch_unwind().await.map_err(|payload| {
        let place = LOCATION
            .with(|l| l.borrow_mut().take())
            .unwrap_or_else(|| "an unknown place".to_owned());
        Error::internal(format!(
            "{who} panicked at {place}: {}",
            message(payload.as_ref())
        ))
        .next("This is a bug in the worker; report it with this message")
    })
}

fn message(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

/// `catch_unwind` hands over the message but not the place: a hook in front of the present one keeps it.
fn remember_locations() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            LOCATION.with(|l| *l.borrow_mut() = info.location().map(ToString::to_string));
            previous(info);
        }));
    });
}
