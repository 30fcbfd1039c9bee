//! What kind of failure a command makes likely, for failures that no rule knows.

use super::class::Class;

/// Words of a command, as a person would read them, with the class of failure that they make likely. The first that
/// is found decides, so what is more particular stands first.
const WORDS: &[(&[&str], Class)] = &[
    (
        &[
            "lint",
            "format:check",
            "fmt --check",
            "prettier",
            "rubocop",
            "phpcs",
            "phpstan",
            "mypy",
            "flake8",
            "detekt",
            "checkstyle",
            "tidy",
        ],
        Class::Lint,
    ),
    (
        &[
            "deploy",
            "kubectl",
            "helm upgrade",
            "helm install",
            "terraform apply",
            "ansible-playbook",
            "flyway",
            "rollout",
        ],
        Class::DeployFailure,
    ),
    (
        &[
            "docker build",
            "buildx build",
            "docker-compose build",
            "docker compose build",
            "podman build",
            "buildah",
            "packer build",
        ],
        Class::ImageBuild,
    ),
    (
        &[
            "test",
            "spec",
            "e2e",
            "cypress",
            "playwright",
            "karma",
            "dredd",
            "newman",
            "behave",
            "cucumber",
        ],
        Class::TestFailure,
    ),
    (
        &[
            "npm ci",
            "npm install",
            "yarn install",
            "pnpm install",
            "pip install",
            "pip3 install",
            "bundle install",
            "composer install",
            "apt-get install",
            "apt install",
            "apk add",
            "brew install",
            "gem install",
            "mod download",
            "deps.get",
            "pod install",
            "sdkmanager",
            "opam install",
            "conda ",
        ],
        Class::Dependency,
    ),
    (
        &[
            "build", "compile", "make", "assemble", "ninja", "webpack", "tsc", "msbuild",
        ],
        Class::CompileError,
    ),
];

/// The class that a failure of this command is most likely of, if its words tell.
pub(super) fn likely(command: &str) -> Option<Class> {
    let command = command.to_ascii_lowercase();
    WORDS
        .iter()
        .find(|(words, _)| words.iter().any(|word| command.contains(word)))
        .map(|(_, class)| *class)
}

/// Whether a line calls itself an error, and is not only the word of an exit code.
pub(super) fn complains(text: &str) -> bool {
    let text = text.trim_start_matches(|ch: char| !ch.is_ascii_alphanumeric());
    let word = text
        .split(|ch: char| !ch.is_ascii_alphabetic())
        .next()
        .unwrap_or_default();
    let named = matches!(
        word,
        "error"
            | "Error"
            | "ERROR"
            | "ERR"
            | "fatal"
            | "Fatal"
            | "FATAL"
            | "fail"
            | "FAIL"
            | "failed"
            | "Failed"
            | "FAILED"
            | "Failure"
            | "FAILURE"
    );
    let told = named
        || memchr::memchr_iter(b':', text.as_bytes())
            .filter(|at| text.as_bytes().get(at + 1) == Some(&b' '))
            .any(|at| {
                let before = &text.as_bytes()[..at];
                [b"Error".as_slice(), b"Exception", b" error"]
                    .iter()
                    .any(|word| before.ends_with(word))
            });
    told && text.len() > word.len() + 2
        && ![
            "exit code",
            "exit status",
            "exited with",
            " 0 ",
            ": 0",
            "Job failed",
            "script returned",
        ]
        .iter()
        .any(|end| text.contains(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_tell_what_they_were_for() {
        assert_eq!(likely("npm run lint"), Some(Class::Lint));
        assert_eq!(likely("./gradlew connectedTest"), Some(Class::TestFailure));
        assert_eq!(likely("docker compose build web"), Some(Class::ImageBuild));
        assert_eq!(likely("yes | sdkmanager 'x'"), Some(Class::Dependency));
        assert_eq!(likely("flyway migrate"), Some(Class::DeployFailure));
        assert_eq!(likely("./run.sh all"), None);
    }

    #[test]
    fn lines_that_call_themselves_errors_are_complaints() {
        for line in [
            "fail: DELETE (204) /x",
            "  ✖ error: no such page",
            "x.Y.Exception: boom",
            "ERROR Vault is sealed",
        ] {
            assert!(complains(line), "{line}");
        }
        for line in [
            "error",
            "errors: 0",
            "Error: Process completed with exit code 1.",
            "ERROR: Job failed: exit code 1",
            "an error handler",
        ] {
            assert!(!complains(line), "{line}");
        }
    }
}
