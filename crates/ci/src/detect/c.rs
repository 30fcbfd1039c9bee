//! C and C++: CMake, Meson, Make; and whatever else a Makefile builds and tests.

use super::{Check, Part, Unit, script};
use crate::model::{Tool, ToolKind};
use crate::pins;

pub fn detect(part: &Part<'_>) -> Option<Unit> {
    let is_source = |path: &str| {
        [".c", ".cc", ".cpp", ".cxx"]
            .iter()
            .any(|ending| path.ends_with(ending))
    };
    let sources = part.files().any(is_source);
    let targets = part.make_targets();
    let has = |target: &str| targets.iter().any(|known| known == target);
    let mut unit = if part.has("CMakeLists.txt") && sources {
        cmake(part)
    } else if part.has("meson.build") && sources {
        meson(part)
    } else {
        let file = part.first(&["GNUmakefile", "makefile", "Makefile"])?;
        // Beside another language's manifest a Makefile is a list of shortcuts to that one's tools.
        let manifests = [
            "package.json",
            "Cargo.toml",
            "pyproject.toml",
            "requirements.txt",
            "go.mod",
            "pom.xml",
            "build.gradle",
            "build.gradle.kts",
            "Gemfile",
            "composer.json",
            "setup.py",
        ];
        let test = ["test", "check"].into_iter().find(|target| has(target))?;
        if part.first(&manifests).is_some() || part.files().any(|path| path.ends_with(".csproj")) {
            return None;
        }
        let mut unit = part.unit("C/C++", "Make");
        unit.why.push(part.why(
            file,
            if sources {
                "built with Make"
            } else {
                "built and tested with Make"
            },
        ));
        unit.why
            .push(part.why(file, format!("tested with its target `{test}`")));
        unit.build = script(&["make"]);
        unit.test = vec![format!("make {test}")];
        if has("lint") {
            unit.why.push(part.why(file, "checked with its target `lint`"));
            unit.checks.push(Check {
                name: "lint".to_owned(),
                script: script(&["make lint"]),
            });
        }
        unit.why.push(part.why(file, "no JUnit report: Make writes none"));
        unit
    };
    unit.image = pins::GCC.to_owned();
    unit.tools = vec![Tool {
        kind: ToolKind::Native,
        version: String::new(),
    }];
    Some(unit)
}

/// Images of compilers bring no build system; bare machines bring some, and are not root.
fn needs(program: &str, packages: &str) -> String {
    format!(
        "command -v {program} >/dev/null || {{ \
         sudo=$(command -v sudo || true); $sudo apt-get -qq update && \
         $sudo apt-get -qq -y install --no-install-recommends {packages}; }}"
    )
}

fn cmake(part: &Part<'_>) -> Unit {
    let mut unit = part.unit("C/C++", "CMake");
    unit.why.push(part.why("CMakeLists.txt", "built with CMake"));
    let configure = "cmake -S . -B build -DCMAKE_BUILD_TYPE=RelWithDebInfo";
    unit.setup = vec![needs("cmake", "cmake")];
    unit.build = script(&[configure, "cmake --build build --parallel"]);
    if part
        .read("CMakeLists.txt")
        .is_some_and(|text| text.contains("enable_testing") || text.contains("include(CTest)"))
    {
        unit.why.push(part.why("CMakeLists.txt", "tested with CTest"));
        unit.test = script(&[
            configure,
            "cmake --build build --parallel",
            "mkdir -p reports",
            "ctest --test-dir build --output-on-failure --output-junit ../reports/junit.xml",
        ]);
        unit.reports.junit = vec![part.path("reports/junit.xml")];
    }
    unit
}

fn meson(part: &Part<'_>) -> Unit {
    let mut unit = part.unit("C/C++", "Meson");
    unit.why.push(part.why("meson.build", "built with Meson"));
    unit.setup = vec![needs("meson", "meson ninja-build")];
    unit.build = script(&["meson setup build", "meson compile -C build"]);
    unit.test = script(&["meson setup build", "meson test -C build --print-errorlogs"]);
    unit.reports.junit = vec![part.path("build/meson-logs/testlog.junit.xml")];
    unit
}
