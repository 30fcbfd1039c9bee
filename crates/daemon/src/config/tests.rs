use std::fs;
use std::path::PathBuf;

use super::values::MASK;
use super::*;

const SHIPPED: &str = include_str!("../../../../config/longshore.toml");

fn env(pairs: &[(&str, &str)]) -> Environment {
    Environment::of(pairs.iter().map(|(name, value)| (name.into(), value.into())))
}

struct Case {
    _folder: tempfile::TempDir,
    sources: Sources,
}

fn case(text: &str, vars: &[(&str, &str)]) -> Case {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("longshore.toml");
    fs::write(&path, text).unwrap();
    Case {
        sources: Sources {
            file: Some(path),
            env: env(vars),
            flags: Vec::new(),
        },
        _folder: folder,
    }
}

fn problems(text: &str, vars: &[(&str, &str)]) -> Vec<String> {
    let case = case(text, vars);
    let folder = case
        .sources
        .file
        .as_ref()
        .unwrap()
        .parent()
        .unwrap()
        .display()
        .to_string()
        + "/";
    match load(&case.sources) {
        Ok(_) => Vec::new(),
        Err(ConfigError(problems)) => problems
            .iter()
            .map(|problem| format!("{}: {}", problem.origin, problem.what).replace(&folder, ""))
            .collect(),
    }
}

#[test]
fn flags_go_over_the_environment_and_that_over_the_file() {
    let mut case = case(
        "[worker]\nslots = 3\npoll = \"2s\"\ngrace = \"9s\"\n",
        &[("LONGSHORE_WORKER_SLOTS", "4"), ("LONGSHORE_WORKER__POLL", "3s")],
    );
    case.sources.flags.push(Flag {
        name: "--slots",
        key: "worker.slots",
        value: "5".to_owned(),
    });
    let loaded = load(&case.sources).unwrap();
    assert_eq!(loaded.settings.worker.slots, 5);
    assert_eq!(loaded.origin("worker.slots"), Origin::Flag("--slots"));
    assert_eq!(loaded.settings.worker.poll, Span::seconds(3));
    assert_eq!(loaded.settings.worker.grace, Span::seconds(9));
    assert!(matches!(
        loaded.origin("worker.grace"),
        Origin::File { line: 4, .. }
    ));
    assert_eq!(loaded.origin("worker.lease"), Origin::Default);
}

#[test]
fn the_names_that_other_tools_use_are_honoured_but_ours_win() {
    let loaded = load(
        &case(
            "",
            &[
                ("DATABASE_URL", "postgres://a@b/c"),
                ("GITLAB_URL", "https://gitlab.example.com"),
                ("GITLAB_TOKEN", "glpat-1"),
                ("GITHUB_TOKEN", "ghp-1"),
                ("LONGSHORE_DATABASE_URL", "postgres://x@y/z"),
                ("LONGSHORE_GITHUB_TOKEN", ""),
            ],
        )
        .sources,
    )
    .unwrap();
    let settings = &loaded.settings;
    assert_eq!(
        settings.database.url.as_ref().unwrap().masked(),
        "postgres://x@y/z"
    );
    assert_eq!(
        settings.gitlab.url.as_ref().unwrap().as_str(),
        "https://gitlab.example.com/"
    );
    assert_eq!(
        loaded.origin("gitlab.token"),
        Origin::Env("GITLAB_TOKEN".to_owned())
    );
    assert_eq!(
        loaded.origin("github.token"),
        Origin::Env("GITHUB_TOKEN".to_owned())
    );
}

#[test]
fn a_wrong_key_or_value_names_its_place_and_the_nearest_right_one() {
    let text = "[worker]\nslotz = 3\nlease = \"fifteen\"\n\n[wroker]\nslots = 1\n[log]\nformat = \"jsn\"\n";
    insta::assert_snapshot!(problems(text, &[]).join("\n"));
}

#[test]
fn types_are_not_bent() {
    let text = "[worker]\nslots = true\nagents = \"devops\"\nmax_attempts = 2.5\n[database]\nconnections = -1\nlisten = \"maybe\"\n[gitlab]\ntoken = 12345678\n";
    insta::assert_snapshot!(problems(text, &[]).join("\n"));
}

#[test]
fn a_wrong_variable_names_the_nearest_one() {
    insta::assert_snapshot!(
        problems(
            "",
            &[("LONGSHORE_WORKER_SLOT", "3"), ("LONGSHORE_WORKER_LEASE", "x")]
        )
        .join("\n")
    );
}

#[test]
fn broken_toml_and_contradictions_are_told_together() {
    insta::assert_snapshot!(problems("[worker]\nslots = = 3\n", &[]).join("\n"));
    let text = "[api]\nbind = \"0.0.0.0:80\"\n[worker]\nlease = \"10ms\"\nslots = 0\nagents = []\n[gitlab]\nurl = \"ftp://x\"\n";
    insta::assert_snapshot!(problems(text, &[]).join("\n"));
}

#[test]
fn only_a_variable_of_ours_must_be_text() {
    use std::os::unix::ffi::OsStringExt;
    let wrong = || std::ffi::OsString::from_vec(b"caf\xe9".to_vec());
    let mut sources = Sources::default();
    for foreign in ["LESSOPEN", "LONGSHORE_TEST_PYTHON", "LONGSHORE_CONFIG"] {
        sources.env.unreadable.insert(foreign.to_owned());
    }
    sources.file = Some(PathBuf::from("/dev/null"));
    assert!(load(&sources).is_ok());
    sources.env =
        Environment::of(["LONGSHORE_WORKER_SLOTS", "GITLAB_TOKEN"].map(|name| (name.into(), wrong())));
    let told = load(&sources).unwrap_err().to_string();
    assert!(
        told.contains("GITLAB_TOKEN: its value is not text") && told.contains("LONGSHORE_WORKER_SLOTS: its"),
        "{told}"
    );
}

#[test]
fn who_may_call_is_said_once() {
    let any = "[api]\nbind = \"0.0.0.0:80\"\n";
    assert!(problems(any, &[]).is_empty());
    let both = problems(
        any,
        &[
            ("LONGSHORE_API_OPEN", "true"),
            ("LONGSHORE_API_REQUIRE_TOKEN", "true"),
        ],
    );
    assert_eq!(both.len(), 1, "{both:?}");
    assert_eq!(problems(any, &[("LONGSHORE_API_TOKENS", "short")]).len(), 1);
}

#[test]
fn a_table_with_free_keys_takes_them_from_both_sides() {
    let loaded = load(
        &case(
            "[worker.run_limits]\nfix_build = \"20m\"\n",
            &[("LONGSHORE_WORKER_RUN_LIMITS_DEPLOY", "3h")],
        )
        .sources,
    )
    .unwrap();
    let limits: Vec<String> = loaded
        .settings
        .worker
        .run_limits
        .iter()
        .map(|(name, limit)| format!("{name} {limit}"))
        .collect();
    assert_eq!(limits, ["deploy 3h", "fix_build 20m"]);
}

#[test]
fn a_task_type_with_a_dot_or_a_blank_is_a_key_like_any_other() {
    let text = "[worker.run_limits]\n\"ops.deploy\" = \"3h\"\n\"a b\" = \"1m\"\n\"say \\\"hi\\\".x\" = \"2m\"\n[worker.attempts]\n\"ops.deploy\" = 0\n";
    let told = problems(text, &[]);
    assert_eq!(
        told,
        [
            r#"longshore.toml:6: `worker.attempts."ops.deploy"` is 0, so nothing would ever be done; the least is 1"#
        ]
    );
    let loaded = load(&case(&text.replace("= 0", "= 2"), &[]).sources).unwrap();
    let limits = |loaded: &Loaded| format!("{:?}", loaded.settings.worker.run_limits);
    assert_eq!(
        limits(&loaded),
        r#"{"a b": 1m, "ops.deploy": 3h, "say \"hi\".x": 2m}"#.replace("\\\\", "\\")
    );
    let printed = loaded.to_toml();
    let again = load(&case(&printed, &[]).sources).unwrap_or_else(|error| panic!("{error}: {printed}"));
    assert_eq!(limits(&again), limits(&loaded), "{printed}");
}

#[test]
fn what_cannot_work_is_told_with_what_can() {
    for (text, says) in [
        ("[tickets]\nnotes_per_minute = 0", "the least is 1"),
        ("[fix_build]\nsure_enough = 7", "is 7; it is a share, from 0 to 1"),
        ("[fix_build]\nsure_enough = nan", "`fix_build.sure_enough`"),
        ("[fix_build]\njobs = 0", "is 0; it takes 1 to 1000"),
        ("[fix_build]\nbuilder = \" \"", "is blank"),
        (
            "[fix_build.labels]\nflaky_tests = \"x\"",
            "did you mean flaky_test?",
        ),
        (
            "[database]\nstatement_timeout = \"9999d\"",
            "is 9999d; the longest is 1d",
        ),
        ("[worker]\nretention = \"99999999999d\"", "the longest is 36500d"),
        ("[database]\nconnections = 4294967295", "it takes 1 to 1000"),
        ("[log]\nlevel = \"loud\"", "\"loud\", which is no level"),
        ("[log]\nlevel = \"worker=debug,dbug\"", "did you mean \"debug\"?"),
    ] {
        let told = problems(text, &[]);
        assert!(told.len() == 1 && told[0].contains(says), "{text}: {told:?}");
    }
    for fine in [
        "off",
        "WARN",
        "info,worker=debug",
        "worker[span{x=\\\"y\\\"}]=trace",
    ] {
        assert!(
            problems(&format!("[log]\nlevel = \"{fine}\""), &[]).is_empty(),
            "{fine}"
        );
    }
}

#[test]
fn a_value_that_does_not_fit_is_told_with_one_that_does() {
    for (name, value, says) in [
        (
            "GITLAB_URL",
            "gitlab.example.com",
            "write it like \"https://gitlab.example.com\"",
        ),
        ("LONGSHORE_API_BIND", "localhost:8844", "\"127.0.0.1:8844\""),
        (
            "LONGSHORE_WORKER_SLOTS",
            "5000000000",
            "takes a whole number from 0 to 4294967295, not 5000000000",
        ),
        ("LONGSHORE_WORKER_SLOTS", "-3", "from 0 to 4294967295, not -3"),
        (
            "LONGSHORE_FIX_BUILD_SURE_ENOUGH",
            "much",
            "takes a number such as 0.6; what is written there is text",
        ),
        ("DATABASE_URL", "foo", "postgres://user:<password>@host:5432/name"),
    ] {
        let told = problems("", &[(name, value)]);
        assert!(told.len() == 1 && told[0].contains(says), "{name}: {told:?}");
        assert_eq!(domain::redact(&told[0]), told[0]);
    }
}

#[test]
fn a_target_and_what_is_wrong_in_it_are_told_by_their_place() {
    let host = "[hosts.web]\nstate = \"/var/lib/x\"\n[hosts.web.haproxy]\nsocket = \"/run/h.sock\"\n[hosts.web.workloads.shop]\nversions = \"/srv/shop\"\ncommand = [\"./server\"]\nports = [8000, 8019]\nbackend = \"shop\"\n";
    let loaded = load(&case(host, &[]).sources).unwrap();
    let shop = &loaded.settings.hosts["web"].workloads["shop"];
    assert_eq!((shop.ports, shop.stop_grace), ((8000, 8019), Span::seconds(10)));
    let printed = loaded.to_toml();
    let again = load(&case(&printed, &[]).sources).unwrap_or_else(|error| panic!("{error}: {printed}"));
    assert_eq!(again.settings.hosts, loaded.settings.hosts, "{printed}");
    for (text, says) in [
        (
            host.replace("socket", "sokcet"),
            "`hosts.web.haproxy.sokcet` cannot be used: unknown field `sokcet`, expected one of `socket`, `stable`, \
             `candidate`, `timeout`; did you mean \"socket\"?",
        ),
        (
            host.replace("[hosts.web]\n", "[hosts.web]\nsupervisor = \"systemd_user\"\n"),
            "`hosts.web.supervisor` cannot be used: unknown variant `systemd_user`, expected one of `auto`, `systemd`, \
             `systemd-user`, `process`; did you mean \"systemd-user\"?",
        ),
        (
            host.replace("[8000, 8019]", "[8019, 8000]"),
            "`hosts.web` cannot be used: the workload shop cannot be kept as configured: `ports` is not a first and a last port",
        ),
        (
            host.replace("\"shop\"", "7"),
            "`hosts.web.workloads.shop.backend` takes text in quotes; what is written there is a number",
        ),
        (
            "[metrics.default]\nurl = \"http://p\"\ntimeout = \"0s\"".to_owned(),
            "`metrics.default.timeout` is 0s; write a length of time such as \"1s\"",
        ),
        (
            "[metrics.default]\nurl = \"http://p\"\nbearer_token = \" \"".to_owned(),
            "`metrics.default` holds a blank secret; leave it out where there is none",
        ),
        (
            "[metrics.default]\nurl = \"http://ada:hunter2@p\"".to_owned(),
            "`metrics.default.url` holds credentials; give `username` and `password`, or `bearer_token`, on their own",
        ),
        (
            "[metrics.default]\nurl = \"http://p\"\nusername = \"ada\"".to_owned(),
            "`metrics.default` has one of `username` and `password`; set both",
        ),
        (
            "[registries.main]\nhost = \"https://r.example/\"".to_owned(),
            "`registries.main.host` is no name of a registry; write it like \"registry.example:5000\"",
        ),
        (
            "[registries.main]\nhost = \"r.example\"\nusername = \"ada\"".to_owned(),
            "`registries.main` has one of `username` and `password`; set both",
        ),
        (
            "[registries.one]\nhost = \"r.example\"\n[registries.two]\nhost = \"r.example\"".to_owned(),
            "`registries.two.host` is the same as of `registries.one`; one login is enough",
        ),
        (
            "[flags.shop]\nproject = \"\"".to_owned(),
            "`flags.shop` names no project; write it like \"shop/checkout\"",
        ),
        (
            "[flags.shop]\nfile = \"/etc/flagd/flags.json\"".to_owned(),
            "`flags.shop` holds what is flagd's; add `provider = \"flagd\"`, or leave that out",
        ),
        (
            "[flags.shop]\nprovider = \"flagd\"\nfile = \"flags.json\"".to_owned(),
            "`flags.shop` needs the whole path of its `file`",
        ),
        (
            "[flags.shop]\nprovider = \"flagd\"\nfile = \"/f.json\"\nproject = \"shop/checkout\"".to_owned(),
            "`flags.shop` holds `url` or `project`, which are GitLab's; flagd's flags are in a `file` or a `config_map`",
        ),
        (
            "[flags.shop]\nprovider = \"flagd\"\ncluster = \"a\"".to_owned(),
            "`flags.shop` names no one place; give it a `file`, or a `cluster` and a `config_map`",
        ),
        (
            "[clusters.prod]\nin_cluster = true\n[flags.shop]\nprovider = \"flagd\"\ncluster = \"prd\"\nconfig_map = \"f\"".to_owned(),
            "`flags.shop` names the cluster \"prd\", which is not configured; did you mean \"prod\"?",
        ),
    ] {
        let told = problems(&text, &[]);
        assert!(told.len() == 1 && told[0].ends_with(says), "{text}: {told:#?}");
    }
    let store = r#"{"url": "http://p:9090", "bearer_token": "hunter2hunter2", "proxy": "http://ada:hunter2@proxy:3128"}"#;
    let loaded = load(&case("", &[("LONGSHORE_METRICS_DEFAULT", store)]).sources).unwrap();
    assert_eq!(loaded.settings.metrics["default"].url.as_str(), "http://p:9090/");
    let lines = loaded.lines();
    let url = lines
        .iter()
        .find(|line| line.key == "metrics.default.url")
        .unwrap();
    assert_eq!(url.env.as_deref(), Some("LONGSHORE_METRICS_DEFAULT"));
    assert!(!loaded.to_toml().contains("hunter2"));
}

#[test]
fn printing_masks_every_secret() {
    let text = r#"
[database]
url = "postgres://pm:hunter2@db/ops"
[api]
tokens = ["hunter2hunter2hunter2"]
[gitlab]
token = "hunter2"
webhook_secret = "hunter2"
[github]
token = "hunter2"
webhook_secret = "hunter2"
"#;
    let case = case(text, &[]);
    let loaded = load(&case.sources).unwrap();
    let shown = loaded.to_toml() + &serde_json::to_string(&loaded.lines()).unwrap() + &format!("{loaded:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(shown.contains(MASK));
}

#[test]
fn what_is_printed_reads_back_as_the_same() {
    let case = case("[worker]\nslots = 3\n[worker.run_limits]\ndeploy = \"1h\"\n", &[]);
    let printed = load(&case.sources).unwrap().to_toml();
    let again = super::tests::case(&printed, &[]);
    assert_eq!(
        format!("{:?}", load(&case.sources).unwrap().settings),
        format!("{:?}", load(&again.sources).unwrap().settings),
        "{printed}"
    );
}

#[test]
fn a_missing_file_is_an_error_only_when_it_was_named() {
    let sources = Sources {
        file: Some(PathBuf::from("/nowhere/longshore.toml")),
        ..Sources::default()
    };
    let error = load(&sources).unwrap_err().to_string();
    assert!(
        error.contains("/nowhere/longshore.toml") && error.contains("cannot be read"),
        "{error}"
    );
}

/// The shipped file states every default and explains every key; neither may drift from the code.
#[test]
fn the_shipped_file_states_every_key_and_default() {
    let shipped = case(SHIPPED, &[]);
    let plain = case("", &[]);
    assert_eq!(
        format!("{:?}", load(&shipped.sources).unwrap().settings),
        format!("{:?}", load(&plain.sources).unwrap().settings),
    );
    let keys = Keys::of(&Settings::default()).unwrap();
    let uncommented: String = SHIPPED
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if rest.split_once(" = ").is_some_and(|(name, _)| is_name(name)) => {
                format!("{rest}\n")
            }
            Some(rest) if rest.starts_with('[') => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let mut wrong = Vec::new();
    let given = layers::from_file(&PathBuf::from("shipped"), &uncommented, &keys, &mut wrong);
    assert!(wrong.is_empty(), "{wrong:?}");
    let stated: Vec<&str> = given.iter().map(|given| given.key.as_str()).collect();
    for key in keys.leaves() {
        assert!(
            stated.contains(&key),
            "config/longshore.toml does not mention {key}"
        );
    }
    for given in &given {
        assert!(
            reading(&given.key, &given.value).is_ok(),
            "the example for {} does not fit",
            given.key
        );
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c == '_')
}

#[test]
fn no_two_keys_share_a_variable() {
    let keys = Keys::of(&Settings::default()).unwrap();
    let variables: std::collections::BTreeSet<String> = keys.leaves().map(variable).collect();
    assert_eq!(variables.len(), keys.leaves().count());
}
