//! The files of small repositories, as far as a generator looks at them.

type Files = &'static [(&'static str, &'static str)];

pub const ALL: &[(&str, Files)] = &[
    ("python", PYTHON),
    ("poetry", POETRY),
    ("node", NODE),
    ("rust", RUST),
    ("go", GO),
    ("maven", MAVEN),
    ("gradle", GRADLE),
    ("ruby", RUBY),
    ("php", PHP),
    ("dotnet", DOTNET),
    ("cmake", CMAKE),
    ("make", MAKE),
    ("monorepo", MONOREPO),
];

const PYTHON: Files = &[
    ("requirements.txt", "flask==3.1.0\npytest==8.4.1\n"),
    ("app/__init__.py", ""),
    ("tests/test_app.py", "def test_it(): pass\n"),
    ("ruff.toml", "line-length = 100\n"),
    ("Dockerfile", "FROM python:3.12.11-slim-bookworm\n"),
    ("scripts/deploy.sh", "#!/bin/bash\n"),
    ("scripts/rollback.sh", "#!/bin/bash\n"),
];

const POETRY: Files = &[
    (
        "pyproject.toml",
        "[project]\nname = \"shop\"\nrequires-python = \">=3.11\"\n[build-system]\nrequires = [\"poetry-core\"]\n\
         [dependency-groups]\ndev = [\"pytest\"]\n[tool.mypy]\nstrict = true\n",
    ),
    ("poetry.lock", ""),
    ("tests/test_shop.py", ""),
];

const NODE: Files = &[
    (
        "package.json",
        r#"{"name": "web", "engines": {"node": ">=20"}, "scripts": {"build": "tsc", "test": "vitest", "lint": "eslint ."},
 "devDependencies": {"vitest": "3.2.4", "@vitest/coverage-v8": "3.2.4"}}"#,
    ),
    ("pnpm-lock.yaml", ""),
];

const RUST: Files = &[
    (
        "Cargo.toml",
        "[package]\nname = \"tool\"\nversion = \"0.1.0\"\nrust-version = \"1.88\"\n",
    ),
    ("Cargo.lock", ""),
    ("src/main.rs", ""),
    ("rustfmt.toml", ""),
    (
        ".config/nextest.toml",
        "[profile.ci.junit]\npath = \"junit.xml\"\n",
    ),
];

const GO: Files = &[
    ("go.mod", "module example.com/svc\n\ngo 1.24.2\n"),
    ("go.sum", ""),
    ("main.go", "package main\n"),
    ("Makefile", "deploy:\n\t./ship $(ENV)\n"),
];

const MAVEN: Files = &[
    (
        "pom.xml",
        "<project><properties><maven.compiler.release>17</maven.compiler.release></properties></project>",
    ),
    ("src/test/java/ATest.java", ""),
];

const GRADLE: Files = &[
    (
        "settings.gradle.kts",
        "rootProject.name = \"x\"\ninclude(\"a\")\n",
    ),
    (
        "build.gradle.kts",
        "java { toolchain { languageVersion = JavaLanguageVersion.of(21) } }\n",
    ),
    ("a/build.gradle.kts", ""),
    ("gradlew", ""),
    ("gradle/wrapper/gradle-wrapper.properties", ""),
];

const RUBY: Files = &[
    (
        "Gemfile",
        "source 'https://rubygems.org'\nruby '3.3.9'\ngem 'rspec'\ngem 'rspec_junit_formatter'\ngem 'rubocop'\n",
    ),
    ("Gemfile.lock", "rspec_junit_formatter (0.6.0)\n"),
    (".rspec", ""),
];

const PHP: Files = &[
    (
        "composer.json",
        r#"{"require-dev": {"phpunit/phpunit": "^11", "phpstan/phpstan": "^2"}}"#,
    ),
    ("composer.lock", "{}"),
    ("phpunit.xml.dist", "<phpunit/>"),
];

const DOTNET: Files = &[
    ("Shop.sln", ""),
    ("Shop/Shop.csproj", "<TargetFramework>net8.0</TargetFramework>"),
    (
        "Shop.Tests/Shop.Tests.csproj",
        "<TargetFramework>net8.0</TargetFramework><PackageReference Include=\"Microsoft.NET.Test.Sdk\"/>\
         <PackageReference Include=\"JunitXml.TestLogger\"/>",
    ),
];

const CMAKE: Files = &[
    ("CMakeLists.txt", "project(x C)\nenable_testing()\n"),
    ("src/main.c", ""),
];

const MAKE: Files = &[
    (
        "Makefile",
        "CC := gcc\nall: prog\nprog: main.c\n\t$(CC) -o prog main.c\ntest: prog\n\t./prog\nlint:\n\ttrue\n",
    ),
    ("main.c", ""),
];

const MONOREPO: Files = &[
    ("services/api/go.mod", "module example.com/api\n\ngo 1.24\n"),
    ("services/api/go.sum", ""),
    ("services/api/Dockerfile", "FROM scratch\n"),
    ("services/worker/Dockerfile", "FROM scratch\n"),
    ("services/worker/requirements.txt", "pytest\n"),
    ("services/worker/test_worker.py", ""),
    (
        "web/package.json",
        r#"{"workspaces": ["packages/*"], "scripts": {"test": "node --test"}}"#,
    ),
    ("web/package-lock.json", "{}"),
    (
        "web/packages/ui/package.json",
        r#"{"scripts": {"test": "node --test"}}"#,
    ),
    ("tools/Cargo.toml", "[workspace]\nmembers = [\"a\"]\n"),
    ("tools/a/Cargo.toml", "[package]\nname = \"a\"\n"),
];
