//! Python: pip, Poetry, uv, PDM, Pipenv; pytest or unittest.

use super::{Check, Part, Unit, script, version};
use crate::model::{Artifacts, Tool, ToolKind};
use crate::pins;

const REQUIREMENTS: &[&str] = &[
    "requirements.txt",
    "requirements-dev.txt",
    "requirements-test.txt",
    "dev-requirements.txt",
];

pub fn detect(part: &Part<'_>) -> Option<Unit> {
    let manifest = part.first(&[
        "pyproject.toml",
        "setup.py",
        "setup.cfg",
        "requirements.txt",
        "requirements-dev.txt",
        "Pipfile",
    ])?;
    let project: toml::Table = part
        .read("pyproject.toml")
        .and_then(|text| text.parse().ok())
        .unwrap_or_default();
    let installable = project.contains_key("build-system") || part.has("setup.py");
    let tests: Vec<_> = part
        .files()
        .filter(|path| {
            let name = path.rsplit('/').next().unwrap_or(path);
            name.ends_with(".py") && (name.starts_with("test_") || name.ends_with("_test.py"))
        })
        .map(str::to_owned)
        .collect();
    // A pyproject that only configures a tool of another language's project.
    if manifest == "pyproject.toml" && !project.contains_key("project") && !installable && tests.is_empty() {
        return None;
    }
    let (manager, lock, install): (&str, &str, Vec<String>) = if part.has("uv.lock") {
        let install = script(&["pip install uv==0.8.13", "uv sync --locked --active --all-groups"]);
        ("uv", "uv.lock", install)
    } else if part.has("poetry.lock") {
        let install = script(&["pip install poetry==2.1.4", "poetry install --no-interaction"]);
        ("Poetry", "poetry.lock", install)
    } else if part.has("pdm.lock") {
        (
            "PDM",
            "pdm.lock",
            script(&["pip install pdm==2.25.9", "pdm sync --dev"]),
        )
    } else if part.has("Pipfile.lock") {
        (
            "Pipenv",
            "Pipfile.lock",
            script(&["pip install pipenv==2025.0.4", "pipenv sync --dev"]),
        )
    } else {
        let mut install: Vec<String> = Vec::new();
        for file in REQUIREMENTS.iter().filter(|file| part.has(file)) {
            install.push(format!("pip install -r {file}"));
        }
        if installable {
            install.push(match extra(&project) {
                Some(extra) => format!("pip install -e '.[{extra}]'"),
                None => "pip install -e .".to_owned(),
            });
        }
        (
            "pip",
            *REQUIREMENTS
                .iter()
                .find(|file| part.has(file))
                .unwrap_or(&manifest),
            install,
        )
    };
    let mut unit = part.unit("Python", manager);
    unit.why.push(part.why(manifest, "a Python project"));
    if lock != manifest {
        unit.why.push(part.why(lock, format!("installed with {manager}")));
    }
    let said = part
        .read(".python-version")
        .and_then(|text| Some((".python-version", version(text, 2)?)))
        .or_else(|| {
            let requires = project.get("project")?.get("requires-python")?.as_str()?;
            Some(("pyproject.toml", version(requires, 2)?))
        });
    let python = said
        .as_ref()
        .map_or(pins::PYTHON, |(_, version)| version.as_str())
        .to_owned();
    if let Some((file, version)) = said {
        unit.why.push(part.why(file, format!("for Python {version}")));
    }
    unit.image = pins::image(ToolKind::Python, &python);
    unit.tools = vec![Tool {
        kind: ToolKind::Python,
        version: python,
    }];
    unit.cache = part.cache("python", &[lock], &[".cache/pip"]);
    unit.variables = vec![(
        "PIP_CACHE_DIR".to_owned(),
        "$CI_PROJECT_DIR/.cache/pip".to_owned(),
    )];
    unit.setup = script(&["python3 -m venv .venv", ". .venv/bin/activate"]);
    unit.setup.extend(install);
    if installable {
        unit.build = script(&["pip install build==1.3.0", "python -m build --outdir dist"]);
        unit.artifacts = Some(Artifacts {
            paths: vec![part.path("dist/")],
            days: Some(7),
            always: false,
        });
    } else {
        let roots = "python -m compileall -q -x '(^|/)\\.(venv|cache|git)/' .";
        unit.build = script(&[roots]);
    }
    tested(part, &project, &tests, &mut unit);
    checked(part, &project, &mut unit);
    Some(unit)
}

/// The extra that brings what tests need.
fn extra(project: &toml::Table) -> Option<&'static str> {
    let extras = project.get("project")?.get("optional-dependencies")?.as_table()?;
    ["test", "tests", "dev", "testing"]
        .into_iter()
        .find(|name| extras.contains_key(*name))
}

fn tested(part: &Part<'_>, project: &toml::Table, tests: &[String], unit: &mut Unit) {
    let configured = project.get("tool").and_then(|tool| tool.get("pytest")).is_some();
    let named = [
        "requirements.txt",
        "requirements-dev.txt",
        "requirements-test.txt",
        "dev-requirements.txt",
        "pyproject.toml",
        "setup.cfg",
        "setup.py",
        "tox.ini",
        "Pipfile",
    ]
    .into_iter()
    .find(|file| part.read(file).is_some_and(|text| text.contains("pytest")));
    let file = if configured {
        Some("pyproject.toml")
    } else {
        part.first(&["pytest.ini"]).or(named)
    };
    if tests.is_empty() && file.is_none() {
        return;
    }
    let run = match file {
        Some(file) => {
            unit.why.push(part.why(file, "tested with pytest"));
            unit.test = script(&["pip install coverage==7.10.6"]);
            if named.is_none() {
                unit.test.push("pip install pytest==8.4.1".to_owned());
            }
            "coverage run -m pytest --junitxml=reports/junit.xml"
        }
        None => {
            unit.why
                .push(part.why(&tests[0], "tested with unittest: nothing names pytest"));
            unit.test = script(&["pip install coverage==7.10.6 unittest-xml-reporting==3.2.0"]);
            "coverage run -m xmlrunner discover --output-file reports/junit.xml"
        }
    };
    unit.test.push("mkdir -p reports".to_owned());
    unit.test.push(run.to_owned());
    unit.test.extend(script(&[
        "coverage xml -o reports/coverage.xml",
        "coverage report",
    ]));
    unit.reports.junit = vec![part.path("reports/junit.xml")];
    unit.reports.coverage = Some(part.path("reports/coverage.xml"));
    unit.reports.coverage_regex = Some(r"/^TOTAL.+?(\d+(?:\.\d+)?)%$/".to_owned());
    unit.coverage_gate = Some("coverage report --fail-under={}".to_owned());
}

fn checked(part: &Part<'_>, project: &toml::Table, unit: &mut Unit) {
    let tool = |name: &str| project.get("tool").is_some_and(|tool| tool.get(name).is_some());
    if tool("ruff") || part.has("ruff.toml") || part.has(".ruff.toml") {
        unit.why.push(
            part.why(
                part.first(&["ruff.toml", ".ruff.toml"])
                    .unwrap_or("pyproject.toml"),
                "linted with Ruff",
            ),
        );
        unit.checks.push(Check {
            name: "lint".to_owned(),
            script: script(&["pip install ruff==0.12.11", "ruff check ."]),
        });
    } else if part.has(".flake8") {
        unit.why.push(part.why(".flake8", "linted with Flake8"));
        unit.checks.push(Check {
            name: "lint".to_owned(),
            script: script(&["pip install flake8==7.3.0", "flake8 --exclude .venv,.cache"]),
        });
    }
    if tool("mypy") || part.has("mypy.ini") {
        unit.why.push(part.why(
            part.first(&["mypy.ini"]).unwrap_or("pyproject.toml"),
            "type-checked with mypy",
        ));
        unit.checks.push(Check {
            name: "types".to_owned(),
            script: script(&["pip install mypy==1.17.1", "mypy --exclude '\\.venv' ."]),
        });
    }
}
