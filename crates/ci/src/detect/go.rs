//! Go modules.

use super::{Check, Part, Unit, script, version};
use crate::model::{Tool, ToolKind};
use crate::pins;

pub fn detect(part: &Part<'_>) -> Option<Unit> {
    let manifest = part.first(&["go.work", "go.mod"])?;
    let text = part.read(manifest)?;
    let mut unit = part.unit("Go", "Go modules");
    unit.why.push(part.why(
        manifest,
        if manifest == "go.mod" {
            "a Go module"
        } else {
            "a Go workspace"
        },
    ));
    let said = text
        .lines()
        .find_map(|line| version(line.trim().strip_prefix("go ")?, 2));
    let go = said.clone().unwrap_or_else(|| pins::GO.to_owned());
    if let Some(version) = said {
        unit.why.push(part.why(manifest, format!("for Go {version}")));
    }
    unit.image = pins::image(ToolKind::Go, &go);
    unit.tools = vec![Tool {
        kind: ToolKind::Go,
        version: go,
    }];
    unit.variables = vec![
        (
            "GOMODCACHE".to_owned(),
            "$CI_PROJECT_DIR/.cache/go/mod".to_owned(),
        ),
        ("GOCACHE".to_owned(), "$CI_PROJECT_DIR/.cache/go/build".to_owned()),
        // Else nobody but root can clear the folder away.
        ("GOFLAGS".to_owned(), "-modcacherw".to_owned()),
    ];
    unit.cache = part.cache("go", &["go.sum", "go.work.sum"], &[".cache/go/"]);
    let packages = if manifest == "go.mod" {
        "./..."
    } else {
        "$(go list -f '{{.Dir}}/...' -m)"
    };
    unit.build = vec![format!("go build {packages}")];
    unit.test = script(&["mkdir -p reports"]);
    unit.test.push(format!(
        "go run gotest.tools/gotestsum@v1.12.3 --junitfile reports/junit.xml -- -race \
         -coverprofile=reports/coverage.out {packages}"
    ));
    unit.test.extend(script(&[
        "go run github.com/boumenot/gocover-cobertura@v1.4.0 < reports/coverage.out > reports/coverage.xml",
        "go tool cover -func=reports/coverage.out",
    ]));
    unit.reports.junit = vec![part.path("reports/junit.xml")];
    unit.reports.coverage = Some(part.path("reports/coverage.xml"));
    unit.reports.coverage_regex = Some(r"/total:\s+\(statements\)\s+(\d+(?:\.\d+)?)%/".to_owned());
    unit.coverage_gate = Some(
        "go tool cover -func=reports/coverage.out | awk '/^total:/ { sub(\"%\", \"\", $3); if ($3 + 0 < {}) { print \
         \"coverage \" $3 \" % is below {} %\"; exit 1 } }'"
            .to_owned(),
    );
    unit.checks.push(Check {
        name: "lint".to_owned(),
        script: vec![
            // gofmt alone would look at the modules in the cache too.
            "test -z \"$(find . -name '*.go' -not -path './.cache/*' -not -path '*/vendor/*' -exec gofmt -l {} + | tee \
             /dev/stderr)\""
                .to_owned(),
            format!("go vet {packages}"),
        ],
    });
    if part.has(".golangci.yml") || part.has(".golangci.yaml") {
        unit.why.push(part.why(
            part.first(&[".golangci.yml", ".golangci.yaml"])?,
            "linted with golangci-lint",
        ));
        unit.checks[0].script.push(format!(
            "go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.4.0 run {packages}"
        ));
    }
    Some(unit)
}
