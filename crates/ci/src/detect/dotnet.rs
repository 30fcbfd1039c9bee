//! .NET: a solution, or projects.

use regex::Regex;
use serde_json::Value;

use super::{Check, Part, Unit, script, version};
use crate::model::{Tool, ToolKind};
use crate::pins;

pub fn detect(part: &Part<'_>) -> Option<Unit> {
    let here = |endings: &[&str]| {
        let mut files = part.files().filter(|path| !path.contains('/'));
        files
            .find(|path| endings.iter().any(|ending| path.ends_with(ending)))
            .map(str::to_owned)
    };
    let manifest = here(&[".sln", ".slnx"]).or_else(|| here(&[".csproj", ".fsproj", ".vbproj"]))?;
    let mut unit = part.unit(".NET", "NuGet");
    unit.why.push(part.why(&manifest, "a .NET project"));
    let projects: Vec<String> = part
        .files()
        .filter(|path| {
            [".csproj", ".fsproj", ".vbproj"]
                .iter()
                .any(|ending| path.ends_with(ending))
        })
        .map(str::to_owned)
        .collect();
    let texts: Vec<&str> = projects.iter().filter_map(|path| part.read(path)).collect();
    let global: Option<Value> = part
        .read("global.json")
        .and_then(|text| serde_json::from_str(text).ok());
    let from_global = global.and_then(|global| {
        Some((
            "global.json".to_owned(),
            version(global["sdk"]["version"].as_str()?, 3)?,
        ))
    });
    let said = from_global.or_else(|| {
        let pattern = Regex::new(r"<TargetFrameworks?>[^<]*net(\d+\.\d+)").ok()?;
        let (path, text) = projects
            .iter()
            .zip(&texts)
            .find(|(_, text)| pattern.is_match(text))?;
        Some((path.clone(), pattern.captures(text)?.get(1)?.as_str().to_owned()))
    });
    let sdk = said
        .as_ref()
        .map_or(pins::DOTNET, |(_, version)| version.as_str())
        .to_owned();
    if let Some((file, version)) = said {
        unit.why.push(part.why(&file, format!("for .NET {version}")));
    }
    unit.image = pins::image(ToolKind::Dotnet, &sdk);
    unit.tools = vec![Tool {
        kind: ToolKind::Dotnet,
        version: sdk,
    }];
    unit.variables = vec![
        (
            "NUGET_PACKAGES".to_owned(),
            "$CI_PROJECT_DIR/.cache/nuget".to_owned(),
        ),
        ("DOTNET_CLI_TELEMETRY_OPTOUT".to_owned(), "1".to_owned()),
    ];
    let locks: Vec<String> = part
        .files()
        .filter(|path| path.ends_with("packages.lock.json"))
        .map(str::to_owned)
        .collect();
    let locks: Vec<&str> = locks.iter().map(String::as_str).take(2).collect();
    let files = if !locks.is_empty() {
        locks.clone()
    } else if part.has("Directory.Packages.props") {
        vec!["Directory.Packages.props"]
    } else {
        projects.iter().map(String::as_str).take(2).collect()
    };
    unit.cache = part.cache("dotnet", &files, &[".cache/nuget/"]);
    unit.setup = script(&[if locks.is_empty() {
        "dotnet restore"
    } else {
        "dotnet restore --locked-mode"
    }]);
    unit.build = script(&["dotnet build --no-restore --configuration Release"]);
    let junit = texts.iter().any(|text| text.contains("JunitXml.TestLogger"));
    if texts.iter().any(|text| text.contains("Microsoft.NET.Test.Sdk")) {
        let logger = if junit {
            unit.reports.junit = vec![part.path("reports/*.xml")];
            let reports = part.path("reports");
            format!(" --logger \"junit;LogFilePath=$CI_PROJECT_DIR/{reports}/{{assembly}}.xml\"")
        } else {
            unit.why.push(part.why(
                &manifest,
                "no JUnit report: the package JunitXml.TestLogger writes one",
            ));
            String::new()
        };
        unit.test = vec![format!(
            "dotnet test --no-restore --configuration Release{logger}"
        )];
    }
    if part.has(".editorconfig") {
        unit.why
            .push(part.why(".editorconfig", "formatted with dotnet format"));
        unit.checks.push(Check {
            name: "format".to_owned(),
            script: script(&["dotnet format --no-restore --verify-no-changes"]),
        });
    }
    Some(unit)
}
