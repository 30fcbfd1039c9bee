//! A repository's folder as the generator sees it, and the files that it writes there.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use ci::Dialect;
use ci::model::File;
use ci::tree::{Listing, wanted};
use domain::Error;

/// No pipeline is worth more; and it ends where somebody names `/`.
const MOST_FILES: usize = 200_000;
const LARGEST: u64 = 1024 * 1024;
const NOT_LOOKED_INTO: &[&str] = &[".git", "node_modules", ".venv", "target", "__pycache__", ".tox"];

/// All files of a folder, with the texts that tell what it is made of. Links are not followed.
pub fn listing(root: &Path) -> Result<Listing, Error> {
    let mut paths = Vec::new();
    let mut texts = BTreeMap::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let here = root.join(&folder);
        let entries = fs::read_dir(&here).map_err(|error| unreadable(&here, &error))?;
        for entry in entries {
            let entry = entry.map_err(|error| unreadable(&here, &error))?;
            let kind = entry
                .file_type()
                .map_err(|error| unreadable(&entry.path(), &error))?;
            let name = entry.file_name();
            let relative = folder.join(&name);
            if kind.is_dir() {
                if !NOT_LOOKED_INTO.iter().any(|known| name == *known) {
                    folders.push(relative);
                }
                continue;
            }
            // A name that is no text is no file that a pipeline speaks of.
            let Some(path) = relative.to_str().filter(|_| kind.is_file()) else {
                continue;
            };
            let path = path.replace('\\', "/");
            if wanted(&path)
                && let Some(text) = text(&entry.path())
            {
                texts.insert(path.clone(), text);
            }
            paths.push(path);
            if paths.len() > MOST_FILES {
                return Err(
                    Error::invalid(format!("{} holds more than {MOST_FILES} files", root.display()))
                        .next("Name the folder of one repository"),
                );
            }
        }
    }
    Ok(Listing::new(paths, texts))
}

fn text(path: &Path) -> Option<String> {
    let file = fs::File::open(path).ok()?;
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= LARGEST).then(|| String::from_utf8(bytes).ok())?
}

/// A pipeline's bytes, one more at most than are read of it: what is too large is said where it is read.
pub fn bytes(path: &Path) -> Result<Vec<u8>, Error> {
    let file = fs::File::open(path).map_err(|error| unreadable(path, &error))?;
    let mut bytes = Vec::new();
    file.take(ci::yaml::MOST_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| unreadable(path, &error))?;
    Ok(bytes)
}

/// The pipelines in a folder.
pub fn pipelines(root: &Path) -> Result<Vec<(PathBuf, Dialect)>, Error> {
    let mut found = Vec::new();
    let workflows = Path::new(".github/workflows");
    for folder in [Path::new(""), workflows] {
        let here = root.join(folder);
        let Ok(entries) = fs::read_dir(&here) else {
            continue;
        };
        for entry in entries {
            let entry = entry.map_err(|error| unreadable(&here, &error))?;
            let relative = folder.join(entry.file_name());
            let dialect = relative.to_str().and_then(Dialect::of_path);
            if let Some(dialect) = dialect.filter(|_| entry.path().is_file()) {
                found.push((entry.path(), dialect));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// All of them or none: nothing is replaced unless `force` says so.
pub fn write(root: &Path, files: &[File], force: bool) -> Result<Vec<PathBuf>, Error> {
    let there: Vec<_> = files
        .iter()
        .map(|file| root.join(&file.path))
        .filter(|path| path.exists())
        .collect();
    if let Some(path) = there.first().filter(|_| !force) {
        return Err(Error::conflict(format!("{} is there already", path.display()))
            .next("Look at the new one without --write, then add --force to replace it"));
    }
    let mut written = Vec::new();
    for file in files {
        let path = root.join(&file.path);
        put(&path, &file.text).map_err(|error| {
            Error::denied(format!("could not write {}", path.display()))
                .because(&error)
                .next("Name a folder that you may write to")
        })?;
        written.push(path);
    }
    Ok(written)
}

/// Through a file beside it, so that half of one never stands under its name.
fn put(path: &Path, text: &str) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut file = tempfile::Builder::new()
        .permissions(plain())
        .tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// As a file is made that others may read.
fn plain() -> fs::Permissions {
    use std::os::unix::fs::PermissionsExt;
    fs::Permissions::from_mode(0o644)
}

pub fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    Error::invalid(format!("cannot read {}", path.display()))
        .because(error)
        .next("Name a repository's folder, or a pipeline's file, that you may read")
}
