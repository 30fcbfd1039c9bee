//! Three releases of the demo's shop: the first one, a good canary, and a bad one.

use std::collections::BTreeMap;

use adapter_forge::LocalTickets;
use domain::{Autonomy, Error, NewTask, Repo};
use serde_json::{Value, json};
use store::{NewRepo, Store};

use super::site::{NAME, Site, Visits, WORKLOAD};
use super::{follow, print, say, ticket};
use crate::cmd::demo_shop::Manners;
use crate::exit::Exit;
use crate::output::{Output, Paint};

const SLUG: &str = "demo-shop";

const ENVIRONMENT: &str = "production";

struct Release {
    iid: u64,
    title: &'static str,
    version: &'static str,
    error_every: u64,
    /// The verdict that it must come to.
    verdict: &'static str,
}

const RELEASES: [Release; 3] = [
    Release {
        iid: 21,
        title: "Release v1.0.0",
        version: "v1.0.0",
        error_every: 0,
        verdict: "succeeded",
    },
    Release {
        iid: 22,
        title: "Release v1.1.0",
        version: "v1.1.0",
        error_every: 0,
        verdict: "succeeded",
    },
    Release {
        iid: 23,
        title: "Release v1.2.0, which answers one request in twenty with an error",
        version: "v1.2.0",
        error_every: 20,
        verdict: "rolled_back",
    },
];

pub fn versions() -> impl Iterator<Item = Manners> {
    RELEASES.iter().map(|release| Manners {
        version: release.version.to_owned(),
        error_every: release.error_every,
        answers_in_ms: 2,
        spread_ms: 6,
    })
}

/// Brings out one after the other, while people visit. `No` when one did not end as it should, or a visitor was lost.
pub async fn run(store: &Store, tickets: &LocalTickets, site: &Site, out: Output) -> Result<Exit, Error> {
    let repo = repo(store).await?;
    if !out.json {
        out.text(&format!("\nThe shop is at {}\n", site.address()))?;
    }
    let mut exit = Exit::Done;
    for release in &RELEASES {
        tickets.open(&ticket(&repo, release.iid), release.title, &[])?;
        let id = store.create_task(&task(&repo, release)).await?;
        say(
            out,
            &format!("#{} {}", release.iid, release.title),
            "task created",
            &id,
        )?;
        let ended = follow(store, BTreeMap::from([(id, release.iid)]), out).await?;
        let verdict = ended
            .get(&release.iid)
            .and_then(|task| task.result.as_ref())
            .map(|result| result["verdict"] == release.verdict);
        if verdict != Some(true) {
            exit = Exit::No;
        }
        // Before the first release there is nothing to visit.
        if release.iid == RELEASES[0].iid {
            site.open();
        }
    }
    for release in &RELEASES {
        print(tickets, &repo, release.iid, out)?;
    }
    let visits = site.visits();
    tell(&visits, out)?;
    if visits.lost > 0 {
        exit = Exit::No;
    }
    Ok(exit)
}

async fn repo(store: &Store) -> Result<Repo, Error> {
    let settings = settings();
    if let Some(repo) = store.find_repo(SLUG).await? {
        store.set_repo_settings(&repo.id, &settings).await?;
        return Ok(repo);
    }
    store
        .add_repo(&NewRepo {
            id: None,
            name: "Shop (demo)".to_owned(),
            slug: Some(SLUG.to_owned()),
            provider: "gitlab".to_owned(),
            // No forge that anybody has: nothing of the demo leaves this machine.
            url: "https://demo.invalid".to_owned(),
            project: "shop/front".to_owned(),
            default_branch: "main".to_owned(),
            autonomy_mode: Autonomy::Full,
            settings,
        })
        .await
}

/// A canary as in production, only quicker: a minute here is an hour there.
fn settings() -> Value {
    let of_side = |codes: &str| {
        format!(
            "sum(rate(haproxy_server_http_responses_total{{proxy=\"{WORKLOAD}\", server=~\"${{side}}.*\"{codes}}}[${{interval}}]))"
        )
    };
    let (bad, all) = (of_side(", code=\"5xx\""), of_side(""));
    // Only the shop itself knows how its latencies are spread.
    let buckets = "sum by (le) (rate(shop_request_seconds_bucket{version=\"${version}\"}[${interval}]))";
    json!({ "environments": { ENVIRONMENT: {
        "target": NAME,
        "workload": WORKLOAD,
        "router": WORKLOAD,
        "replicas": 2,
        "strategy": "canary",
        "canary": { "steps": [{ "set_weight": 20 }, { "analyse": {} }, { "set_weight": 50 }, { "analyse": {} }] },
        "analysis": {
            "source": NAME,
            "scrape_interval": "1s",
            "interval": "2s",
            "at_least": "15s",
            "min_points": 6,
            "metrics": [
                {
                    "name": "error_rate",
                    "query": format!("{bad} / {all}"),
                    "requests": format!("{all} * 2"),
                    "max": 0.02,
                },
                {
                    "name": "latency_p95",
                    "query": format!("histogram_quantile(0.95, {buckets})"),
                    // A few milliseconds on a machine that does other things too: a comparison would be of those.
                    "check": { "threshold": { "success": { "max": 0.5 } } },
                },
            ],
        },
        "freeze": { "windows": [] },
    }}})
}

fn task(repo: &Repo, release: &Release) -> NewTask {
    let payload = json!({
        "repo_id": repo.id,
        "issue_iid": release.iid,
        "instruction": format!("deploy {} to {ENVIRONMENT}", release.version),
    });
    let mut task = NewTask::new("deploy", payload)
        .assigned_to("devops")
        .repo(Some(repo.id.clone()));
    task.created_by = Some("demo".to_owned());
    task
}

fn tell(visits: &Visits, out: Output) -> Result<(), Error> {
    let answers: Vec<(u64, u64)> = visits.answers.values().copied().collect();
    let all = visits.lost + answers.iter().map(|(well, bad)| well + bad).sum::<u64>();
    if out.json {
        return out.value(&json!({ "visits": all, "lost": visits.lost, "answers": visits.answers }));
    }
    out.text(&format!(
        "\n{}",
        out.paint(Paint::Bold, &format!("{all} requests were made meanwhile"))
    ))?;
    for (version, (well, bad)) in &visits.answers {
        out.text(&format!(
            "  {version}   {well} answered well, {bad} with an error"
        ))?;
    }
    out.text(&format!("  lost     {} by changes of the traffic", visits.lost))
}
