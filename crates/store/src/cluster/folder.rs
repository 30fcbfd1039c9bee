//! Where a cluster's files stand.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use domain::{Error, Result};
use uuid::Uuid;

use super::account::Account;
use super::{ClusterConfig, trouble};

/// Makes the cluster's folder and gives it to the server's user. Answers its path without symbolic links.
///
/// Where that user cannot go (root's home is closed to others), the folder is made in `config.aside`, and
/// `config.dir` becomes a symbolic link to it.
pub(super) fn make(config: &ClusterConfig, account: &Account) -> Result<PathBuf> {
    let dir = &config.dir;
    // A link whose aim was deleted is as good as no folder.
    if dir.is_symlink() && !dir.exists() {
        fs::remove_file(dir).map_err(|e| trouble(&format!("remove the link {}", dir.display()), &e))?;
    }
    let mut whole = made(dir)?;
    if let Err(closed) = account.check_reach(&whole) {
        // Only an empty folder gives way, and then without loss.
        fs::remove_dir(&whole).map_err(|_| closed)?;
        let aside = open_to_pass(&config.aside)?.join(format!("postgres-{}", Uuid::new_v4().simple()));
        whole = made(&aside)?;
        account.check_reach(&whole)?;
        symlink(&whole, dir).map_err(|e| trouble(&format!("make the link {}", dir.display()), &e))?;
        tracing::info!(
            cluster.dir = %whole.display(),
            "the private Postgres stands outside of the data folder, which its user cannot enter"
        );
    }
    account.own(&whole)?;
    Ok(whole)
}

/// A folder that others may go through, whatever mask root has; one that stands already is left as it is.
fn open_to_pass(dir: &Path) -> Result<PathBuf> {
    let stood = dir.exists();
    let whole = made(dir)?;
    if !stood {
        fs::set_permissions(&whole, fs::Permissions::from_mode(0o711))
            .map_err(|e| trouble(&format!("let others through {}", whole.display()), &e))?;
    }
    Ok(whole)
}

fn made(dir: &Path) -> Result<PathBuf> {
    // Whoever named the place can name another.
    let unfit = |e: std::io::Error| {
        Error::invalid(format!("could not make the folder {}", dir.display()))
            .because(&e)
            .next("choose another with --data")
    };
    fs::create_dir_all(dir).map_err(unfit)?;
    dir.canonicalize().map_err(unfit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_where_the_folder_should_be_is_the_users_to_mend() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = made(&file.path().join("postgres")).unwrap_err();
        assert_eq!(error.kind, domain::ErrorKind::Invalid, "{error}");
        assert!(error.to_string().contains("--data"), "{error}");
    }
}
