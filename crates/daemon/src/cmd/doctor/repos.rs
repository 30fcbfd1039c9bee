//! The repositories: on a forge that has a token, with settings that handlers can read.

use adapter_forge::Forges;
use deploy::{Environment, Environments};
use domain::{ErrorKind, Repo, RepoRef, RepoStatus, nearest};
use secrecy::ExposeSecret;
use store::Store;

use super::Findings;
use crate::config::{Secret, Settings};
use crate::wiring;

pub async fn look(settings: &Settings, store: &Store, found: &mut Findings) {
    let repos = match store.repos().await {
        Ok(repos) => repos,
        Err(error) => {
            found.error("repos", &error, "May this user read repos?");
            return;
        }
    };
    let active: Vec<&Repo> = repos
        .iter()
        .filter(|repo| repo.status == RepoStatus::Active)
        .collect();
    if repos.is_empty() {
        found.warn(
            "repos",
            "no repository is registered, so nothing on a forge can be worked on",
            "`longshore repos add --project group/name`",
        );
        return;
    }
    let forges = match Forges::new(&wiring::forge_config(settings)) {
        Ok(forges) => forges,
        Err(error) => {
            found.error(
                "repos",
                &error,
                "Correct `gitlab` and `github` in the configuration",
            );
            return;
        }
    };
    let mut faulty = 0;
    for repo in &active {
        if repo.at.provider == "local" {
            faulty += 1;
            found.warn(
                "repos",
                format!("{} ({}) {LOCAL}", repo.name, repo.id),
                LOCAL_NEXT,
            );
        } else if let Some((what, next)) = fault(settings, &forges, repo) {
            faulty += 1;
            found.fail("repos", format!("{} ({}): {what}", repo.name, repo.id), next);
        } else {
            for what in unjudged(repo) {
                let next = "Change its `settings.environments`, if it is to be judged by it";
                found.warn("repos", format!("{} ({}): {what}", repo.name, repo.id), next);
            }
        }
    }
    if faulty < active.len() || active.is_empty() {
        let resting = repos.len() - active.len();
        let rest = match resting {
            0 => String::new(),
            resting => format!(", {resting} paused or archived"),
        };
        found.ok(
            "repos",
            format!("{} can be worked on{rest}", active.len() - faulty),
        );
    }
}

const LOCAL: &str = "has the provider `local`, a folder of tickets that `longshore dev` alone works on";
const LOCAL_NEXT: &str =
    "Nothing, if this is the database of a `longshore dev`; else set its provider to `gitlab` or `github`";

/// Metrics that its environments declare and their strategies never look at.
fn unjudged(repo: &Repo) -> Vec<String> {
    let all = deploy::environments(&repo.settings, &repo.name).unwrap_or_default();
    let told = |(name, environment): (&String, &Environment)| {
        let found = environment.unjudged().into_iter();
        found.map(|what| format!("in {name}, {what}")).collect::<Vec<_>>()
    };
    all.iter().flat_map(told).collect()
}

/// What keeps a repository from being worked on, and what to do.
fn fault(settings: &Settings, forges: &Forges, repo: &Repo) -> Option<(String, String)> {
    let add = "Correct its row in the table `repos`, or add it anew with `longshore repos add` and a name of its own";
    if repo.at.project.is_empty() {
        return Some(("it names no project".to_owned(), add.to_owned()));
    }
    if !(repo.settings.is_object() || repo.settings.is_null()) {
        return Some(("its settings are not a JSON object".to_owned(), add.to_owned()));
    }
    if let Err(error) = settings.fix_build.with_settings(&repo.settings) {
        let why = error
            .causes
            .first()
            .map_or_else(|| error.what.clone(), |cause| format!("{}: {cause}", error.what));
        return Some((why, "docs/fix-build.md lists the keys of `fix_build`".to_owned()));
    }
    match deploy::environments(&repo.settings, &repo.name) {
        Err(error) => {
            let why = [vec![error.what], error.causes].concat().join(": ");
            return Some((why, error.next.unwrap_or_else(|| add.to_owned())));
        }
        Ok(all) => {
            if let Some(unmet) = unmet(settings, &all) {
                return Some(unmet);
            }
        }
    }
    let (key, name, token) = match repo.at.provider.as_str() {
        "github" => ("github", "GITHUB_TOKEN", &settings.github.token),
        "gitlab" | "" => ("gitlab", "GITLAB_TOKEN", &settings.gitlab.token),
        // The error of the adapter names those that it knows.
        _ => {
            let error = forges.check(&repo.at).err()?;
            return Some((error.what, error.next.unwrap_or_else(|| add.to_owned())));
        }
    };
    let is_blank = |token: &Secret| token.secret().expose_secret().trim().is_empty();
    if token.as_ref().is_none_or(is_blank) {
        return Some((
            format!("it is on {key}, for which there is no token"),
            format!("Set {name}"),
        ));
    }
    let error = forges.check(&repo.at).err()?;
    // The one instance of its kind can be used, so that it is not the one that the repository is on.
    let of_its_kind = RepoRef {
        url: String::new(),
        ..repo.at.clone()
    };
    let next = match error.next {
        Some(next) if error.kind != ErrorKind::Denied || forges.check(&of_its_kind).is_err() => next,
        _ => format!(
            "longshore works with one instance of each kind: set `{key}.url` to this one with its token, or leave the repository to another longshore"
        ),
    };
    Some((error.what, next))
}

/// What the environments name and the configuration does not have.
fn unmet(settings: &Settings, all: &Environments) -> Option<(String, String)> {
    let known = |kind: &str, tables: &[&str], name: &str, names: Vec<&String>| {
        let next = match nearest(name, names.iter().map(|name| name.as_str())) {
            Some(near) => format!("Did you mean {near:?}?"),
            None => {
                let tables = tables
                    .iter()
                    .map(|table| format!("[{table}]"))
                    .collect::<Vec<_>>();
                let tables = tables.join(" or ");
                format!("Describe it under {tables}, or name another in the repository's settings")
            }
        };
        let what = format!("names the {kind} {name:?}, which the configuration does not have");
        (!names.iter().any(|known| *known == name)).then_some((what, next))
    };
    all.iter().find_map(|(name, of)| {
        let measured = !of.analysis.metrics.is_empty();
        let missing = [
            of.target.as_ref().and_then(|target| {
                let names = settings.hosts.keys().chain(settings.clusters.keys());
                known("target", &["hosts", "clusters"], target, names.collect())
            }),
            measured
                .then(|| {
                    let stores = settings.metrics.keys().collect();
                    known("store of measurements", &["metrics"], &of.analysis.source, stores)
                })
                .flatten(),
            of.flag.as_ref().and_then(|flag| {
                known(
                    "store of flags",
                    &["flags"],
                    &flag.store,
                    settings.flags.keys().collect(),
                )
            }),
        ];
        let (what, next) = missing.into_iter().flatten().next()?;
        Some((format!("its environment {name:?} {what}"), next))
    })
}

#[cfg(test)]
mod tests {
    use domain::Autonomy;
    use serde_json::{Value, json};

    use super::*;

    fn repo(settings: Value) -> Repo {
        Repo {
            id: "r1".to_owned(),
            name: "checkout".to_owned(),
            slug: None,
            at: RepoRef {
                provider: "gitlab".to_owned(),
                url: String::new(),
                project: "shop/checkout".to_owned(),
            },
            default_branch: "main".to_owned(),
            autonomy_mode: Autonomy::Guided,
            settings,
            status: RepoStatus::Active,
        }
    }

    #[test]
    fn a_repository_needs_a_token_and_settings_that_can_be_read() {
        let mut settings = Settings::default();
        let what = |settings: &Settings, repo: &Repo| {
            let forges = Forges::new(&wiring::forge_config(settings)).unwrap();
            fault(settings, &forges, repo).map(|(what, _)| what)
        };
        assert!(what(&settings, &repo(json!({}))).unwrap().contains("no token"));
        settings.gitlab.token = Some("glpat-0123456789".into());
        assert_eq!(what(&settings, &repo(json!({}))), None);
        assert!(
            what(&settings, &repo(json!([])))
                .unwrap()
                .contains("not a JSON object")
        );
        let wrong = repo(json!({"fix_build": {"retries": 1}}));
        assert!(what(&settings, &wrong).unwrap().contains("fix_build"));
        let at = |url: &str| {
            let mut repo = repo(json!({}));
            repo.at.url = url.to_owned();
            repo
        };
        assert_eq!(what(&settings, &at("https://gitlab.com/shop/checkout")), None);
        let elsewhere = at("https://git.example.com/shop/checkout");
        assert!(what(&settings, &elsewhere).unwrap().contains("git.example.com"));
        settings.gitlab.url = Some("https://git.example.com".parse().unwrap());
        assert_eq!(what(&settings, &elsewhere), None);
        assert!(
            what(&settings, &at("https://gitlab.com/shop/checkout"))
                .unwrap()
                .contains("gitlab.com")
        );
    }

    #[test]
    fn a_flag_alone_needs_its_store_and_no_target() {
        let mut settings = Settings::default();
        let all = json!({"environments": {"production": {"flag": {"store": "edge", "key": "new-checkout"}}}});
        let all = deploy::environments(&all, "checkout").unwrap();
        let (what, _) = unmet(&settings, &all).unwrap();
        assert!(what.contains("names the store of flags \"edge\""), "{what}");
        let store = json!({"file": "/etc/flagd/flags.json"});
        settings.flags = serde_json::from_value(json!({ "edge": store })).unwrap();
        assert_eq!(unmet(&settings, &all), None);
    }

    #[test]
    fn a_metric_that_the_strategy_never_looks_at_is_told() {
        let metrics = json!([{"name": "error_rate", "query": "e", "max": 0.02}]);
        let with = |strategy: &str| {
            let production = json!({"target": "web", "workload": "shop", "strategy": strategy, "analysis": {"metrics": metrics}});
            unjudged(&repo(json!({"environments": {"production": production}})))
        };
        assert_eq!(with("canary"), [""; 0]);
        assert_eq!(
            with("rolling"),
            [
                "in production, the strategy rolling never judges error_rate: set `watch`, or let `strategy` be canary"
            ]
        );
    }

    #[test]
    fn what_to_do_fits_what_is_wrong() {
        let mut settings = Settings::default();
        settings.gitlab.token = Some("glpat-0123456789".into());
        settings.github.token = Some("  ".into());
        let next = |provider: &str, url: &str| {
            let mut repo = repo(json!({}));
            (repo.at.provider, repo.at.url) = (provider.to_owned(), url.to_owned());
            let forges = Forges::new(&wiring::forge_config(&settings)).unwrap();
            fault(&settings, &forges, &repo).map(|(_, next)| next)
        };
        assert_eq!(next("", ""), None);
        for (provider, url, says) in [
            (
                "gitlab",
                "https://git.example.com/shop/checkout",
                "one instance of each kind: set `gitlab.url`",
            ),
            ("gitlab", "git.example.com", "Write it like https://"),
            ("github", "", "Set GITHUB_TOKEN"),
            (
                "github",
                "https://git.example.com/shop/checkout",
                "Set GITHUB_TOKEN",
            ),
            ("bitbucket", "", "provider to `gitlab`, `github`"),
        ] {
            let told = next(provider, url).unwrap();
            assert!(told.contains(says), "{provider} {url}: {told}");
        }
    }
}
