use std::future::Future;
use std::marker::PhantomData;

use domain::{Error, Report};
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{Cause, Stop, TaskCx};

/// What serves a task type. Written as ordinary async code; see the crate's page.
pub trait Handler: Send + Sync + 'static {
    /// The types that it serves: `["deploy"]`.
    const TASK_TYPES: &'static [&'static str];
    /// Raised when the order or meaning of its steps changes.
    const VERSION: i32 = 1;
    /// The versions whose started tasks this code can go on with.
    const RESUMES: &'static [i32] = &[1];

    type Params: DeserializeOwned + JsonSchema + Send + Sync;

    /// Reads the payload. The default takes it as JSON of [`Handler::Params`] and names the field that does not
    /// fit; a handler with an instruction grammar reads that here too.
    fn parse(&self, payload: &Value) -> Result<Self::Params, Error> {
        crate::from_payload(payload)
    }

    fn run(&self, cx: &TaskCx, params: &Self::Params) -> impl Future<Output = Result<Report, Stop>> + Send;

    /// After a failure, a cancel or a deadline: undo, in a journal scope of its own, and say what is now so.
    fn unwind(
        &self,
        cx: &TaskCx,
        params: &Self::Params,
        cause: &Cause,
    ) -> impl Future<Output = Result<Report, Stop>> + Send;
}

/// A handler without its types, so that a registry can hold many.
pub struct AnyHandler {
    task_types: &'static [&'static str],
    version: i32,
    resumes: &'static [i32],
    inner: Box<dyn Erased>,
}

impl AnyHandler {
    pub fn new<H: Handler>(handler: H) -> Self {
        Self {
            task_types: H::TASK_TYPES,
            version: H::VERSION,
            resumes: H::RESUMES,
            inner: Box::new(Typed::<H> {
                handler,
                _params: PhantomData,
            }),
        }
    }
    pub fn task_types(&self) -> &'static [&'static str] {
        self.task_types
    }
    pub fn version(&self) -> i32 {
        self.version
    }
    pub fn resumes(&self) -> &'static [i32] {
        self.resumes
    }
    pub(crate) fn check(&self, payload: &Value) -> Result<(), Error> {
        self.inner.check(payload)
    }
    pub(crate) fn run<'a>(&'a self, cx: &'a TaskCx) -> BoxFuture<'a, Result<Report, Stop>> {
        self.inner.run(cx)
    }
    pub(crate) fn unwind<'a>(
        &'a self,
        cx: &'a TaskCx,
        cause: &'a Cause,
    ) -> BoxFuture<'a, Result<Report, Stop>> {
        self.inner.unwind(cx, cause)
    }
}

trait Erased: Send + Sync {
    fn check(&self, payload: &Value) -> Result<(), Error>;
    fn run<'a>(&'a self, cx: &'a TaskCx) -> BoxFuture<'a, Result<Report, Stop>>;
    fn unwind<'a>(&'a self, cx: &'a TaskCx, cause: &'a Cause) -> BoxFuture<'a, Result<Report, Stop>>;
}

struct Typed<H: Handler> {
    handler: H,
    _params: PhantomData<fn() -> H::Params>,
}

impl<H: Handler> Erased for Typed<H> {
    fn check(&self, payload: &Value) -> Result<(), Error> {
        self.handler.parse(payload).map(|_| ())
    }

    fn run<'a>(&'a self, cx: &'a TaskCx) -> BoxFuture<'a, Result<Report, Stop>> {
        Box::pin(async move {
            let params = self.handler.parse(&cx.task().payload)?;
            self.handler.run(cx, &params).await
        })
    }

    fn unwind<'a>(&'a self, cx: &'a TaskCx, cause: &'a Cause) -> BoxFuture<'a, Result<Report, Stop>> {
        Box::pin(async move {
            let params = self.handler.parse(&cx.task().payload)?;
            self.handler.unwind(cx, &params, cause).await
        })
    }
}
