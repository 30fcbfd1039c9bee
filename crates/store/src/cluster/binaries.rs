use std::path::{Path, PathBuf};
use std::process::Command;

use domain::{Error, Result};

/// The folder of a Postgres installation's programs.
#[derive(Clone, Debug)]
pub struct Binaries {
    dir: PathBuf,
    major: String,
}

impl Binaries {
    /// Looks in `configured` alone when given; else for the newest under `/usr/lib/postgresql`, in the usual
    /// places of other systems, and where `pg_config` on the `PATH` says.
    pub fn find(configured: Option<&Path>) -> Result<Self> {
        if let Some(dir) = configured {
            return Self::at(dir).ok_or_else(|| {
                Error::not_found(format!(
                    "there is no `initdb` and `postgres` in {}",
                    dir.display()
                ))
                .next("Name the folder that holds both, such as /usr/lib/postgresql/15/bin")
            });
        }
        candidates().iter().find_map(|dir| Self::at(dir)).ok_or_else(|| {
            Error::not_found("no Postgres server is installed: `initdb` and `postgres` were not found")
                .next("Install one, on Debian with `apt-get install postgresql`, or name the folder of its binaries")
        })
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn path(&self, program: &str) -> PathBuf {
        self.dir.join(program)
    }

    pub fn major(&self) -> &str {
        &self.major
    }

    fn at(dir: &Path) -> Option<Self> {
        if !dir.join("initdb").is_file() {
            return None;
        }
        let output = Command::new(dir.join("postgres"))
            .arg("--version")
            .output()
            .ok()?;
        let major = major_of(&String::from_utf8_lossy(&output.stdout))?;
        Some(Self {
            dir: dir.to_owned(),
            major,
        })
    }
}

fn candidates() -> Vec<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            Some((
                entry.file_name().to_str()?.parse().ok()?,
                entry.path().join("bin"),
            ))
        })
        .collect();
    versions.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    let mut dirs: Vec<PathBuf> = versions.into_iter().map(|(_, dir)| dir).collect();
    dirs.extend(
        [
            "/usr/pgsql/bin",
            "/usr/local/bin",
            "/usr/bin",
            "/opt/homebrew/bin",
        ]
        .map(PathBuf::from),
    );
    if let Ok(output) = Command::new("pg_config").arg("--bindir").output() {
        dirs.push(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    }
    dirs
}

/// `postgres (PostgreSQL) 15.8 (Debian 15.8-0+deb12u1)` → `15`.
fn major_of(version: &str) -> Option<String> {
    let number = version.split_whitespace().nth(2)?;
    let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
    (!digits.is_empty()).then_some(digits)
}

#[cfg(test)]
mod tests {
    use super::major_of;

    #[test]
    fn the_major_version_is_read_from_what_the_server_says() {
        assert_eq!(
            major_of("postgres (PostgreSQL) 15.8 (Debian 15.8-0+deb12u1)\n").as_deref(),
            Some("15")
        );
        assert_eq!(major_of("postgres (PostgreSQL) 18beta1\n").as_deref(), Some("18"));
        assert_eq!(major_of("").as_deref(), None);
    }
}
