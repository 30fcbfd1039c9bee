//! What stands in for nodes: binds pods, says that they run, or that they do not, and lets them go.
//!
//! An image's name decides: one that contains `crash` ends as soon as it is started, `oom` takes too much memory, `bad`
//! cannot be pulled, `unready` runs and never becomes ready. All others are ready at once.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::Rest;

const NODE: &str = "quay";

/// Stops when it is dropped.
pub(super) struct Kubelet {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Kubelet {
    /// On a thread of its own, so that a test may block.
    pub fn start(rest: Rest) -> Self {
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("kubelet".to_owned())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .expect("a runtime");
                runtime.block_on(async move {
                    tokio::select! {
                        () = keep(&rest) => {}
                        _ = stopped => {}
                    }
                });
            })
            .expect("a thread");
        Self {
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Registers the node and follows all pods; begins anew whenever the API server goes away.
async fn keep(rest: &Rest) {
    let addresses = AtomicU32::new(1);
    loop {
        let _ = follow(rest, &addresses).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn follow(rest: &Rest, addresses: &AtomicU32) -> Result<(), reqwest::Error> {
    register(rest).await?;
    let list: Value = rest
        .request(Method::GET, "/api/v1/pods")
        .send()
        .await?
        .error_for_status()?
        .json()
        .await?;
    for pod in list["items"].as_array().into_iter().flatten() {
        tend(rest, pod, addresses).await?;
    }
    let version = text(&list["metadata"], "resourceVersion");
    let watch = format!("/api/v1/pods?watch=1&resourceVersion={version}");
    let mut chunks = rest
        .request(Method::GET, &watch)
        .send()
        .await?
        .error_for_status()?
        .bytes_stream();
    let mut read = Vec::new();
    while let Some(chunk) = chunks.next().await {
        read.extend_from_slice(&chunk?);
        while let Some(end) = read.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = read.drain(..=end).collect();
            let event: Value = serde_json::from_slice(&line).unwrap_or_default();
            match text(&event, "type") {
                "ADDED" | "MODIFIED" => tend(rest, &event["object"], addresses).await?,
                "ERROR" => return Ok(()),
                _ => {}
            }
        }
    }
    Ok(())
}

async fn register(rest: &Rest) -> Result<(), reqwest::Error> {
    let node = json!({ "metadata": { "name": NODE } });
    let create = rest.request(Method::POST, "/api/v1/nodes").json(&node);
    create.send().await?;
    let ready = json!({ "status": { "conditions": [condition("Ready", true)] } });
    patch(rest, &format!("/api/v1/nodes/{NODE}/status"), &ready).await
}

async fn tend(rest: &Rest, pod: &Value, addresses: &AtomicU32) -> Result<(), reqwest::Error> {
    let (meta, namespace) = (&pod["metadata"], text(&pod["metadata"], "namespace"));
    let path = format!("/api/v1/namespaces/{namespace}/pods/{}", text(meta, "name"));
    if !meta["deletionTimestamp"].is_null() {
        let now = json!({ "gracePeriodSeconds": 0, "preconditions": { "uid": meta["uid"] } });
        rest.request(Method::DELETE, &path).json(&now).send().await?;
    } else if pod["spec"]["nodeName"].is_null() {
        let binding = json!({
            "metadata": { "name": meta["name"] },
            "target": { "apiVersion": "v1", "kind": "Node", "name": NODE },
        });
        rest.request(Method::POST, &format!("{path}/binding"))
            .json(&binding)
            .send()
            .await?;
    } else if pod["status"]["containerStatuses"].is_null() {
        let number = addresses.fetch_add(1, Ordering::Relaxed);
        let address = format!("10.9.{}.{}", number / 250, number % 250 + 1);
        patch(rest, &format!("{path}/status"), &status(pod, &address)).await?;
        complain(rest, pod).await?;
    }
    Ok(())
}

fn status(pod: &Value, address: &str) -> Value {
    let containers = pod["spec"]["containers"].as_array().cloned().unwrap_or_default();
    let fates: Vec<_> = containers.iter().map(container).collect();
    let is_ready = fates.iter().all(|fate| fate["ready"] == true);
    let pulled = fates
        .iter()
        .all(|fate| fate["state"]["waiting"]["reason"] != "ImagePullBackOff");
    json!({ "status": {
        "phase": if pulled { "Running" } else { "Pending" },
        "podIP": address,
        "podIPs": [{ "ip": address }],
        "startTime": now(),
        "conditions": [
            condition("PodScheduled", true),
            condition("Initialized", true),
            condition("ContainersReady", is_ready),
            condition("Ready", is_ready),
        ],
        "containerStatuses": fates,
    } })
}

fn container(container: &Value) -> Value {
    let image = text(container, "image");
    let running = json!({ "running": { "startedAt": now() } });
    let again = |reason: &str, code: u32| {
        let waiting = json!({
            "reason": "CrashLoopBackOff",
            "message": "back-off 40s restarting failed container",
        });
        let ended = json!({ "terminated": { "exitCode": code, "reason": reason, "finishedAt": now() } });
        (json!({ "waiting": waiting }), ended, 3, false)
    };
    let (state, last, restarts, ready) = if image.contains("crash") {
        again("Error", 1)
    } else if image.contains("oom") {
        again("OOMKilled", 137)
    } else if image.contains("bad") {
        let message = format!("Back-off pulling image \"{image}\"");
        let waiting = json!({ "waiting": { "reason": "ImagePullBackOff", "message": message } });
        (waiting, json!({}), 0, false)
    } else {
        (running, json!({}), 0, !image.contains("unready"))
    };
    json!({
        "name": container["name"],
        "image": image,
        "imageID": "",
        "ready": ready,
        "started": ready,
        "restartCount": restarts,
        "state": state,
        "lastState": last,
    })
}

/// As a kubelet does when it starts something again and again.
async fn complain(rest: &Rest, pod: &Value) -> Result<(), reqwest::Error> {
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    let mut images = containers.map(|container| text(container, "image"));
    if !images.any(|image| image.contains("crash") || image.contains("oom")) {
        return Ok(());
    }
    let (name, namespace) = (
        text(&pod["metadata"], "name"),
        text(&pod["metadata"], "namespace"),
    );
    let event = json!({
        "metadata": { "generateName": format!("{name}."), "namespace": namespace },
        "involvedObject": {
            "apiVersion": "v1", "kind": "Pod", "name": name, "namespace": namespace, "uid": pod["metadata"]["uid"],
        },
        "type": "Warning",
        "reason": "BackOff",
        "message": "Back-off restarting failed container",
        "source": { "component": "kubelet", "host": NODE },
        "firstTimestamp": now(),
        "lastTimestamp": now(),
        "count": 3,
    });
    let path = format!("/api/v1/namespaces/{namespace}/events");
    rest.request(Method::POST, &path).json(&event).send().await?;
    Ok(())
}

async fn patch(rest: &Rest, path: &str, change: &Value) -> Result<(), reqwest::Error> {
    rest.request(Method::PATCH, path)
        .header("content-type", "application/merge-patch+json")
        .body(change.to_string())
        .send()
        .await?;
    Ok(())
}

fn condition(kind: &str, is: bool) -> Value {
    let status = if is { "True" } else { "False" };
    json!({ "type": kind, "status": status, "lastTransitionTime": now() })
}

fn now() -> String {
    chrono::Utc::now().format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}
