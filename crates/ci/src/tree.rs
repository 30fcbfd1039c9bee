//! A repository's files as the generator sees them: offline a folder, for a worker what the forge lists.

use std::collections::BTreeMap;

/// Paths with `/`, from the repository's root.
pub trait Tree {
    /// All files, in order.
    fn paths(&self) -> &[String];
    /// A file's text. Nothing where there is none, or it is no text.
    fn read(&self, path: &str) -> Option<&str>;

    fn has(&self, path: &str) -> bool {
        self.paths()
            .binary_search_by(|known| known.as_str().cmp(path))
            .is_ok()
    }
}

/// A listing with the contents of [`wanted`] files, read before.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    paths: Vec<String>,
    texts: BTreeMap<String, String>,
}

impl Listing {
    pub fn new(paths: impl IntoIterator<Item = String>, texts: BTreeMap<String, String>) -> Self {
        let mut paths: Vec<_> = paths.into_iter().collect();
        paths.sort();
        paths.dedup();
        Self { paths, texts }
    }

    /// For tests and examples: every file with its text.
    pub fn of(files: &[(&str, &str)]) -> Self {
        let texts = files
            .iter()
            .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
        Self::new(files.iter().map(|(path, _)| (*path).to_owned()), texts.collect())
    }
}

impl Tree for Listing {
    fn paths(&self) -> &[String] {
        &self.paths
    }

    fn read(&self, path: &str) -> Option<&str> {
        self.texts.get(path).map(String::as_str)
    }
}

/// Whether detection may read this file: manifests, their configuration and CI files; nobody need fetch the rest.
pub fn wanted(path: &str) -> bool {
    const NAMES: &[&str] = &[
        "package.json",
        ".nvmrc",
        ".node-version",
        "pyproject.toml",
        "setup.cfg",
        "tox.ini",
        "pytest.ini",
        "requirements.txt",
        "requirements-dev.txt",
        "requirements-test.txt",
        "dev-requirements.txt",
        ".python-version",
        "Pipfile",
        "Cargo.toml",
        "rust-toolchain.toml",
        "rust-toolchain",
        "nextest.toml",
        "go.mod",
        "go.work",
        "pom.xml",
        "build.gradle",
        "build.gradle.kts",
        "settings.gradle",
        "settings.gradle.kts",
        ".java-version",
        "Gemfile",
        "Gemfile.lock",
        ".ruby-version",
        ".rspec",
        "composer.json",
        "phpunit.xml",
        "phpunit.xml.dist",
        "global.json",
        "CMakeLists.txt",
        "meson.build",
        "Makefile",
        "makefile",
        "GNUmakefile",
        "Dockerfile",
        "Chart.yaml",
        ".gitlab-ci.yml",
        "Jenkinsfile",
        "cloudbuild.yaml",
        "cloudbuild.yml",
        "azure-pipelines.yml",
    ];
    let name = path.rsplit('/').next().unwrap_or(path);
    let by_ending = [".csproj", ".fsproj", ".vbproj", ".sln"]
        .iter()
        .any(|ending| name.ends_with(ending));
    NAMES.contains(&name) || by_ending || path.starts_with(".github/workflows/")
}

/// Folders whose files are somebody else's, or made.
pub fn is_foreign(path: &str) -> bool {
    const FOLDERS: &[&str] = &[
        "node_modules",
        "vendor",
        "target",
        "dist",
        "build",
        "out",
        ".git",
        ".venv",
        "venv",
        "third_party",
        "testdata",
        "fixtures",
        "examples",
        "example",
        ".tox",
        "__pycache__",
        "bin",
        "obj",
        ".cargo",
        "templates",
    ];
    let mut folders = path.split('/').rev();
    folders.next();
    folders.any(|folder| FOLDERS.contains(&folder))
}
