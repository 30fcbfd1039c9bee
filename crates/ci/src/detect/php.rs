//! PHP: Composer, PHPUnit, PHPStan.

use serde_json::Value;

use super::{Check, Part, Unit, script};
use crate::pins;

pub fn detect(part: &Part<'_>) -> Option<Unit> {
    let package: Value = serde_json::from_str(part.read("composer.json")?).ok()?;
    let depends = |name: &str| {
        ["require", "require-dev"]
            .iter()
            .any(|kind| package[*kind].get(name).is_some())
    };
    let mut unit = part.unit("PHP", "Composer");
    unit.why.push(part.why("composer.json", "a PHP project"));
    unit.image = pins::COMPOSER.to_owned();
    unit.variables = vec![(
        "COMPOSER_CACHE_DIR".to_owned(),
        "$CI_PROJECT_DIR/.cache/composer".to_owned(),
    )];
    unit.cache = part.cache("php", &["composer.lock"], &[".cache/composer/"]);
    unit.setup = script(&["composer install --no-interaction --no-progress --prefer-dist"]);
    unit.build = script(&["composer validate --strict --no-check-publish"]);
    let configured = part.first(&["phpunit.xml", "phpunit.xml.dist"]);
    if depends("phpunit/phpunit") || configured.is_some() {
        unit.why
            .push(part.why(configured.unwrap_or("composer.json"), "tested with PHPUnit"));
        unit.test = script(&[
            "mkdir -p reports",
            "vendor/bin/phpunit --log-junit reports/junit.xml",
        ]);
        unit.reports.junit = vec![part.path("reports/junit.xml")];
    } else if package["scripts"]["test"].is_string() || package["scripts"]["test"].is_array() {
        unit.why
            .push(part.why("composer.json", "tested with its script `test`"));
        unit.test = script(&["composer run-script test"]);
    }
    if depends("phpstan/phpstan") {
        unit.why.push(part.why("composer.json", "checked with PHPStan"));
        unit.checks.push(Check {
            name: "lint".to_owned(),
            script: script(&["vendor/bin/phpstan analyse --no-progress"]),
        });
    }
    Some(unit)
}
