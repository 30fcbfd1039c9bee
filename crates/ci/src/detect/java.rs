//! Java and Kotlin: Maven, Gradle.

use regex::Regex;

use super::{Check, Part, Unit, version};
use crate::model::{Artifacts, Tool, ToolKind};
use crate::pins;

pub fn detect(part: &Part<'_>) -> Option<Unit> {
    match part.first(&[
        "pom.xml",
        "build.gradle.kts",
        "build.gradle",
        "settings.gradle.kts",
        "settings.gradle",
    ])? {
        "pom.xml" => maven(part),
        manifest => Some(gradle(part, manifest)),
    }
}

/// The first group of a pattern in a file.
fn says(text: &str, pattern: &str) -> Option<String> {
    let found = Regex::new(pattern).ok()?.captures(text)?;
    version(found.get(1)?.as_str(), 1)
}

fn java(part: &Part<'_>, unit: &mut Unit, said: Option<(&str, String)>) -> String {
    let own = part.read(".java-version").and_then(|text| version(text, 1));
    let said = own.map(|version| (".java-version", version)).or(said);
    let version = said
        .as_ref()
        .map_or(pins::JAVA, |(_, version)| version.as_str())
        .to_owned();
    if let Some((file, version)) = said {
        unit.why.push(part.why(file, format!("for Java {version}")));
    }
    unit.tools = vec![Tool {
        kind: ToolKind::Java,
        version: version.clone(),
    }];
    version
}

fn maven(part: &Part<'_>) -> Option<Unit> {
    let pom = part.read("pom.xml")?;
    let mut unit = part.unit("Java", "Maven");
    unit.why.push(part.why("pom.xml", "built with Maven"));
    let pattern = r"<(?:maven\.compiler\.(?:release|source|target)|java\.version|release)>\s*(?:1\.)?(\d+)";
    let version = java(
        part,
        &mut unit,
        says(pom, pattern).map(|version| ("pom.xml", version)),
    );
    unit.image = pins::maven(&version);
    let wrapper = part.has("mvnw") && part.has(".mvn/wrapper/maven-wrapper.properties");
    let mvn = if wrapper { "./mvnw" } else { "mvn" };
    if wrapper {
        unit.why
            .push(part.why("mvnw", "with the wrapper's version of Maven"));
    }
    unit.variables = vec![(
        "MAVEN_OPTS".to_owned(),
        "-Dmaven.repo.local=$CI_PROJECT_DIR/.cache/maven".to_owned(),
    )];
    unit.cache = part.cache("maven", &["pom.xml"], &[".cache/maven/"]);
    unit.build = vec![format!(
        "{mvn} --batch-mode --no-transfer-progress -DskipTests package"
    )];
    unit.test = vec![format!("{mvn} --batch-mode --no-transfer-progress verify")];
    unit.artifacts = Some(Artifacts {
        paths: vec![part.path("target/*.jar")],
        days: Some(7),
        always: false,
    });
    unit.reports.junit = ["surefire", "failsafe"]
        .map(|kind| part.path(&format!("**/target/{kind}-reports/TEST-*.xml")))
        .to_vec();
    if pom.contains("jacoco-maven-plugin") {
        unit.why
            .push(part.why("pom.xml", "measures coverage with JaCoCo"));
    }
    if pom.contains("maven-checkstyle-plugin") {
        unit.why.push(part.why("pom.xml", "linted with Checkstyle"));
        unit.checks.push(Check {
            name: "lint".to_owned(),
            script: vec![format!(
                "{mvn} --batch-mode --no-transfer-progress checkstyle:check"
            )],
        });
    }
    Some(unit)
}

fn gradle(part: &Part<'_>, manifest: &str) -> Unit {
    let text = part.read(manifest).unwrap_or_default();
    let mut unit = part.unit("Java", "Gradle");
    unit.why.push(part.why(manifest, "built with Gradle"));
    let pattern = r"(?:JavaLanguageVersion\.of\(|jvmToolchain\(|JavaVersion\.VERSION_|sourceCompatibility\s*=\s*['\x22]?)(?:1[._])?(\d+)";
    let version = java(
        part,
        &mut unit,
        says(text, pattern).map(|version| (manifest, version)),
    );
    let gradle = if part.has("gradlew") {
        unit.why
            .push(part.why("gradlew", "with the wrapper's version of Gradle"));
        unit.image = pins::image(ToolKind::Java, &version);
        "./gradlew"
    } else {
        unit.image = pins::gradle(&version);
        "gradle"
    };
    unit.variables = vec![(
        "GRADLE_USER_HOME".to_owned(),
        "$CI_PROJECT_DIR/.cache/gradle".to_owned(),
    )];
    let locks = ["gradle.lockfile", "gradle/verification-metadata.xml"];
    let files = match locks.into_iter().find(|file| part.has(file)) {
        Some(lock) => vec![lock],
        None => vec!["gradle/wrapper/gradle-wrapper.properties", manifest],
    };
    unit.cache = part.cache(
        "gradle",
        &files,
        &[".cache/gradle/caches/", ".cache/gradle/wrapper/"],
    );
    unit.build = vec![format!("{gradle} --no-daemon assemble")];
    unit.test = vec![format!("{gradle} --no-daemon check")];
    unit.artifacts = Some(Artifacts {
        paths: vec![part.path("build/libs/*.jar")],
        days: Some(7),
        always: false,
    });
    unit.reports.junit = vec![part.path("**/build/test-results/**/TEST-*.xml")];
    unit
}
