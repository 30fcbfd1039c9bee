//! Ruby: Bundler; RSpec or Rake.

use super::{Check, Part, Unit, script, version};
use crate::pins;

pub fn detect(part: &Part<'_>) -> Option<Unit> {
    let gemfile = part.read("Gemfile")?;
    let locked = part.read("Gemfile.lock").unwrap_or_default();
    let uses = |gem: &str| gemfile.contains(&format!("\"{gem}\"")) || gemfile.contains(&format!("'{gem}'"));
    let mut unit = part.unit("Ruby", "Bundler");
    unit.why.push(part.why("Gemfile", "a Ruby project"));
    let own = part.read(".ruby-version").and_then(|text| version(text, 3));
    let said = own.map(|version| (".ruby-version", version)).or_else(|| {
        let line = gemfile
            .lines()
            .find(|line| line.trim_start().starts_with("ruby "))?;
        Some(("Gemfile", version(line, 3)?))
    });
    let ruby = said
        .as_ref()
        .map_or(pins::RUBY, |(_, version)| version.as_str())
        .to_owned();
    if let Some((file, version)) = said {
        unit.why.push(part.why(file, format!("for Ruby {version}")));
    }
    unit.image = pins::ruby(&ruby);
    // Linters leave `vendor` out.
    unit.variables = vec![(
        "BUNDLE_PATH".to_owned(),
        "$CI_PROJECT_DIR/vendor/bundle".to_owned(),
    )];
    unit.cache = part.cache("ruby", &["Gemfile.lock"], &["vendor/bundle/"]);
    if part.has("Gemfile.lock") {
        unit.why.push(part.why("Gemfile.lock", "versions are locked"));
        unit.setup = script(&["bundle config set --local frozen true"]);
    }
    unit.setup.push("bundle install --jobs 4".to_owned());
    if uses("rspec") || uses("rspec-rails") || part.has(".rspec") {
        unit.why.push(part.why(
            if part.has(".rspec") { ".rspec" } else { "Gemfile" },
            "tested with RSpec",
        ));
        if uses("rspec_junit_formatter") || locked.contains("rspec_junit_formatter") {
            unit.test = script(&[
                "bundle exec rspec --format progress --format RspecJunitFormatter --out reports/junit.xml",
            ]);
            unit.reports.junit = vec![part.path("reports/junit.xml")];
        } else {
            unit.why.push(part.why(
                "Gemfile",
                "no JUnit report: the gem rspec_junit_formatter writes one",
            ));
            unit.test = script(&["bundle exec rspec"]);
        }
    } else if part.has("Rakefile") {
        unit.why.push(part.why("Rakefile", "tested with `rake test`"));
        unit.test = script(&["bundle exec rake test"]);
    }
    if uses("rubocop") || part.has(".rubocop.yml") {
        unit.why.push(part.why(
            part.first(&[".rubocop.yml"]).unwrap_or("Gemfile"),
            "linted with RuboCop",
        ));
        unit.checks.push(Check {
            name: "lint".to_owned(),
            script: script(&["bundle exec rubocop"]),
        });
    }
    Some(unit)
}
