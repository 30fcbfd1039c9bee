//! The programs that run pipelines here, and stand-ins for what only the internet has: actions, container images.
//! `scripts/test` installs the programs; without one a test fails and says so.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ci::pins;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn there(path: PathBuf, from: &str) -> PathBuf {
    assert!(
        path.exists(),
        "{} is missing; `scripts/test` installs it ({from})",
        path.display()
    );
    path
}

pub fn from_npm(program: &str) -> PathBuf {
    let folder = std::env::var_os("LONGSHORE_TEST_PIPELINE_PEERS")
        .map_or_else(|| root().join("target/pipeline-peers"), PathBuf::from);
    there(
        folder.join("node_modules/.bin").join(program),
        "crates/ci/tests/peers/package.json",
    )
}

pub fn from_venv(program: &str) -> PathBuf {
    let python = std::env::var_os("LONGSHORE_TEST_PYTHON").map(PathBuf::from);
    let bin = match python.as_deref().and_then(Path::parent) {
        Some(bin) => bin.to_owned(),
        None => root().join("target/test-venv/bin"),
    };
    there(bin.join(program), "scripts/test-requirements.txt")
}

pub fn run(command: &mut Command) -> (Output, String) {
    let out = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
    (out, said)
}

/// How each job that was run ended.
pub type Ended = BTreeMap<String, bool>;

fn program(folder: &Path, name: &str, body: &str) {
    let path = folder.join(name);
    fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// What the machines of CI systems have, and this one has not.
pub fn stand_ins(folder: &Path) -> String {
    let bin = folder.join("bin");
    fs::create_dir_all(&bin).unwrap();
    // Finds keys as the real one does; it looks up no holes, for which it would need its database.
    program(
        &bin,
        "trivy",
        "! grep -rqs 'AKIA[0-9A-Z]\\{16\\}' --exclude-dir=.git .",
    );
    // Runs the script of `docker run … IMAGE -euc SCRIPT` here.
    program(
        &bin,
        "docker",
        "for last; do :; done\n[ \"$1\" = run ] && exec sh -euc \"$last\"\nexit 1",
    );
    // The toolchain that is here stands for any.
    program(
        &bin,
        "rustup",
        "case \"$1\" in toolchain | default | component) exit 0 ;; *) exit 1 ;; esac",
    );
    program(&bin, "python3", &python(&from_venv("python")));
    let path = std::env::var_os("PATH").unwrap();
    format!("{}:{}", bin.display(), path.to_string_lossy())
}

/// Folders of packages are made by the tests' Python and find its packages, so that nothing is downloaded: pip sees that
/// the versions that were asked for are there, or goes and fetches what is not.
fn python(tests_own: &Path) -> String {
    let own = tests_own.display();
    let packages = tests_own.parent().and_then(Path::parent).unwrap().join("lib");
    format!(
        r#"[ "$1 $2" = '-m venv' ] || exec '{own}' "$@"
'{own}' -m venv --without-pip "$3" || exit
for site in "$3"/lib/python3*/site-packages; do
  echo {packages}/"$(basename "$(dirname "$site")")"/site-packages > "$site/tests.pth"
done
for module in pip coverage; do
  printf '#!/bin/sh\nexec "%s/python" -m %s "$@"\n' "$(cd "$3/bin" && pwd)" "$module" > "$3/bin/$module"
  chmod +x "$3/bin/$module"
done"#,
        packages = packages.display()
    )
}

pub fn gitlab(folder: &Path, path: &str) -> (Ended, String) {
    let mut command = Command::new(from_npm("gitlab-ci-local"));
    command
        .args([
            "--force-shell-executor",
            "--shell-isolation",
            "--no-color",
            "--no-json-schema-validation",
        ])
        // It wants to know of a job that others need whether a person starts it.
        .args(["--manual", "deploy_prod"])
        .arg("--home")
        .arg(folder.join("../gitlab-home"))
        .current_dir(folder)
        .env("PATH", path);
    let (_, said) = run(&mut command);
    let ended = said
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let green = match words.next()? {
                "PASS" => true,
                "FAIL" => false,
                _ => return None,
            };
            Some((words.next()?.to_owned(), green))
        })
        .collect();
    (ended, said)
}

/// Runs the workflow; what it uploads stands below `artifacts` afterwards.
pub fn github(folder: &Path, path: &str, artifacts: &Path) -> (Ended, String) {
    let actions = folder.join("../actions");
    let mut command = Command::new(from_venv("act"));
    command.args([
        "push",
        "--platform",
        "ubuntu-latest=-self-hosted",
        "--defaultbranch",
        "main",
        "--no-cache-server",
    ]);
    for action in pins::ACTIONS.iter().filter(|action| **action != pins::CHECKOUT) {
        let at = actions.join(action.name);
        fs::create_dir_all(&at).unwrap();
        fs::write(at.join("action.yml"), stand_in_of(action.name)).unwrap();
        command
            .arg("--local-repository")
            .arg(format!("{}={}", action.pinned(), at.display()));
    }
    command
        .arg("--action-cache-path")
        .arg(folder.join("../act"))
        .arg("--env")
        .arg(format!("ARTIFACTS={}", artifacts.display()))
        .current_dir(folder)
        .env("PATH", path);
    let (_, said) = run(&mut command);
    let ended = said
        .lines()
        .filter_map(|line| {
            let (job, rest) = line.strip_prefix("[ci/")?.split_once(']')?;
            let green = match rest {
                rest if rest.contains("Job succeeded") => true,
                rest if rest.contains("Job failed") => false,
                _ => return None,
            };
            Some((job.trim().to_owned(), green))
        })
        .collect();
    (ended, said)
}

/// Actions come from the internet. Their stand-ins take the inputs that we give them, and no others; the one for
/// uploading keeps what is there under the paths.
fn stand_in_of(action: &str) -> String {
    let inputs = match action {
        "actions/cache" => "path key restore-keys",
        "actions/upload-artifact" => "name path if-no-files-found retention-days",
        "actions/download-artifact" => "name path",
        "actions/setup-python" => "python-version",
        "actions/setup-node" => "node-version",
        "actions/setup-go" => "go-version cache",
        "actions/setup-java" => "distribution java-version",
        "actions/setup-dotnet" => "dotnet-version",
        other => panic!("{other} has no stand-in"),
    };
    let declared: String = inputs
        .split(' ')
        .map(|name| format!("  {name}: {{description: {name}}}\n"))
        .collect();
    let script = match action {
        "actions/upload-artifact" => {
            "mkdir -p \"$ARTIFACTS/$NAME\"; for path in $UPLOAD; do [ ! -e \"$path\" ] || cp -r \"$path\" \"$ARTIFACTS/$NAME/\"; done"
        }
        "actions/download-artifact" => {
            "mkdir -p \"$UPLOAD\"; [ ! -d \"$ARTIFACTS/$NAME\" ] || cp -r \"$ARTIFACTS/$NAME/.\" \"$UPLOAD\""
        }
        _ => "true",
    };
    let env = if inputs.contains("path") && inputs.contains("name") {
        "      env: {NAME: '${{ inputs.name }}', UPLOAD: '${{ inputs.path }}'}\n"
    } else {
        ""
    };
    format!(
        "name: stand-in\ndescription: stand-in\ninputs:\n{declared}runs:\n  using: composite\n  steps:\n    - shell: bash\n{env}      run: |\n        {script}\n"
    )
}
