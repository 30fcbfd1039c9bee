//! Node: npm, Yarn, pnpm; the scripts that package.json names.

use serde_json::Value;

use super::{Check, Part, Unit, script, version};
use crate::model::{Artifacts, Tool, ToolKind};
use crate::pins;

pub fn detect(part: &Part<'_>) -> Option<Unit> {
    let text = part.read("package.json")?;
    let package: Value = serde_json::from_str(text).ok()?;
    let scripts = |name: &str| package["scripts"][name].as_str();
    let depends = |name: &str| {
        ["dependencies", "devDependencies"]
            .iter()
            .any(|kind| package[*kind].get(name).is_some())
    };
    let pnpm = package["packageManager"]
        .as_str()
        .and_then(|said| said.strip_prefix("pnpm@"));
    let (manager, lock, setup, run): (&str, &str, Vec<String>, &str) = if part.has("pnpm-lock.yaml") {
        let version = pnpm
            .and_then(|said| version(said, 3))
            .unwrap_or_else(|| "10.15.0".to_owned());
        let setup = vec![
            "corepack enable".to_owned(),
            format!("corepack prepare pnpm@{version} --activate"),
            "pnpm install --frozen-lockfile --store-dir \"$CI_PROJECT_DIR/.cache/pnpm\"".to_owned(),
        ];
        ("pnpm", "pnpm-lock.yaml", setup, "pnpm run")
    } else if part.has("yarn.lock") {
        let modern = part.has(".yarnrc.yml");
        let install = if modern {
            "yarn install --immutable"
        } else {
            "yarn install --frozen-lockfile"
        };
        (
            "Yarn",
            "yarn.lock",
            script(&["corepack enable", install]),
            "yarn run",
        )
    } else if part.has("package-lock.json") || part.has("npm-shrinkwrap.json") {
        let lock = part.first(&["package-lock.json", "npm-shrinkwrap.json"])?;
        ("npm", lock, script(&["npm ci --no-audit --no-fund"]), "npm run")
    } else {
        (
            "npm",
            "package.json",
            script(&["npm install --no-audit --no-fund"]),
            "npm run",
        )
    };
    let mut unit = part.unit("Node", manager);
    unit.why.push(part.why("package.json", "a Node project"));
    match lock {
        "package.json" => unit
            .why
            .push(part.why(lock, "no lock file: versions are taken as they come")),
        lock => unit.why.push(part.why(lock, format!("installed with {manager}"))),
    }
    let said = [".nvmrc", ".node-version"]
        .into_iter()
        .find_map(|file| Some((file, version(part.read(file)?, 1)?)))
        .or_else(|| Some(("package.json", version(package["engines"]["node"].as_str()?, 1)?)));
    let node = said
        .as_ref()
        .map_or(pins::NODE, |(_, version)| version.as_str())
        .to_owned();
    if let Some((file, version)) = said {
        unit.why.push(part.why(file, format!("for Node {version}")));
    }
    unit.image = pins::image(ToolKind::Node, &node);
    unit.tools = vec![Tool {
        kind: ToolKind::Node,
        version: node,
    }];
    let (variable, folder) = match manager {
        "pnpm" => ("npm_config_cache", ".cache/pnpm"),
        "Yarn" => ("YARN_CACHE_FOLDER", ".cache/yarn"),
        _ => ("npm_config_cache", ".cache/npm"),
    };
    unit.variables = vec![(variable.to_owned(), format!("$CI_PROJECT_DIR/{folder}"))];
    if manager == "Yarn" && part.has(".yarnrc.yml") {
        // Else it keeps its cache in the home folder.
        unit.variables
            .push(("YARN_ENABLE_GLOBAL_CACHE".to_owned(), "false".to_owned()));
    }
    unit.cache = part.cache("node", &[lock], &[folder]);
    unit.setup = setup;
    if scripts("build").is_some() {
        unit.why
            .push(part.why("package.json", "built with its script `build`"));
        unit.build = vec![format!("{run} build")];
        unit.artifacts = Some(Artifacts {
            paths: ["dist/", "build/"]
                .iter()
                .map(|folder| part.path(folder))
                .collect(),
            days: Some(7),
            always: false,
        });
    }
    tested(part, scripts("test"), &depends, run, &mut unit);
    for (name, check) in [("lint", "lint"), ("typecheck", "types"), ("type-check", "types")] {
        if scripts(name).is_some() {
            unit.why
                .push(part.why("package.json", format!("checked with its script `{name}`")));
            unit.checks.push(Check {
                name: check.to_owned(),
                script: vec![format!("{run} {name}")],
            });
        }
    }
    Some(unit)
}

fn tested(part: &Part<'_>, test: Option<&str>, depends: &dyn Fn(&str) -> bool, run: &str, unit: &mut Unit) {
    let Some(test) = test.filter(|test| !test.contains("no test specified")) else {
        return;
    };
    unit.why
        .push(part.why("package.json", format!("tested with its script `test`: {test}")));
    let dashes = if run == "npm run" { " --" } else { "" };
    // What stands behind the script's own words reaches its last command alone.
    let single = !test.contains(['&', ';', '|']);
    unit.test.push("mkdir -p reports".to_owned());
    let mut junit = true;
    let command = if test.contains("node --test") && single {
        format!(
            "{run} test{dashes} --test-reporter=spec --test-reporter-destination=stdout --test-reporter=junit \
             --test-reporter-destination=reports/junit.xml"
        )
    } else if depends("vitest") && test.contains("vitest") && single {
        let coverage = if depends("@vitest/coverage-v8") {
            unit.reports.coverage = Some(part.path("coverage/cobertura-coverage.xml"));
            " --coverage --coverage.reporter=text --coverage.reporter=cobertura"
        } else {
            ""
        };
        format!(
            "{run} test{dashes} --run --reporter=default --reporter=junit --outputFile=reports/junit.xml{coverage}"
        )
    } else if depends("jest-junit") && test.contains("jest") && single {
        unit.variables.push((
            "JEST_JUNIT_OUTPUT_FILE".to_owned(),
            "reports/junit.xml".to_owned(),
        ));
        unit.reports.coverage = Some(part.path("coverage/cobertura-coverage.xml"));
        unit.reports.coverage_regex = Some(r"/All files[^|]*\|[^|]*\s+([\d.]+)/".to_owned());
        format!(
            "{run} test{dashes} --ci --reporters=default --reporters=jest-junit --coverage \
             --coverageReporters=text --coverageReporters=cobertura"
        )
    } else if depends("mocha-junit-reporter") && test.contains("mocha") && single {
        unit.variables
            .push(("MOCHA_FILE".to_owned(), "reports/junit.xml".to_owned()));
        format!("{run} test{dashes} --reporter mocha-junit-reporter")
    } else {
        junit = false;
        unit.why.push(part.why(
            "package.json",
            "no JUnit report: its tests are run by node --test, Vitest, jest-junit or mocha-junit-reporter nowhere",
        ));
        format!("{run} test")
    };
    unit.test.push(command);
    if junit {
        unit.reports.junit = vec![part.path("reports/junit.xml")];
    }
}
