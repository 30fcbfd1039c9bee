use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use domain::{Error, Result};
use tokio::process::Command;

use super::trouble;

/// Who runs the server: ourselves, or another user when we are root.
pub(super) struct Account {
    switch: Option<User>,
}

struct User {
    name: String,
    uid: u32,
    gid: u32,
}

impl Account {
    pub(super) fn for_server() -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self { switch: None });
        }
        let users = fs::read_to_string("/etc/passwd").map_err(|e| trouble("read /etc/passwd", &e))?;
        let user = ["postgres", "nobody"]
            .into_iter()
            .find_map(|name| find(&users, name))
            .ok_or_else(|| {
                Error::denied(
                    "Postgres does not run as root, and there is no user `postgres` or `nobody` to run it as",
                )
                .next("Make a user `postgres`, or run this program as an ordinary user")
            })?;
        Ok(Self { switch: Some(user) })
    }

    pub(super) fn apply(&self, command: &mut Command) {
        if let Some(user) = &self.switch {
            command.uid(user.uid).gid(user.gid);
        }
    }

    /// Hands a folder to the server's user, and to nobody else.
    pub(super) fn own(&self, dir: &Path) -> Result<()> {
        if let Some(user) = &self.switch {
            chown(dir, Some(user.uid), Some(user.gid))
                .map_err(|e| trouble(&format!("give {} to {}", dir.display(), user.name), &e))?;
        }
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
            .map_err(|e| trouble(&format!("close {} to others", dir.display()), &e))
    }

    /// Every folder above must let the server's user through; root's home, for one, does not.
    pub(super) fn check_reach(&self, dir: &Path) -> Result<()> {
        let Some(user) = &self.switch else { return Ok(()) };
        for above in dir.ancestors().skip(1) {
            let meta =
                fs::metadata(above).map_err(|e| trouble(&format!("look at {}", above.display()), &e))?;
            let bit = match () {
                () if meta.uid() == user.uid => 0o100,
                () if meta.gid() == user.gid => 0o010,
                () => 0o001,
            };
            if meta.mode() & bit == 0 {
                return Err(Error::denied(format!(
                    "the user {} runs Postgres, since root may not, and cannot enter {}",
                    user.name,
                    above.display()
                ))
                .next(format!(
                    "Move {} to where that user can go, or `chmod o+x {}`",
                    dir.display(),
                    above.display()
                )));
            }
        }
        Ok(())
    }

    pub(super) fn write_private(&self, path: &Path, text: &str) -> Result<()> {
        let doing = || format!("write {}", path.display());
        fs::write(path, text).map_err(|e| trouble(&doing(), &e))?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(|e| trouble(&doing(), &e))?;
        if let Some(user) = &self.switch {
            chown(path, Some(user.uid), Some(user.gid)).map_err(|e| trouble(&doing(), &e))?;
        }
        Ok(())
    }
}

fn find(passwd: &str, name: &str) -> Option<User> {
    let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    Some(User {
        name: name.to_owned(),
        uid: fields.next()?.parse().ok()?,
        gid: fields.next()?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn a_user_is_read_from_the_password_file() {
        let users = "root:x:0:0::/root:/bin/sh\npostgres-exporter:x:7:8::/:/bin/sh\npostgres:x:101:104:PG,,,:/:/bin/sh\n";
        let user = find(users, "postgres").unwrap();
        assert_eq!((user.uid, user.gid), (101, 104));
        assert!(find(users, "nobody").is_none());
    }
}
